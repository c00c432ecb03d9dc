"""The time that was believed last, on disk: what a start has to compare the wall clock with.

Nobody can tell a clock that is ahead from a machine that was off for long. So what lies more than a
day after the last time that is known here is not believed before it has gone on evenly for a while.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from pushd.log.idclock import DAY_MS

# A start this far after the last known time may delete nothing by the wall clock.
AWAY_MS: Final = DAY_MS

_READ: Final = "SELECT value FROM meta WHERE key = 'believed_at'"
_NEWEST: Final = "SELECT max(last_at) FROM channels"
_NOTE: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('believed_at', ?)"


class Believed(NamedTuple):
    """Ms since 1970. ``noted``: by retention; else it is the time of the newest message."""

    wall_ms: int
    noted: bool


def load(connection: sqlite3.Connection) -> Believed | None:
    """None: there is nothing yet that a clock could do harm to."""
    row = connection.execute(_READ).fetchone()
    if row is not None:
        return Believed(int(row[0]), True)
    (newest,) = connection.execute(_NEWEST).fetchone()
    return None if newest is None else Believed(int(newest), False)


def note(connection: sqlite3.Connection, wall_ms: int) -> None:
    """Within a transaction of the writer."""
    connection.execute(_NOTE, (wall_ms,))
