"""The time that was believed last, on disk: what a start has to compare the wall clock with.

Nobody can tell a clock that is ahead from a machine that was off for long. So what lies more than a
day after the last time that is known here is not believed before it has gone on evenly for a while.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

# A start this far after the last known time may delete nothing by the wall clock.
AWAY_MS: Final = 86_400_000

_READ: Final = "SELECT value FROM meta WHERE key = ?"
_KEYS: Final = ("believed_at", "ids_at", "served_at")
_NOTE: Final = (
    "INSERT OR REPLACE INTO meta (key, value)"
    " VALUES ('believed_at', ?), ('ids_at', ?), ('served_at', ?)"
)


class Believed(NamedTuple):
    """Ms since 1970. ``ids_ms``: what the clock of the ids said then, ``served_ms``: that without
    the times that it stood still. Where retention has noted nothing yet, these are None, and
    ``wall_ms`` the time of the newest message.
    """

    wall_ms: int
    ids_ms: int | None
    served_ms: int | None = None

    def is_far_behind(self, wall_ms: int) -> bool:
        return wall_ms - self.wall_ms > AWAY_MS


def load(connection: sqlite3.Connection, newest_ms: int | None) -> Believed | None:
    """``newest_ms``: of the messages. None: there is nothing yet that a clock could do harm to."""
    wall, ids, served = (connection.execute(_READ, (key,)).fetchone() for key in _KEYS)
    if wall and ids:
        return Believed(int(wall[0]), int(ids[0]), int(served[0]) if served else None)
    return None if newest_ms is None else Believed(newest_ms, None)


def note(connection: sqlite3.Connection, wall_ms: int, ids_ms: int, served_ms: int) -> None:
    """Within a transaction of the writer."""
    connection.execute(_NOTE, (wall_ms, ids_ms, served_ms))
