"""Bytes that peers have not taken yet, of all connections: what they may be together.

An answer may have a mebibyte, and whoever asks for one need not read it. When there is no room for
more, those peers are cut that have taken nothing for longest; nothing is lost, they can ask again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class Slow(Protocol):
    """A connection whose peer has not taken everything."""

    def abort(self) -> None:
        """Give it up, and let go of what is kept for it."""


class Kept:
    """``most`` and ``size`` in bytes. What is kept for many peers at once counts once."""

    __slots__ = ("_slow", "_times", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self._times: dict[int, int] = {}  # by identity of the bytes: for how many they are kept
        self._slow: OrderedDict[Slow, None] = OrderedDict()  # who took something last is at the end

    def keep(self, slow: Slow, data: bytes) -> None:
        """It is not taken yet. Others may have to go for it, ``slow`` itself never."""
        times = self._times.get(id(data), 0)
        self._times[id(data)] = times + 1
        if not times:
            self.size += len(data)
        self._slow.setdefault(slow)
        while self.size > self.most:
            slowest = next(iter(self._slow))
            if slowest is slow:
                break
            del self._slow[slowest]
            slowest.abort()

    def let_go(self, data: bytes) -> None:
        """Taken, or given up: once for each time that it was kept."""
        times = self._times.pop(id(data)) - 1
        if times:
            self._times[id(data)] = times
        else:
            self.size -= len(data)

    def took(self, slow: Slow) -> None:
        """Its peer has taken some of it."""
        self._slow.move_to_end(slow)

    def done(self, slow: Slow) -> None:
        """Nothing more is kept for it."""
        self._slow.pop(slow, None)
