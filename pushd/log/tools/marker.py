"""What stands in a backup about itself. A log that has it may not be served before a restore.

Were a backup copied to the place of a log by hand, numbers would be given a second time; a start
refuses what is marked.
"""

from __future__ import annotations

import socket
import sqlite3
import time
from typing import Final

import msgspec

from pushd import __version__
from pushd.errors import CannotStart

# In meta.
KEY: Final = "backup"


class Mark(msgspec.Struct):
    """``at``: ms since 1970. ``seal``: of the messages, see ``content``."""

    at: int
    host: str
    version: str
    seal: str


def write(connection: sqlite3.Connection, seal: str) -> None:
    """Marks the database as a backup, made now and here."""
    mark = Mark(time.time_ns() // 1_000_000, socket.gethostname(), __version__, seal)
    text = msgspec.json.encode(mark).decode()
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (KEY, text))


def read(connection: sqlite3.Connection) -> Mark | None:
    """None: it is no backup. One that cannot be read says so little."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (KEY,)).fetchone()
    try:
        return None if row is None else msgspec.json.decode(row[0], type=Mark)
    except msgspec.DecodeError:
        return Mark(0, "unknown", "unknown", "")


def refuse(connection: sqlite3.Connection) -> None:
    """Raises CannotStart for a backup: its channels would go on with numbers given already."""
    tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'")
    if tables.fetchone() and read(connection) is not None:
        raise CannotStart(
            "The database is a backup that was copied here by hand: served as it is, it would give"
            " numbers a second time. Give its channels new epochs: pushctl restore --adopt"
        )


def remove(connection: sqlite3.Connection) -> None:
    """It may be served from now on."""
    connection.execute("DELETE FROM meta WHERE key = ?", (KEY,))
