"""Where ``all`` was when a user was first seen: from there its messages count as unread."""

from __future__ import annotations

from sqlite_utils import Database

from migrations.registry import MIGRATIONS

# epoch '': it had no message then. Not a read mark: nobody has read what was there before.
SCHEMA = """
CREATE TABLE seen (
    user TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID
"""


@MIGRATIONS(name="0004_seen")
def seen(db: Database, /) -> None:
    db.execute(SCHEMA)
