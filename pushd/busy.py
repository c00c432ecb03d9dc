"""How full the loop is: the share of its time in which its thread has work."""

from __future__ import annotations

import time

SAMPLE_S = 0.05
SMOOTHING = 0.3


class Busy:
    """How much of its time the loop's thread works, smoothed over some tenths of a second."""

    __slots__ = ("_at", "_share", "_used")

    def __init__(self) -> None:
        self._share = 0.0
        self._at = time.perf_counter()
        self._used = time.thread_time()

    def share(self) -> float:
        """From 0 to 1; looked at anew every ``SAMPLE_S`` at most."""
        now = time.perf_counter()
        if now - self._at >= SAMPLE_S:
            used = time.thread_time()
            share = (used - self._used) / (now - self._at)
            self._share += (share - self._share) * SMOOTHING
            self._at, self._used = now, used
        return self._share
