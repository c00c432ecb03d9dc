"""How idempotency ids age: by a clock that nobody can set, in days that expire as a whole."""

from __future__ import annotations

import time
from typing import Final

DAY_MS: Final = 86_400_000


class IdClock:
    """Starts at the wall clock, or later when younger ids are on disk, and goes on steadily.

    So no step of the wall clock forgets an id too early. ``days``: oldest and newest on disk.
    """

    def __init__(self, days: tuple[int, int] | None, window_s: float) -> None:
        self.window_ms = int(window_s * 1000)
        # The window reaches into so many days before today.
        self.days_back = -(-self.window_ms // DAY_MS)
        wall_ms = time.time_ns() // 1_000_000
        self._base = wall_ms if days is None else max(wall_ms, days[1] * DAY_MS)
        self._started = time.monotonic()
        self.oldest = self._base // DAY_MS if days is None else days[0]

    def now_ms(self) -> int:
        return self._base + int((time.monotonic() - self._started) * 1000)

    def expire_before(self, now_ms: int) -> int | None:
        """Ids of earlier days are to be deleted; None when there are none."""
        kept = now_ms // DAY_MS - self.days_back
        return kept if self.oldest < kept else None

    def expired_all(self, before: int) -> None:
        self.oldest = before
