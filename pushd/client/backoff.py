"""How long to wait before another attempt. No clock: it answers with seconds."""

from __future__ import annotations

import random
from typing import Final

# Beyond this the doubled delay is over any sensible cap; it keeps the power small.
_MOST_DOUBLINGS: Final = 30


class Backoff:
    """Exponential backoff with full jitter: uniform in 0…min(cap, base · 2^n) seconds.

    Full jitter spreads a crowd that lost its server at the same moment better than a delay with
    a fixed part does (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """

    __slots__ = ("_attempts", "_base_s", "_cap_s", "_rng")

    def __init__(
        self, base_s: float = 1.0, cap_s: float = 30.0, rng: random.Random | None = None
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._rng = rng or random.Random()
        self._attempts = 0

    def next_delay(self, retry_after_s: float | None = None) -> float:
        """Seconds to wait now. Never less than the server asked for, and spread after that."""
        ceiling = min(self._cap_s, self._base_s * 2.0 ** min(self._attempts, _MOST_DOUBLINGS))
        self._attempts += 1
        return (retry_after_s or 0.0) + self._rng.uniform(0.0, ceiling)

    def reset(self) -> None:
        """After a success: the next delay is short again."""
        self._attempts = 0
