"""The channels whose window is held for slow devices: which they are, and when to look again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import trio

from pushd.log.due import is_beyond
from pushd.log.expire import Due, Expired
from pushd.log.live import Live
from pushd.log.requests import Head

# A channel that is held costs the writer a look each time: it gets one in so many rounds.
ROUNDS: Final = 6


class Held:
    """On the loop. By log id: the head, the first seq that would be there, when to look again."""

    def __init__(self, live: Live, interval_s: float) -> None:
        self._live = live
        self._again_s = ROUNDS * interval_s
        self._known: dict[int, tuple[Head, int, float]] = {}

    def may_wait(self, head: Head, due: Due) -> bool:
        """It was held a moment ago, and is within the bounds of that."""
        known = self._known.get(head.log_id)
        return (
            known is not None
            and due.hold is not None
            and trio.current_time() < known[2]
            and not is_beyond(head, due.hold)
        )

    def note(self, dues: list[Due], expired: Expired) -> None:
        """What the writer has found."""
        again = trio.current_time() + self._again_s
        for due in dues[: expired.came_to]:
            self._known.pop(due.log_id, None)
        for due in dues[: expired.came_to + 1]:
            head = self._live.of_life(due.channel, due.log_id)
            usual = expired.held.get(due.log_id)
            if head is not None and usual is not None:
                self._known[due.log_id] = (head, usual, again)

    def messages(self, head: Head) -> int:
        """How many are there for slow devices only, at the last look."""
        known = self._known.get(head.log_id)
        return 0 if known is None else max(0, known[1] - head.first)

    def channels(self) -> Iterator[Head]:
        """Those that are held; what is no longer is forgotten."""
        for log_id, (head, usual, _) in list(self._known.items()):
            if usual > head.first and self._live.of_life(head.channel, log_id) is head:
                yield head
            else:
                del self._known[log_id]
