"""The log: channels, messages, what is to be swept, ids used, marks, devices, revocations."""

from __future__ import annotations

from sqlite_utils import Database

from migrations.registry import MIGRATIONS

# messages has a rowid: appends of all channels then go to the end of one tree, which took a half
# to a third of the time and of the space that WITHOUT ROWID took (payloads of 150 B to 20 kB).
# idempotency leads with the day: what is new goes to one end of the tree, and expiring deletes
# whole pages at the other, without an index on the time. used_at (ms) and day are of a steady
# clock, not of the wall clock that 'at' is of.
# channels.id belongs to the name: ids, cursors and reads refer to it and survive a deletion.
# channels.log_id belongs to one life, so that the messages of a deleted one can be swept later.
# Both come from meta.last_id and are never used again. Of a deleted channel log_id and epoch are
# NULL, and deleted_at (ms, the steady clock) says when. bytes counts the rows of this life that are
# there, those that wait to be swept included; first_at is the 'at' of message first, if there is.
# garbage: rows of log_id up to seq upto are to be deleted, in slices. devices.day: since 1970.
# cursors_by_channel and reads_by_channel: who has it, and what goes with a channel for good.
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    log_id INTEGER,
    epoch TEXT,
    head INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    deleted_at INTEGER
);
CREATE INDEX channels_deleted ON channels (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE TABLE messages (
    log_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    type TEXT,
    sender TEXT,
    id TEXT,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX messages_by_seq ON messages (log_id, seq);
CREATE TABLE garbage (
    log_id INTEGER PRIMARY KEY,
    channel_id INTEGER NOT NULL,
    upto INTEGER NOT NULL
);
CREATE TABLE idempotency (
    day INTEGER NOT NULL,
    channel_id INTEGER NOT NULL,
    publisher TEXT NOT NULL,
    id TEXT NOT NULL,
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    digest BLOB NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (day, channel_id, publisher, id)
) WITHOUT ROWID;
CREATE TABLE cursors (
    user TEXT NOT NULL,
    device TEXT NOT NULL,
    channel_id INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (user, device, channel_id)
) WITHOUT ROWID;
CREATE INDEX cursors_by_channel ON cursors (channel_id, user);
CREATE TABLE devices (
    user TEXT NOT NULL,
    device TEXT NOT NULL,
    day INTEGER NOT NULL,
    PRIMARY KEY (user, device)
) WITHOUT ROWID;
CREATE INDEX devices_by_day ON devices (day);
CREATE TABLE reads (
    user TEXT NOT NULL,
    channel_id INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (user, channel_id)
) WITHOUT ROWID;
CREATE INDEX reads_by_channel ON reads (channel_id, user);
CREATE TABLE revocations (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE INDEX revocations_by_until ON revocations (until);
"""


@MIGRATIONS(name="0001_log")
def log(db: Database, /) -> None:
    # One statement at a time: executescript() would commit the migration's own transaction.
    for statement in SCHEMA.split(";"):
        if statement.strip():
            db.execute(statement)
    db.execute("INSERT INTO meta (key, value) VALUES ('format', '2')")
