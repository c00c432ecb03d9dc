"""Small things that the server remembers about itself, in the same file as the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from pushd.log.changes import Request
from pushd.log.ledger import Ledger

_PREFIX: Final = "note:"
_WRITE: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
_READ: Final = "SELECT value FROM meta WHERE key = ?"


class WriteNote(Request):
    """Replaces the one of the same name."""

    __slots__ = ("name", "text")

    def __init__(self, name: str, text: str, done: Callable[[Any], None]) -> None:
        super().__init__(done)
        self.name = name
        self.text = text

    def apply(self, ledger: Ledger) -> None:
        ledger.connection.execute(_WRITE, (_PREFIX + self.name, self.text))


class ReadNote:
    """None: there is none."""

    __slots__ = ("done", "name")

    def __init__(self, name: str, done: Callable[[Any], None]) -> None:
        self.done = done
        self.name = name

    def run(self, connection: sqlite3.Connection) -> str | None:
        row = connection.execute(_READ, (_PREFIX + self.name,)).fetchone()
        return None if row is None else str(row[0])
