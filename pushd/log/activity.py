"""Which devices count as ones that come back: those that were heard of not long ago."""

from __future__ import annotations

from pushd.log.idclock import IdClock

# What is noted of a device that stands still is renewed so often within the time that it counts.
_RENEWED: int = 24


def coarse_ms(active_s: float) -> int:
    """So old may be what is noted of when a device was heard of."""
    return int(active_s * 1000) // _RENEWED


class Activity:
    """By the steady clock: no wall clock that jumps lets anybody look long gone."""

    __slots__ = ("_clock", "_span_ms")

    def __init__(self, clock: IdClock, active_s: float) -> None:
        self._clock = clock
        self._span_ms = int(active_s * 1000) + coarse_ms(active_s)

    def since_ms(self) -> int:
        """Devices that were noted (``cursors.heard``) since then are active."""
        return self._clock.served_ms() - self._span_ms
