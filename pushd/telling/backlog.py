"""Which channels are farther than the application knows, and whose turn it is."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pushd.core.positions import Cursor

BATCH_MESSAGES: Final = 500
FIRST_REST_S: Final = 1.0
LONGEST_REST_S: Final = 60.0


@dataclass(slots=True)
class Behind:
    """One channel. ``cursor``: what the application has of it.

    ``limit``: how many messages it gets at once. ``alone``: a batch that it was in was refused, so
    that it is told by itself until it is taken; ``refusals``: how often it was refused then.
    """

    channel: str
    cursor: Cursor
    limit: int = BATCH_MESSAGES
    alone: bool = False
    refusals: int = 0

    def refused(self, messages: int) -> float:
        """Told alone, it was refused: fewer at once, so that those before a bad one get through.

        Answers for how many seconds it rests.
        """
        self.refusals += 1
        self.limit = max(messages // 8, 1)
        return min(FIRST_REST_S * 2.0 ** min(self.refusals - 1, 16), LONGEST_REST_S)

    def taken(self, end: Cursor) -> None:
        """The application has it up to ``end``."""
        self.cursor = end
        self.limit, self.alone, self.refusals = BATCH_MESSAGES, False, 0


class Backlog:
    """First come, first served. Whoever took one gives it back, or says that it is ``done``."""

    def __init__(self) -> None:
        self._all: dict[str, Behind] = {}
        self._ready: OrderedDict[str, Behind] = OrderedDict()
        self._resting: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Behind]:
        return iter(list(self._all.values()))

    def add(self, channel: str, cursor: Cursor) -> bool:
        """Whether it is new here; else it is known already that it is behind, and since where."""
        if channel in self._all:
            return False
        self._all[channel] = self._ready[channel] = Behind(channel, cursor)
        return True

    def take(self, now: float) -> Behind | None:
        """The next one, if there is one that does not rest."""
        while self._resting and self._resting[0][0] <= now:
            _, channel = heapq.heappop(self._resting)
            self._ready[channel] = self._all[channel]
        return self._ready.popitem(last=False)[1] if self._ready else None

    def next_at(self) -> float:
        """When ``take`` has one: minus infinity for now."""
        if self._ready:
            return -math.inf
        return self._resting[0][0] if self._resting else math.inf

    def give_back(self, behind: Behind, *, first: bool = False) -> None:
        """There is more to tell of it."""
        self._ready[behind.channel] = behind
        if first:
            self._ready.move_to_end(behind.channel, last=False)

    def rest(self, behind: Behind, until: float) -> None:
        """Not before then."""
        heapq.heappush(self._resting, (until, behind.channel))

    def recover(self) -> None:
        """Something went wrong on the way: whoever was taken and not given back is ready again."""
        resting = {channel for _, channel in self._resting}
        self._ready.update(
            (channel, behind) for channel, behind in self._all.items() if channel not in resting
        )

    def done(self, behind: Behind) -> None:
        """The application knows all there is."""
        del self._all[behind.channel]
