"""Changes to what is stored already, within one transaction: the SQL, and what the loop hears."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from pushd.log.believed import note
from pushd.log.damage import Damage
from pushd.log.holds import Holds
from pushd.log.idclock import IdClock
from pushd.log.live import Deleted, Effect, FirstMoved, Redacted, Revoked
from pushd.log.requests import MESSAGE_OVERHEAD, MissingMessages

REDACTED: Final = "redacted"
NULL: Final = b"null"
# Before every day that ids are of.
LONG_AGO: Final = -1

_COLUMNS: Final = "name, id, log_id, epoch, head, first, last_at, bytes"
_FIND: Final = f"SELECT {_COLUMNS} FROM channels WHERE name = ? AND epoch IS NOT NULL"
# ';' comes right after ':', so that this is every name that begins with 'user:ID:'.
_INBOXES: Final = (
    f"SELECT {_COLUMNS} FROM channels"
    " WHERE (name = ? OR (name > ? AND name < ?)) AND epoch IS NOT NULL"
)
_AT: Final = "SELECT at FROM messages WHERE log_id = ? AND seq = ?"
_SIZE: Final = "SELECT length(data) FROM messages WHERE log_id = ? AND seq = ?"
_SIZES: Final = (
    "SELECT seq, length(data) FROM messages WHERE log_id = ? AND seq >= ? AND seq < ?"
    " ORDER BY seq LIMIT ?"
)
_CUT: Final = "UPDATE channels SET first = ?, first_at = ? WHERE id = ?"
_DELETE: Final = (
    "UPDATE channels SET log_id = NULL, epoch = NULL, head = 0, first = 1, bytes = 0,"
    " first_at = 0, deleted_at = ? WHERE id = ?"
)
_DISCARD: Final = (
    "INSERT INTO garbage (log_id, channel_id, upto) VALUES (?, ?, ?)"
    " ON CONFLICT (log_id) DO UPDATE SET upto = max(upto, excluded.upto)"
)
_REDACT: Final = "UPDATE messages SET type = ?, data = ? WHERE log_id = ? AND seq = ?"
_SHRINK: Final = "UPDATE channels SET bytes = bytes - ? WHERE id = ?"
_REVOKE: Final = "INSERT OR REPLACE INTO revocations (kind, value, at, until) VALUES (?, ?, ?, ?)"
_UNREVOKE: Final = "DELETE FROM revocations WHERE kind = ? AND value = ?"
_OF_USER: Final = ("cursors", "reads", "devices", "seen")


class Channel(NamedTuple):
    """A channel that is not deleted. ``bytes``: on disk, those included that wait to be swept."""

    name: str
    id: int
    log_id: int
    epoch: str
    head: int
    first: int
    last_at: int
    bytes: int


class Garbage(NamedTuple):
    """Messages that nobody can read any more, on disk until they are swept."""

    log_id: int
    channel_id: int
    channel: str
    upto: int


class Ledger:
    """Made for one transaction. ``now_ms``: the wall clock; ``clock``: that of the ids."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        now_ms: int,
        clock: IdClock,
        damage: Damage,
        holds: Holds,
    ) -> None:
        self.now_ms = now_ms
        self.damage = damage
        self.holds = holds
        self.effects: list[Effect] = []
        self.garbage: list[Garbage] = []
        self.cut_messages = 0
        self.deleted_channels = 0
        # A group was deleted, and the rows of its members wait to be swept.
        self.left_members = False
        self.connection = connection
        self._clock = clock
        self._steady_ms = clock.now_ms()
        self._execute = connection.execute

    def find(self, name: str) -> Channel | None:
        """None: never written to, or deleted."""
        row = self._execute(_FIND, (name,)).fetchone()
        return None if row is None else Channel(*row)

    def inboxes(self, user: str) -> list[Channel]:
        """All that the user has; others may begin with the same letters."""
        names = (f"user:{user}", f"user:{user}:", f"user:{user};")
        return [Channel(*row) for row in self._execute(_INBOXES, names)]

    def cut(self, channel: Channel, first: int, *, due: bool = False) -> None:
        """Forgets what is older than ``first``, which lies above the first there is. ``due``: it
        was time for it; nobody has asked."""
        row = self._execute(_AT, (channel.log_id, first)).fetchone()
        first_at = 0 if row is None else row[0]
        self._execute(_CUT, (first, first_at, channel.id))
        self._discard(channel, first - 1)
        self.effects.append(FirstMoved(channel.name, channel.log_id, first, first_at, due))

    def delete(self, channel: Channel, *, for_good: bool = False) -> None:
        """Leaves the name and its id to ids, marks and the next life.

        ``for_good``: nothing of that matters, so that the next tidying takes the name as well.
        """
        self._execute(_DELETE, (LONG_AGO if for_good else self._steady_ms, channel.id))
        self._discard(channel, channel.head)
        self.holds.forget(channel.id)
        self.deleted_channels += 1
        self.effects.append(Deleted(channel.name, channel.log_id))

    def _discard(self, channel: Channel, upto: int) -> None:
        self._execute(_DISCARD, (channel.log_id, channel.id, upto))
        self.garbage.append(Garbage(channel.log_id, channel.id, channel.name, upto))
        self.cut_messages += upto + 1 - channel.first

    def is_swept(self, channel: Channel) -> bool:
        """No garbage of this life waits: its bytes are those that can be read."""
        found = self._execute("SELECT 1 FROM garbage WHERE log_id = ?", (channel.log_id,))
        return found.fetchone() is None

    def redact(self, channel: Channel, seq: int) -> None:
        """Raises MissingMessages when the log is damaged there."""
        row = self._execute(_SIZE, (channel.log_id, seq)).fetchone()
        if row is None:
            raise MissingMessages(f"Message {seq} of {channel.name!r} is not on disk.")
        self._execute(_REDACT, (REDACTED, NULL, channel.log_id, seq))
        shrunk = row[0] - len(NULL)
        self._execute(_SHRINK, (shrunk, channel.id))
        self.effects.append(Redacted(channel.name, channel.log_id, shrunk))

    def first_since(self, channel: Channel, at_ms: int) -> int:
        """The oldest retained seq that is not older; times never fall, so a few looks find it."""
        low, step = channel.first, 1
        while low <= channel.head and self._at(channel, low + step - 1) < at_ms:
            low = min(low + step - 1, channel.head) + 1
            step *= 2
        high = min(low + step - 1, channel.head)
        while low < high:
            middle = (low + high) // 2
            if self._at(channel, middle) < at_ms:
                low = middle + 1
            else:
                high = middle
        return low

    def _at(self, channel: Channel, seq: int) -> int:
        seq = min(seq, channel.head)
        row = self._execute(_AT, (channel.log_id, seq)).fetchone()
        if row is None:
            raise MissingMessages(f"Message {seq} of {channel.name!r} is not on disk.")
        return int(row[0])

    def first_within(self, channel: Channel, most_bytes: int, look_at: int) -> int:
        """The oldest that may stay so that no more bytes do; the newest message always may.

        Looks at so many messages at most: then some too many stay until the next time.
        """
        excess = channel.bytes - most_bytes
        first = channel.first
        rows = self._execute(_SIZES, (channel.log_id, first, channel.head, look_at)).fetchall()
        for seq, size in rows:
            if excess <= 0:
                break
            excess -= size + MESSAGE_OVERHEAD
            first = seq + 1
        return first

    def forget_user(self, user: str) -> None:
        """Cursors, read marks, devices, and that the user was ever seen."""
        for table in _OF_USER:
            self._execute(f"DELETE FROM {table} WHERE user = ?", (user,))

    def note_clock(self, wall_ms: int) -> None:
        note(self.connection, wall_ms, self._steady_ms, self._clock.served_ms())

    def revoke(self, kind: str, value: str, until_s: float) -> tuple[float, float]:
        """From now until ``until_s`` (Unix seconds); answers both."""
        self._execute(_REVOKE, (kind, value, self.now_ms, int(until_s * 1000)))
        span = (self.now_ms / 1000, int(until_s * 1000) / 1000)
        self.effects.append(Revoked((kind, value), span))
        return span

    def unrevoke(self, kind: str, value: str) -> bool:
        """Whether there was such a revocation."""
        if not self._execute(_UNREVOKE, (kind, value)).rowcount:
            return False
        self.effects.append(Revoked((kind, value), None))
        return True
