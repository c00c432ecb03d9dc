"""A bound on what strangers can make us keep: so many devices per user, none that is long idle."""

from __future__ import annotations

import sqlite3
from typing import Final

from pushd.log.idclock import DAY_MS

_SEEN: Final = (
    "INSERT INTO devices (user, device, day) VALUES (?, ?, ?)"
    " ON CONFLICT (user, device) DO UPDATE SET day = excluded.day"
)
_COUNT: Final = "SELECT count(*) FROM devices WHERE user = ?"
# Days are coarse: of those of one day the marks tell which was heard of last.
_IDLEST: Final = (
    "SELECT device FROM devices AS d WHERE user = ? ORDER BY day,"
    " (SELECT max(at) FROM cursors AS c WHERE c.user = d.user AND c.device = d.device), device"
    " LIMIT ?"
)
# What begins with a colon is nobody's name: the server's own, which are kept.
_IDLE: Final = (
    "SELECT user, device FROM devices WHERE day < ? AND substr(user, 1, 1) != ':'"
    " ORDER BY day LIMIT ?"
)
_DROP: Final = (
    "DELETE FROM cursors WHERE user = ? AND device = ?",
    "DELETE FROM devices WHERE user = ? AND device = ?",
)

# Devices known to have been noted today; beyond it the memory starts again.
MAX_KNOWN: Final = 200_000

Device = tuple[str, str]


class Devices:
    """Works within transactions of the writer. After one that failed: ``forget()``."""

    def __init__(self, connection: sqlite3.Connection, per_user: int) -> None:
        self._connection = connection
        self._per_user = max(1, per_user)
        self._known: dict[Device, int] = {}

    def forget(self) -> None:
        """What is remembered may not be on disk."""
        self._known.clear()

    def note(self, devices: set[Device], at_ms: int) -> None:
        """Delivered marks of these are being written. A device is noted once a day."""
        day = at_ms // DAY_MS
        known = self._known
        new = [device for device in devices if known.get(device) != day]
        if not new:
            return
        if len(known) > MAX_KNOWN:
            known.clear()
        self._connection.executemany(_SEEN, [(*device, day) for device in new])
        known.update(dict.fromkeys(new, day))
        for user in {user for user, _ in new}:
            self._make_room(user)

    def _make_room(self, user: str) -> None:
        (count,) = self._connection.execute(_COUNT, (user,)).fetchone()
        if count > self._per_user:
            idlest = self._connection.execute(_IDLEST, (user, count - self._per_user)).fetchall()
            for (device,) in idlest:
                self._drop((user, device))

    def drop_idle(self, before_ms: int, most: int) -> int:
        """Forgets devices not seen since that day (wall clock); answers how many."""
        idle = self._connection.execute(_IDLE, (before_ms // DAY_MS, most)).fetchall()
        for device in idle:
            self._drop(device)
        return len(idle)

    def _drop(self, device: Device) -> None:
        for statement in _DROP:
            self._connection.execute(statement, device)
        self._known.pop(device, None)
