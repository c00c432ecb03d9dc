"""Whether the wall clock is to be believed: removing by a wrong one cannot be taken back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import structlog

from pushd.log.believed import AWAY_MS

_logger = structlog.get_logger("pushd.log")


class ClockGuard:
    """Believes the wall clock only while it goes as fast as the steady one.

    After a jump it is not believed until it is back, or has gone on steadily for ``SETTLE_S``. At
    first ``known`` (Unix seconds) counts as the last time at which they agreed, and the wall clock
    may be behind it, or ahead by ``AWAY_S``: how long nobody looked is not known.
    """

    TOLERANCE_S: Final = 60.0
    AWAY_S: Final = AWAY_MS / 1000
    SETTLE_S: Final = 3_600.0

    def __init__(
        self, wall: Callable[[], float], steady: Callable[[], float], known: float | None = None
    ) -> None:
        self._wall, self._steady = wall, steady
        # The two at the last look at which they agreed.
        self._agreed = (wall() if known is None else known), steady()
        self._bounds = (-self.TOLERANCE_S, self.TOLERANCE_S)
        # Since when, and how far, the wall clock has been off.
        self._jump: tuple[float, float] | None = None
        if known is not None:
            self._bounds = (-math.inf, self.AWAY_S)
            if (ahead := wall() - known) > self.AWAY_S:
                self._jump = steady(), ahead
                _logger.warning(
                    "the wall clock is far ahead of the last known time: for an hour nothing is"
                    " removed for its age",
                    seconds=ahead,
                )

    @property
    def waits(self) -> bool:
        """At the last look the wall clock was not to be believed."""
        return self._jump is not None

    def look(self) -> float | None:
        """The wall clock (Unix seconds), None while it is not to be believed."""
        wall, steady = self._wall(), self._steady()
        drift = (wall - self._agreed[0]) - (steady - self._agreed[1])
        least, most = self._bounds
        if not least <= drift <= most:
            if self._jump is None or abs(drift - self._jump[1]) > self.TOLERANCE_S:
                self._jump = steady, drift
                _logger.warning(
                    "the wall clock has jumped: nothing is removed for its age", seconds=drift
                )
            if steady - self._jump[0] < self.SETTLE_S:
                return None
        if self._jump is not None:
            _logger.info("the wall clock is believed again")
            self._jump = None
        self._agreed = wall, steady
        self._bounds = (-self.TOLERANCE_S, self.TOLERANCE_S)
        return wall


def steady_clock() -> float:
    """Seconds; goes on while the machine sleeps, where the system tells."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
