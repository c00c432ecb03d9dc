"""How marks are written: they rise, and say when the device was heard of; where a user was first
seen stays."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from pushd.core.positions import Cursor
from pushd.log.devices import Devices
from pushd.log.marks import SEEN, MarkKey

# So old may be what is noted of a device that does not get on.
COARSE_MS: Final = 3_600_000

_RISES: Final = "(excluded.epoch, excluded.seq) > (epoch, seq)"
_SET_DELIVERED: Final = (
    "INSERT INTO cursors (user, device, channel_id, epoch, seq, at, heard)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user, device, channel_id) DO UPDATE SET"
    f" epoch = CASE WHEN {_RISES} THEN excluded.epoch ELSE epoch END,"
    f" seq = CASE WHEN {_RISES} THEN excluded.seq ELSE seq END,"
    " at = excluded.at, heard = excluded.heard"
    f" WHERE {_RISES} OR excluded.heard > heard + {{coarse_ms}}"
)
_SET_READ: Final = (
    "INSERT INTO reads (user, channel_id, epoch, seq, at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (user, channel_id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,"
    f" at = excluded.at WHERE {_RISES}"
)
_SET_SEEN: Final = "INSERT OR IGNORE INTO seen (user, epoch, seq, at) VALUES (?, ?, ?, ?)"


class MarkWrites:
    """Within transactions of the writer.

    A device whose mark does not rise was heard of all the same: that is written when what is noted
    is older than ``coarse_ms``.
    """

    def __init__(self, connection: sqlite3.Connection, devices: Devices, coarse_ms: int) -> None:
        self._many = connection.executemany
        self._devices = devices
        self._set_delivered = _SET_DELIVERED.format(coarse_ms=coarse_ms)

    def write(self, marks: list[tuple[MarkKey, Cursor]], times: tuple[int, int]) -> None:
        """``times``: ms since 1970, and of the steady clock."""
        at, heard = times
        delivered: list[Any] = []
        read: list[Any] = []
        seen: list[Any] = []
        for (user, device, channel_id), (epoch, seq) in marks:
            if device is not None:
                delivered.append((user, device, channel_id, epoch, seq, at, heard))
            elif channel_id == SEEN:
                seen.append((user, epoch, seq, at))
            else:
                read.append((user, channel_id, epoch, seq, at))
        if delivered:
            self._many(self._set_delivered, delivered)
            self._devices.note({(row[0], row[1]) for row in delivered}, at)
        if read:
            self._many(_SET_READ, read)
        if seen:
            self._many(_SET_SEEN, seen)
