"""Who is in one topic, and what its presence channel has told of that so far."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Final, NamedTuple

JOIN: Final = "join"
LEAVE: Final = "leave"


class Told(NamedTuple):
    """A message of the channel. ``data``: the user and the public attributes, as JSON."""

    type: str
    data: bytes


class Room:
    """``here``: of each user who is in it, the data that a ``join`` has.

    What was told lags behind that, by what is on its way to the disk; lists show what was told, as
    of the head of the channel, so that whoever goes on from there misses nothing.
    """

    __slots__ = ("_names", "_told", "channel", "here", "topic")

    def __init__(self, topic: str, channel: str) -> None:
        self.topic = topic
        self.channel = channel
        self.here: dict[str, bytes] = {}
        self._told: dict[str, bytes] = {}
        self._names: list[str] = []  # of those told of, sorted

    @property
    def count(self) -> int:
        """How many the channel says are there."""
        return len(self._names)

    @property
    def empty(self) -> bool:
        """Nobody is there, and the channel says so."""
        return not (self.here or self._names)

    def due(self, user: str) -> Told | None:
        """What is to be told of the user; of one who came and went meanwhile, nothing."""
        now, told = self.here.get(user), self._told.get(user)
        if now == told:
            return None
        if now is not None:
            return Told(JOIN, now)
        assert told is not None
        return Told(LEAVE, told)

    def tell(self, user: str, told: Told) -> None:
        """It is on disk."""
        if told.type == JOIN:
            if user not in self._told:
                insort(self._names, user)
            self._told[user] = told.data
        elif self._told.pop(user, None) is not None:
            del self._names[bisect_left(self._names, user)]

    def page(self, after: str, limit: int) -> tuple[list[bytes], str | None]:
        """The next ``limit`` of those told of, by name; and after whom to go on, if more are."""
        start = bisect_right(self._names, after) if after else 0
        names = self._names[start : start + limit]
        more = start + limit < len(self._names)
        return [self._told[name] for name in names], names[-1] if more else None
