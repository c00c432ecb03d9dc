"""Who has come how far: the marks of all users of a channel, or of a user in all channels."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from pushd.core.positions import Cursor
from pushd.log.marks import SEEN, MarkBuffer
from pushd.log.requests import Head

# Users looked at for one page: those who have not come so far cost as well.
LOOK_AT: Final = 2_000
# Channels of one user.
MAX_CHANNELS: Final = 10_000

_USERS: Final = (
    "SELECT user FROM (SELECT DISTINCT user FROM cursors WHERE channel_id = ?1 AND user > ?2"
    " ORDER BY user LIMIT ?3) UNION SELECT user FROM (SELECT user FROM reads"
    " WHERE channel_id = ?1 AND user > ?2 ORDER BY user LIMIT ?3) ORDER BY user LIMIT ?3"
)
_OF_CHANNEL: Final = (
    "SELECT user, device, epoch, seq FROM cursors"
    " WHERE channel_id = ?1 AND user > ?2 AND user <= ?3",
    "SELECT user, NULL, epoch, seq FROM reads WHERE channel_id = ?1 AND user > ?2 AND user <= ?3",
)
_OF_USER: Final = (
    f"SELECT {SEEN}, NULL, epoch, seq FROM seen WHERE user = ? LIMIT ?",
    "SELECT channel_id, device, epoch, seq FROM cursors WHERE user = ? LIMIT ?",
    "SELECT channel_id, NULL, epoch, seq FROM reads WHERE user = ? LIMIT ?",
)
_NAMES: Final = (
    "SELECT id, name FROM channels WHERE id IN (SELECT value FROM json_each(?))"
    " AND epoch IS NOT NULL"
)
# Of a user's marks in one channel, or of one channel's marks.
_Row = tuple[Any, str | None, str, int]


class UserMarks:
    """How far a user has come in a channel: delivered by device, and read.

    ``since``: as in ``Marks``.
    """

    __slots__ = ("delivered", "read", "since")

    def __init__(self) -> None:
        self.delivered: dict[str, Cursor] = {}
        self.read: Cursor | None = None
        self.since: Cursor | None = None

    def add(self, device: str | None, cursor: Cursor) -> None:
        """``device`` None: a read mark. The highest counts."""
        if device is not None:
            self.delivered[device] = max(cursor, self.delivered.get(device, cursor))
        elif self.read is None or cursor > self.read:
            self.read = cursor


class Receipts(NamedTuple):
    """``next``: the ``after`` of the page that follows, None on the last."""

    users: dict[str, UserMarks]
    next: str | None


class ReadReceipts:
    """See ``Administration.read_receipts``. Marks on their way are looked at first, then the disk:
    what is written in between is seen twice, not missed."""

    __slots__ = ("after", "channel_id", "done", "epoch", "limit", "marks", "seq")

    def __init__(
        self,
        marks: MarkBuffer,
        head: Head | None,
        seq: int,
        limit: int,
        after: str | None,
        done: Callable[[Any], None],
    ) -> None:
        self.marks = marks
        self.channel_id = -1 if head is None else head.channel_id
        self.epoch = "" if head is None else head.epoch
        self.seq = seq
        self.limit = limit
        self.after = after or ""
        self.done = done

    def run(self, connection: sqlite3.Connection) -> Receipts:
        unwritten = [
            (user, device, *cursor)
            for (user, device, channel_id), cursor in self.marks.all_unwritten()
            if channel_id == self.channel_id and user > self.after
        ]
        names = (self.channel_id, self.after, LOOK_AT)
        users = {name for (name,) in connection.execute(_USERS, names).fetchall()}
        users.update(row[0] for row in unwritten)
        page = sorted(users)[:LOOK_AT]
        if not page:
            return Receipts({}, None)
        rows: list[_Row] = [row for row in unwritten if row[0] <= page[-1]]
        for sql in _OF_CHANNEL:
            rows += connection.execute(sql, (self.channel_id, self.after, page[-1])).fetchall()
        found = _by_first(row for row in rows if row[2] == self.epoch and row[3] >= self.seq)
        reached = sorted(found)
        if len(reached) > self.limit:
            reached = reached[: self.limit]
            return Receipts({user: found[user] for user in reached}, reached[-1])
        last = page[-1] if len(page) == LOOK_AT else None
        return Receipts({user: found[user] for user in reached}, last)


class ReadUser:
    """See ``Administration.read_user``."""

    __slots__ = ("done", "marks", "user")

    def __init__(self, marks: MarkBuffer, user: str, done: Callable[[Any], None]) -> None:
        self.marks = marks
        self.user = user
        self.done = done

    def run(self, connection: sqlite3.Connection) -> dict[str, UserMarks]:
        rows: list[_Row] = [
            (channel_id, device, *cursor)
            for (user, device, channel_id), cursor in self.marks.all_unwritten()
            if user == self.user
        ]
        for sql in _OF_USER:
            rows += connection.execute(sql, (self.user, MAX_CHANNELS)).fetchall()
        since = min((Cursor(*row[2:]) for row in rows if row[0] == SEEN), default=None)
        found = _by_first(row for row in rows if row[0] != SEEN)
        ids = msgspec.json.encode(list(found)).decode()
        names = connection.execute(_NAMES, (ids,)).fetchall()
        marks = {name: found[id_] for id_, name in sorted(names, key=lambda row: row[1])}
        if since is not None:
            marks.setdefault("all", UserMarks()).since = since
        return marks


def _by_first(rows: Iterable[_Row]) -> dict[Any, UserMarks]:
    found: dict[Any, UserMarks] = {}
    for key, device, epoch, seq in rows:
        found.setdefault(key, UserMarks()).add(device, Cursor(epoch, seq))
    return found
