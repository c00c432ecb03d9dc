"""How far devices have been given what they follow: many devices in one look."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pushd.core.positions import Cursor
from pushd.log.marks import MarkBuffer, newest
from pushd.log.reader import delivered_to

# A device may follow a hundred channels: some milliseconds of the reader's time.
MOST_DEVICES: Final = 50


class Following(NamedTuple):
    """A device, and the ids of the channels that are asked about."""

    user: str
    device: str
    channel_ids: list[int]


class ReadDelivered:
    """Answers a dict of cursors by channel id, for each device in the order given."""

    __slots__ = ("devices", "done", "marks")

    def __init__(
        self, marks: MarkBuffer, devices: list[Following], done: Callable[[Any], None]
    ) -> None:
        self.marks = marks
        self.devices = devices
        self.done = done

    def run(self, connection: sqlite3.Connection) -> list[dict[int, Cursor]]:
        found = []
        for user, device, ids in self.devices:
            # Looked for first: what is written meanwhile is on disk then.
            unwritten = self.marks.unwritten(user, device, ids)
            on_disk = delivered_to(connection, user, device, ids)
            found.append(newest((on_disk, {}), unwritten)[0])
        return found
