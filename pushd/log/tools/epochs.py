"""New lives for all channels of a log that went back in time, so that no number is given twice."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Final

from pushd.core.positions import EPOCH_WIDTH, Epoch, next_epoch
from pushd.log.tools import marker

# Marks and ids as well: an epoch is not to be met again by whoever still has it.
_LATEST: Final = (
    "SELECT value FROM meta WHERE key = 'last_epoch'",
    "SELECT max(epoch) FROM channels",
    "SELECT max(epoch) FROM cursors",
    "SELECT max(epoch) FROM reads",
    "SELECT max(epoch) FROM seen",
    "SELECT max(epoch) FROM members",
    "SELECT max(epoch) FROM idempotency",
)
_LIVES: Final = (
    "CREATE TEMP TABLE lives (channel_id INTEGER PRIMARY KEY, old TEXT NOT NULL, new TEXT NOT NULL)"
)
# Delivered cursors stay: they are of the old lives, so that each device learns of the change.
_MOVE: Final = (
    "UPDATE channels SET epoch = lives.new FROM lives WHERE lives.channel_id = channels.id",
    "UPDATE reads SET epoch = lives.new, seq = min(reads.seq, channels.head)"
    " FROM lives JOIN channels ON channels.id = lives.channel_id"
    " WHERE lives.channel_id = reads.channel_id AND lives.old = reads.epoch",
    "UPDATE seen SET epoch = lives.new, seq = min(seen.seq, channels.head)"
    " FROM lives JOIN channels ON channels.id = lives.channel_id"
    " WHERE channels.name = 'all' AND lives.old = seen.epoch",
    "UPDATE members SET epoch = lives.new, seq = min(members.seq, channels.head)"
    " FROM lives JOIN channels ON channels.id = lives.channel_id"
    " JOIN groups ON 'group:' || groups.name = channels.name"
    " WHERE groups.id = members.group_id AND lives.old = members.epoch",
    "UPDATE idempotency SET epoch = lives.new FROM lives"
    " WHERE lives.channel_id = idempotency.channel_id AND lives.old = idempotency.epoch",
)
_SET_LAST: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('last_epoch', ?)"


@dataclass(frozen=True, slots=True)
class Renewed:
    """``first``, ``last``: the epochs given out, None when there was no channel."""

    channels: int
    first: Epoch | None
    last: Epoch | None


def latest(connection: sqlite3.Connection) -> Epoch | None:
    """The latest epoch that this log knows of. Damaged tables are passed over."""
    found = []
    for sql in _LATEST:
        try:
            row = connection.execute(sql).fetchone()
        except sqlite3.DatabaseError:
            continue
        if row is not None and isinstance(row[0], str) and len(row[0]) == EPOCH_WIDTH:
            found.append(row[0])
    return max(found, default=None)


def renew(connection: sqlite3.Connection, beyond: Epoch | None) -> Renewed:
    """One transaction. The new epochs are later than all that this log knows, and ``beyond``.

    Read marks and ids move along; the mark of a backup goes. Raises sqlite3.Error.
    """
    now_ms = time.time_ns() // 1_000_000
    connection.execute(_LIVES)
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            renewed = _renew(connection, beyond, now_ms)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    finally:
        connection.execute("DROP TABLE temp.lives")
    return renewed


def _renew(connection: sqlite3.Connection, beyond: Epoch | None, now_ms: int) -> Renewed:
    last = max(filter(None, (beyond, latest(connection))), default=None)
    lives = []
    rows = connection.execute("SELECT id, epoch FROM channels WHERE epoch IS NOT NULL ORDER BY id")
    for id_, epoch in rows:
        last = next_epoch(last, now_ms)
        lives.append((id_, epoch, last))
    connection.executemany("INSERT INTO lives VALUES (?, ?, ?)", lives)
    for sql in _MOVE:
        connection.execute(sql)
    if last is not None:
        connection.execute(_SET_LAST, (last,))
    marker.remove(connection)
    return Renewed(len(lives), lives[0][2] if lives else None, last if lives else None)
