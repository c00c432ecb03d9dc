"""When to stop asking somebody who does not answer, and when to try again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Literal

OPENS_AFTER: Final = 5  # failures in a row
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0

State = Literal["closed", "open", "half_open"]


class Breaker:
    """Closed: everything passes. Open: nothing, for a pause. Half open: one attempt at a time.

    An attempt that fails half open doubles the pause, up to 30 s; each pause is shortened by up to
    a half at random. Times are seconds of any one clock, which is the caller's.
    """

    __slots__ = ("_failures", "_half_open", "_jitter", "_pause_s", "_probing", "_until")

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._failures = 0
        self._pause_s = 0.0  # of the last opening; 0 while closed
        self._until = 0.0
        self._half_open = False
        self._probing = False

    def state(self, now: float) -> State:
        if not self._pause_s:
            return "closed"
        return "open" if now < self._until else "half_open"

    def wait_s(self, now: float) -> float:
        """How long nothing passes; 0: an attempt may be made now. Changes nothing."""
        if not self._pause_s:
            return 0.0
        if self._probing:
            return max(self._until - now, FIRST_PAUSE_S)
        return max(self._until - now, 0.0)

    def begin(self) -> None:
        """An attempt begins, at a time when ``wait_s`` is 0: tell how it ends, in any case."""
        self._probing = bool(self._pause_s)

    def succeeded(self) -> bool:
        """An attempt was answered. Whether that closed it."""
        closed = bool(self._pause_s)
        self._failures, self._pause_s, self._probing = 0, 0.0, False
        return closed

    def failed(self, now: float) -> bool:
        """An attempt was not answered. Whether that opened it, having been closed."""
        self._failures += 1
        if self._pause_s:
            if self._probing:
                self._open(min(self._pause_s * 2, LONGEST_PAUSE_S), now)
            return False
        if self._failures < OPENS_AFTER:
            return False
        self._open(FIRST_PAUSE_S, now)
        return True

    def abandoned(self) -> None:
        """An attempt was given up by whoever made it: nothing is known, the next one may try."""
        self._probing = False

    def _open(self, pause_s: float, now: float) -> None:
        self._probing = False
        self._pause_s = pause_s
        self._until = now + pause_s * (1 - self._jitter() / 2)
