"""Which transport brings the hints: WebSocket, else SSE, else none (then held polls do it all).

No I/O and no clock. One rung down when a transport does not get through or does not last; back to
the top whenever nothing works, and by a probe from time to time while a lower rung holds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal

TransportKind = Literal["websocket", "sse"]

# A session that lasted this long says that the transport gets through.
STABLE_S: Final = 30.0
# So many short ones in a row say that something between does not let it be.
_SHORT_ONES: Final = 3
_CLIMB_S: Final = 30.0
_CLIMB_CAP_S: Final = 600.0


class Ladder:
    """Ask ``now`` for the transport to try, and tell with ``ended`` how that went."""

    def __init__(self, kinds: Sequence[TransportKind], rng: random.Random) -> None:
        """``kinds``: best first; without any there are only polls."""
        self._kinds = tuple(kinds)
        self._rng = rng
        self._at = 0
        self._short = dict.fromkeys(self._kinds, 0)
        self._climbs = 0

    @property
    def now(self) -> TransportKind | None:
        """What to try; None: there is nothing but polls."""
        return self._kinds[self._at] if self._kinds else None

    @property
    def above(self) -> TransportKind | None:
        """What to probe for while ``now`` holds."""
        return self._kinds[self._at - 1] if self._at else None

    def climb_in(self) -> float:
        """Seconds until the next probe for a better one: each in vain makes it rarer."""
        ceiling = min(_CLIMB_CAP_S, _CLIMB_S * 2.0 ** min(self._climbs, 10))
        self._climbs += 1
        return self._rng.uniform(0.5, 1.0) * ceiling

    def climb(self) -> None:
        """The probe got through."""
        self._at -= 1

    def ended(
        self, kind: TransportKind, lived_s: float | None, *, blocked: bool, orderly: bool
    ) -> bool:
        """An attempt or session is over; True when ``now`` is another one, to be tried at once.

        ``lived_s``: since its hello, None when there was none. ``blocked``: something answered, so
        that another transport may do better. ``orderly``: the server itself said goodbye.
        """
        if lived_s is None:
            return self._down() if blocked else self._top()
        if lived_s >= STABLE_S:
            self._short[kind] = 0
            if kind == self._kinds[0]:
                self._climbs = 0
        elif not orderly:
            self._short[kind] += 1
            if self._short[kind] >= _SHORT_ONES:
                # One more short one is enough after the next climb.
                self._short[kind] -= 1
                return self._down()
        return False

    def _down(self) -> bool:
        if self._at + 1 < len(self._kinds):
            self._at += 1
            return True
        return self._top()

    def _top(self) -> bool:
        self._at = 0
        return False
