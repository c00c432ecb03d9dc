"""Groups: who is a member, since when, and where the group's channel was at that moment."""

from __future__ import annotations

from sqlite_utils import Database

from migrations.registry import MIGRATIONS

# A group whose name is NULL was deleted: its members wait to be removed in slices, then it goes.
# So an id is used again only when nothing refers to it. Others have at least one member.
# at: ms since 1970, the wall clock. epoch NULL, seq 0: the channel had no life; else its head.
# members_by_user: the groups of a user (the key of the table stands in every index of it).
SCHEMA = """
CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    name TEXT UNIQUE
);
CREATE TABLE members (
    group_id INTEGER NOT NULL,
    user TEXT NOT NULL,
    at INTEGER NOT NULL,
    epoch TEXT,
    seq INTEGER NOT NULL,
    PRIMARY KEY (group_id, user)
) WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user);
"""


@MIGRATIONS(name="0002_groups")
def groups(db: Database, /) -> None:
    for statement in SCHEMA.split(";"):
        if statement.strip():
            db.execute(statement)
