"""Time that a test sets, wherever the log looks."""

from __future__ import annotations

import time

import pytest


class Clock:
    """All clocks of the log at once."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000_000.0
        patch.setattr("time.time", lambda: self.now_s)
        patch.setattr("time.time_ns", lambda: int(self.now_s * 1e9))
        patch.setattr("pushd.log.idclock.time", self)

    def monotonic(self) -> float:
        return self.now_s

    def time_ns(self) -> int:
        return time.time_ns()
