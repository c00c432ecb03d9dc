"""The active device that is farthest behind in a channel: found by looking at all of its devices.

No index has it: every mark that rises would have to be written there as well, which made the
writing of marks cost twice as much. Looking costs half a microsecond for a device, in pieces.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final, NamedTuple

# Devices looked at in one go: about a millisecond.
PIECE: Final = 2_000
# And in one turn of the reader's thread.
PIECES: Final = 4

_END: Final = (
    "SELECT user FROM cursors WHERE channel_id = ? AND user > ? ORDER BY user LIMIT 1 OFFSET ?"
)
# The other columns are of the row that has the minimum.
_LEAST: Final = (
    "SELECT min(seq), user, device, at FROM cursors"
    " WHERE channel_id = ? AND user > ? AND user <= ? AND epoch = ? AND heard >= ?"
    " AND seq >= ?"
)
_LAST: Final = "\U0010ffff"


class Slowest(NamedTuple):
    """``seq``: what it was given last. ``at``: when it was heard of, ms since 1970; up to the 24th
    part of ``cursor_active`` older than it was."""

    user: str
    device: str
    seq: int
    at: int


class Scan:
    """One look at all devices of one life of a channel. ``found`` is right once it is ``done``.

    Devices of which a mark is written meanwhile may be seen before or after that.
    """

    __slots__ = ("_after", "_channel_id", "_epoch", "_least", "_since_ms", "done", "found")

    def __init__(self, channel_id: int, epoch: str, since_ms: int, least: int = 0) -> None:
        """``since_ms``: see Activity. ``least``: devices that have got less do not count."""
        self._channel_id = channel_id
        self._epoch = epoch
        self._since_ms = since_ms
        self._least = least
        self._after = ""
        self.done = False
        self.found: Slowest | None = None

    def look(self, connection: sqlite3.Connection) -> None:
        """At one piece more."""
        row = connection.execute(_END, (self._channel_id, self._after, PIECE)).fetchone()
        end = _LAST if row is None else row[0]
        wanted = (self._channel_id, self._after, end, self._epoch, self._since_ms, self._least)
        seq, user, device, at = connection.execute(_LEAST, wanted).fetchone()
        if seq is not None and (self.found is None or seq < self.found.seq):
            self.found = Slowest(user, device, seq, at)
        self._after, self.done = end, row is None


class FindSlowest:
    """A turn of the reader; its answer is the scan itself, to be handed in again until done."""

    __slots__ = ("done", "scan")

    def __init__(self, scan: Scan, done: Callable[[Any], None]) -> None:
        self.scan = scan
        self.done = done

    def run(self, connection: sqlite3.Connection) -> Scan:
        for _ in range(PIECES):
            if self.scan.done:
                break
            self.scan.look(connection)
        return self.scan
