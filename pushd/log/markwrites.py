"""The SQL that writes marks: they rise; where a user was first seen stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pushd.core.positions import Cursor
from pushd.log.devices import Devices
from pushd.log.marks import SEEN, MarkKey

_RISE: Final = (
    " DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, at = excluded.at"
    " WHERE (excluded.epoch, excluded.seq) > (epoch, seq)"
)
_SET_DELIVERED: Final = (
    "INSERT INTO cursors (user, device, channel_id, epoch, seq, at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (user, device, channel_id)" + _RISE
)
_SET_READ: Final = (
    "INSERT INTO reads (user, channel_id, epoch, seq, at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (user, channel_id)" + _RISE
)
_SET_SEEN: Final = "INSERT OR IGNORE INTO seen (user, epoch, seq, at) VALUES (?, ?, ?, ?)"


def write_marks(
    many: Callable[[str, list[Any]], object],
    devices: Devices,
    marks: list[tuple[MarkKey, Cursor]],
    at: int,
) -> None:
    """Within a transaction of the writer. ``many``: executemany. ``at``: ms since 1970."""
    delivered: list[Any] = []
    read: list[Any] = []
    seen: list[Any] = []
    for (user, device, channel_id), (epoch, seq) in marks:
        if device is not None:
            delivered.append((user, device, channel_id, epoch, seq, at))
        elif channel_id == SEEN:
            seen.append((user, epoch, seq, at))
        else:
            read.append((user, channel_id, epoch, seq, at))
    if delivered:
        many(_SET_DELIVERED, delivered)
        devices.note({(row[0], row[1]) for row in delivered}, at)
    if read:
        many(_SET_READ, read)
    if seen:
        many(_SET_SEEN, seen)
