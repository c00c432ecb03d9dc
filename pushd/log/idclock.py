"""How idempotency ids age: by a clock that nobody can set, in days that expire as a whole."""

from __future__ import annotations

import time
from typing import Final

from pushd.log.believed import Believed

DAY_MS: Final = 86_400_000


class IdClock:
    """Starts where it was, and later by how long it stood still as far as that can be known; or
    with the wall clock, where it never was noted. Then it goes on steadily.

    So no wrong wall clock forgets an id too early. ``days``: oldest and newest on disk.
    """

    def __init__(
        self, days: tuple[int, int] | None, window_s: float, believed: Believed | None = None
    ) -> None:
        self.window_ms = int(window_s * 1000)
        # The window reaches into so many days before today.
        self.days_back = -(-self.window_ms // DAY_MS)
        began, self._stood_still = _began_at(time.time_ns() // 1_000_000, believed)
        self._base = began if days is None else max(began, days[1] * DAY_MS)
        self._started = time.monotonic()
        self.oldest = self._base // DAY_MS if days is None else days[0]

    def now_ms(self) -> int:
        """Steady milliseconds, near those since 1970 when it was made."""
        return self._base + int((time.monotonic() - self._started) * 1000)

    def served_ms(self) -> int:
        """The same without the times that it stood still: nobody can have been heard of then."""
        return self.now_ms() - self._stood_still

    def expire_before(self, now_ms: int) -> int | None:
        """Ids of earlier days are to be deleted; None when there are none."""
        kept = now_ms // DAY_MS - self.days_back
        return kept if self.oldest < kept else None

    def expired_all(self, before: int) -> None:
        """Ids of days before this one are gone."""
        self.oldest = before


def _began_at(wall_ms: int, believed: Believed | None) -> tuple[int, int]:
    """And how long it has stood still, in all. A stop that seems to have been longer than a day may
    have been none: nothing has passed."""
    if believed is None:
        return wall_ms, 0
    stopped = 0 if believed.is_far_behind(wall_ms) else max(0, wall_ms - believed.wall_ms)
    known = believed.wall_ms if believed.ids_ms is None else believed.ids_ms
    served = known if believed.served_ms is None else believed.served_ms
    return known + stopped, known + stopped - served
