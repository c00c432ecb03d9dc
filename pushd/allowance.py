"""Bytes of request bodies that the node holds at one time, over all connections.

Who sends a body slowly, or stops in the middle of it, holds what others need. So when there is no
room, those bodies give way that have been under way for longest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from pushd.errors import Overloaded

PATIENCE_S: Final = 1.0  # a body normally comes with the first packets


class Holder(Protocol):
    """A body of which a part is still to come."""

    def give_way(self) -> None:
        """Give back what it holds, at once; there will be no more of it."""


class Allowance:
    """A bound on what many small things may use together. ``most`` in bytes."""

    __slots__ = ("_clock", "_under_way", "most", "used")

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.used = 0
        self._clock = clock
        self._under_way: dict[Holder, float] = {}  # since when; the oldest first

    def take(self, size: int, holder: Holder | None = None, *, leave: int = 0) -> None:
        """Raises Overloaded when there is no room; then nothing is taken.

        ``leave``: so many bytes are for others, unless nothing else is held.
        """
        most = min(self.most, max(self.most - leave, size))
        while self.used + size > most:
            if not self._make_room(holder):
                raise Overloaded("Too many request bodies are under way.", retry_after=1)
        self.used += size

    def give(self, size: int) -> None:
        """These are held no more."""
        self.used -= size

    def waits(self, holder: Holder) -> None:
        """The rest of it has not come yet."""
        if holder not in self._under_way:
            self._under_way[holder] = self._clock()

    def ended(self, holder: Holder) -> None:
        """It is whole, or given up."""
        self._under_way.pop(holder, None)

    def _make_room(self, taker: Holder | None) -> bool:
        oldest = next(iter(self._under_way), None)
        if oldest is None or oldest is taker:
            return False
        if self._clock() - self._under_way[oldest] < PATIENCE_S:
            return False
        del self._under_way[oldest]
        oldest.give_way()
        return True
