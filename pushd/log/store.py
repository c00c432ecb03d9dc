"""The SQL of the writer: its connection, its statements, one transaction per batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

from pushd.core.positions import Cursor
from pushd.log.devices import Devices
from pushd.log.marks import MarkKey
from pushd.log.markwrites import COARSE_MS, MarkWrites

DATABASE: Final = "pushd.db"
# Another program (a shell, a backup) may hold the file for a moment; then it is an error.
BUSY_MS: Final = 5_000
CACHE_KIB: Final = 16_384
# Day, channel id, publisher, id.
IdKey = tuple[int, int, str, str]
# Channel id, publisher, id; epoch, seq, at, digest of what was stored under it.
Used = tuple[int, str, str, str, int, int, bytes]

_FIND_CHANNEL: Final = "SELECT id, log_id, epoch, head, first, last_at FROM channels WHERE name = ?"
# A name that was deleted keeps its id, and begins a new life under it.
_BEGIN_CHANNEL: Final = (
    "INSERT INTO channels (id, name, log_id, epoch, head, first, last_at, bytes, first_at)"
    " VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET log_id = excluded.log_id, epoch = excluded.epoch,"
    " head = excluded.head, first = 1, last_at = excluded.last_at, bytes = excluded.bytes,"
    " first_at = excluded.first_at, deleted_at = NULL"
)
_MOVE_CHANNEL: Final = "UPDATE channels SET head = ?, last_at = ?, bytes = bytes + ? WHERE id = ?"
_SET_FIRST_AT: Final = "UPDATE channels SET first_at = ? WHERE id = ?"
_ADD_MESSAGE: Final = (
    "INSERT INTO messages (log_id, seq, at, type, sender, id, data) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
# Many ids in one step: a thread that steps for each gives up the interpreter each time, and gets
# it back late when the loop is busy. CROSS JOIN keeps the keys outside, one seek for each.
_FIND_IDS: Final = (
    "WITH wanted (day, channel_id, publisher, id) AS (VALUES {rows})"
    " SELECT used.channel_id, used.publisher, used.id, epoch, seq, at, digest"
    " FROM wanted CROSS JOIN idempotency AS used"
    " USING (day, channel_id, publisher, id) WHERE used_at > ?"
)
# Statements are prepared for so many keys; the rest is filled up with keys that nobody has.
_KEYS_AT_ONCE: Final = (1, 4, 16, 64, 256)
_FIND_SQL: Final = {
    count: _FIND_IDS.format(rows=", ".join(["(?, ?, ?, ?)"] * count)) for count in _KEYS_AT_ONCE
}
_NO_KEY: Final = (-1, 0, "", "")
_ADD_ID: Final = "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
EXPIRE_IDS: Final = (
    "DELETE FROM idempotency WHERE (day, channel_id, publisher, id) IN"
    " (SELECT day, channel_id, publisher, id FROM idempotency WHERE day < ? LIMIT ?)"
)
_SET_LAST: Final = (
    "INSERT OR REPLACE INTO meta (key, value) VALUES ('last_epoch', ?), ('last_id', ?)"
)


@dataclass(slots=True)
class Rows:
    """Everything that one transaction writes, as the tuples that the statements take."""

    # id, name, log_id, epoch, head, last_at, bytes, first_at
    begun_channels: list[tuple[int, str, int, str, int, int, int, int]] = field(
        default_factory=list
    )
    # head, last_at, bytes added, id
    moved_channels: list[tuple[int, int, int, int]] = field(default_factory=list)
    # first_at, id: of those that had no message left
    refilled_channels: list[tuple[int, int]] = field(default_factory=list)
    messages: list[tuple[int, int, int, str | None, str | None, str | None, bytes]] = field(
        default_factory=list
    )
    ids: list[tuple[int, int, str, str, str, int, int, bytes, int]] = field(default_factory=list)
    # Epoch and id, the newest given out; set when a channel begins.
    last: tuple[str, int] | None = None
    marks: list[tuple[MarkKey, Cursor]] = field(default_factory=list)
    # Ms since 1970, and of the steady clock.
    marks_at: tuple[int, int] = 0, 0
    expire_before: int | None = None

    def __bool__(self) -> bool:
        return bool(self.messages or self.marks)

    def pages(self) -> int:
        """A guess, rather high, at the pages that it adds to the WAL."""
        payload = sum([len(message[6]) + 60 for message in self.messages])
        channels = len(self.begun_channels) + len(self.moved_channels)
        return 3 + payload // 3000 + 2 * channels + len(self.ids) + len(self.marks)


class Store:
    """The only connection that writes. Used by one thread at a time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        devices_per_user: int = 20,
        coarse_ms: int = COARSE_MS,
    ) -> None:
        """``coarse_ms``: see MarkWrites."""
        self.connection = connection
        self.devices = Devices(connection, devices_per_user)
        self._mark_writes = MarkWrites(connection, self.devices, coarse_ms)
        self._execute = connection.execute
        self._many = connection.executemany

    def find_channel(self, name: str) -> tuple[int, int | None, str | None, int, int, int] | None:
        """id, log_id, epoch, head, first, last_at; None when the name was never written to."""
        found = self._execute(_FIND_CHANNEL, (name,))
        row: tuple[int, int | None, str | None, int, int, int] | None = found.fetchone()
        return row

    def last_id(self) -> int:
        """The newest channel id or log id that was given out."""
        row = self._execute("SELECT value FROM meta WHERE key = 'last_id'").fetchone()
        return 0 if row is None else int(row[0])

    def day_span(self) -> tuple[int, int] | None:
        """The oldest and the newest day that has ids; both from the ends of the tree."""
        row = self._execute(
            "SELECT (SELECT min(day) FROM idempotency), (SELECT max(day) FROM idempotency)"
        ).fetchone()
        return None if row[0] is None else (int(row[0]), int(row[1]))

    def find_ids(self, keys: list[IdKey], used_after: int) -> list[Used]:
        """Those of the ids that are on disk and were used after that (ms, steady clock)."""
        found: list[Used] = []
        most = _KEYS_AT_ONCE[-1]
        for start in range(0, len(keys), most):
            part = keys[start : start + most]
            count = next(size for size in _KEYS_AT_ONCE if size >= len(part))
            part += [_NO_KEY] * (count - len(part))
            values = [*chain.from_iterable(part), used_after]
            found += self._execute(_FIND_SQL[count], values).fetchall()
        return found

    def write(self, rows: Rows) -> int:
        """One transaction, on disk when it returns. Answers how many ids it has expired."""
        self._execute("BEGIN IMMEDIATE")
        many = self._many
        if rows.begun_channels:
            many(_BEGIN_CHANNEL, rows.begun_channels)
        if rows.moved_channels:
            many(_MOVE_CHANNEL, rows.moved_channels)
        if rows.refilled_channels:
            many(_SET_FIRST_AT, rows.refilled_channels)
        if rows.messages:
            many(_ADD_MESSAGE, rows.messages)
        if rows.ids:
            many(_ADD_ID, rows.ids)
        if rows.last is not None:
            self._execute(_SET_LAST, rows.last)
        if rows.marks:
            self._mark_writes.write(rows.marks, rows.marks_at)
        expired = 0
        if rows.expire_before is not None:
            # Faster than ids come in, so that it ends; small enough not to be felt.
            slice_ = 64 + 2 * len(rows.ids)
            expired = self._execute(EXPIRE_IDS, (rows.expire_before, slice_)).rowcount
        self._execute("COMMIT")
        return expired

    def rollback(self) -> None:
        """SQLite has often rolled back already when the disk is full; twice is an error."""
        self.devices.forget()
        if self.connection.in_transaction:
            self._execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """For what is not a batch. On disk at its end; after an error roll back."""
        self._execute("BEGIN IMMEDIATE")
        yield
        self._execute("COMMIT")

    def reusable_bytes(self) -> int:
        """Space in the file that deleted rows have left; appends take it before the file grows."""
        (free,) = self._execute("PRAGMA freelist_count").fetchone()
        (size,) = self._execute("PRAGMA page_size").fetchone()
        return int(free) * int(size)

    def checkpoint(self, mode: str = "PASSIVE") -> tuple[bool, int, int]:
        """Busy, frames in the WAL, frames of them that are in the database."""
        busy, frames, done = self._execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return bool(busy), int(frames), int(done)

    @contextmanager
    def patience(self, wait_ms: int) -> Iterator[None]:
        """Waits less for others than usual."""
        self._execute(f"PRAGMA busy_timeout = {wait_ms}")
        try:
            yield
        finally:
            self._execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    def close(self) -> None:
        self.connection.close()


def connect_writer(directory: Path) -> sqlite3.Connection:
    """Opens the database without looking at it yet; ``startup`` sets and checks the rest."""
    return sqlite3.connect(
        directory / DATABASE,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )


def connect_reader(directory: Path) -> sqlite3.Connection:
    """A connection that cannot write and never checkpoints (docs/decisions/0002 says why)."""
    connection = sqlite3.connect(
        f"{(directory / DATABASE).absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=32,
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection
