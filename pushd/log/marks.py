"""How far devices and users have come, between the loop that records it and the disk.

dirty (recorded) -> writing (the writer has it) -> gone (committed). Whoever loads marks looks here
before and after reading the disk, so that nothing is missed on its way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from pushd.core.positions import Cursor

# User, device, channel id. Without a device it is the read mark of the user.
MarkKey = tuple[str, str | None, int]
# In place of a channel's id: where ``all`` was when the user was first seen. It never moves.
SEEN: Final = 0
# Delivered and read marks, each by channel id.
Found = tuple[dict[int, Cursor], dict[int, Cursor]]

# So many at once are not left to wait: memory is bounded by what the disk takes.
FLUSH_KEYS: Final = 200_000
# What one transaction takes along: some 5 ms, so that publishes hardly notice.
SLICE: Final = 1_000


class MarkBuffer:
    """Conflated per key; values only rise, except that of ``SEEN`` the first one counts.

    ``on_first`` and ``on_many`` wake the writer.
    """

    def __init__(self, on_first: Callable[[], None], on_many: Callable[[], None]) -> None:
        self._on_first = on_first
        self._on_many = on_many
        self._lock = threading.Lock()
        self._dirty: dict[MarkKey, Cursor] = {}
        self._writing: dict[MarkKey, Cursor] = {}
        self._slices: list[list[tuple[MarkKey, Cursor]]] = []

    def record(self, key: MarkKey, cursor: Cursor) -> None:
        """Loop side, memory only."""
        # The lock only keeps the writer's swap from falling between the look-up and the store.
        with self._lock:
            dirty = self._dirty
            old = dirty.get(key)
            if old is not None and (cursor <= old or key[2] == SEEN):
                return
            dirty[key] = cursor
            count = len(dirty)
        if old is None:
            if count == 1:
                self._on_first()
            elif count % FLUSH_KEYS == 0:
                self._on_many()

    def unwritten(self, user: str, device: str | None, channel_ids: list[int]) -> Found:
        """What may not be on disk yet."""
        with self._lock:
            return newest(
                *(
                    (
                        _pick(source, user, device, channel_ids) if device is not None else {},
                        _pick(source, user, None, channel_ids),
                    )
                    for source in (self._dirty, self._writing)
                )
            )

    def next_slice(self) -> list[tuple[MarkKey, Cursor]]:
        """Writer side: what to write now (or nothing); the same until ``slice_written``."""
        if not self._slices:
            with self._lock:
                if not self._dirty:
                    return []
                self._writing, self._dirty = self._dirty, {}
            items = list(self._writing.items())
            self._slices = [items[i : i + SLICE] for i in range(0, len(items), SLICE)]
            self._slices.reverse()
        return self._slices[-1]

    def slice_written(self) -> bool:
        """Writer side, after the commit. True when more of the same swap waits."""
        self._slices.pop()
        if self._slices:
            return True
        with self._lock:
            self._writing = {}
        return False

    def all_unwritten(self) -> list[tuple[MarkKey, Cursor]]:
        """Whatever may not be on disk yet. Call it before the disk is looked at."""
        with self._lock:
            return [*self._dirty.items(), *self._writing.items()]

    def forget(self, user: str) -> None:
        """Writer side: the marks of this user are not to be written any more."""
        with self._lock:
            self._dirty = {key: cursor for key, cursor in self._dirty.items() if key[0] != user}
            self._writing = {key: at for key, at in self._writing.items() if key[0] != user}
        kept = [[item for item in slice_ if item[0][0] != user] for slice_ in self._slices]
        self._slices = [slice_ for slice_ in kept if slice_]
        if not self._slices:
            with self._lock:
                self._writing = {}

    def has_dirty(self) -> bool:
        """Some were recorded that the writer has not taken yet."""
        return bool(self._dirty)

    def __len__(self) -> int:
        return len(self._dirty) + len(self._writing)


def _pick(
    source: dict[MarkKey, Cursor], user: str, device: str | None, channel_ids: list[int]
) -> dict[int, Cursor]:
    found = {}
    for channel_id in channel_ids:
        cursor = source.get((user, device, channel_id))
        if cursor is not None:
            found[channel_id] = cursor
    return found


def newest(*sources: Found) -> Found:
    """Per channel the highest of what the sources know; of ``SEEN`` the lowest."""
    merged: Found = ({}, {})
    for source in sources:
        for into, marks in zip(merged, source, strict=True):
            for channel_id, cursor in marks.items():
                old = into.get(channel_id)
                if old is None or (cursor < old if channel_id == SEEN else cursor > old):
                    into[channel_id] = cursor
    return merged
