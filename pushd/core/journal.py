"""What has changed lately, each change with a rising version: a ring of bounded size.

Of what has a key only the newest change is remembered: it says that there is something new, and
whoever asks is told what it is then.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

# Places that one answer looks at: some milliseconds, even if all of them were superseded.
MOST_LOOKED_AT: Final = 20_000


class Increment(NamedTuple, Generic[T]):
    """What came after a version, in order. ``version``: to ask on from; ``more``: there is more."""

    version: int
    items: list[T]
    more: bool


class _Entry(NamedTuple, Generic[T]):
    item: T
    key: Hashable | None
    weight: int


class Journal(Generic[T]):
    """Knows all that came after version ``floor``, up to ``version``.

    ``places``: how many changes it looks back, those superseded included. ``most_weight``: of all
    that it remembers.
    """

    __slots__ = ("_newest", "_places", "_ring", "floor", "most_weight", "version", "weight")

    def __init__(self, places: int = 1 << 17, most_weight: int = 300_000) -> None:
        self.version = 0
        self.floor = 0
        self.weight = 0
        self.most_weight = most_weight
        self._places = places
        self._ring: list[_Entry[T] | None] = [None] * places  # version v is at v % places
        self._newest: dict[Hashable, int] = {}

    def put(self, item: T, key: Hashable | None = None, weight: int = 1) -> int:
        """Its version. It supersedes what came with the same ``key``."""
        if key is not None and (before := self._newest.get(key)) is not None:
            self._clear(before)
        version = self.version + 1
        while version - self.floor > self._places or (
            self.floor < self.version and self.weight + weight > self.most_weight
        ):
            self.floor += 1
            self._clear(self.floor)
        self.version = version
        self.weight += weight
        self._ring[version % self._places] = _Entry(item, key, weight)
        if key is not None:
            self._newest[key] = version
        return version

    def since(self, version: int, limit: int) -> Increment[T] | None:
        """What came after ``version``, of ``limit`` in weight (but one item at least).

        None: not all of it is remembered, or there has never been such a version.
        """
        if not self.floor <= version <= self.version:
            return None
        upto = min(self.version, version + MOST_LOOKED_AT)
        items: list[T] = []
        for at in range(version + 1, upto + 1):
            entry = self._ring[at % self._places]
            if entry is None:
                continue
            limit -= entry.weight
            if limit < 0 and items:
                upto = at - 1
                break
            items.append(entry.item)
        return Increment(upto, items, upto < self.version)

    def _clear(self, version: int) -> None:
        place = version % self._places
        entry = self._ring[place]
        if entry is not None:
            self._ring[place] = None
            self.weight -= entry.weight
            if entry.key is not None:
                del self._newest[entry.key]
