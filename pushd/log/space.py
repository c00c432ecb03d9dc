"""Free space on the disk of the log, looked at seldom."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pushd.log.store import DATABASE

_EVERY_S: Final = 1.0


class FreeSpace:
    """Says when to refuse, before SQLite has to: the rest is for marks and checkpoints.

    ``reusable``: bytes within the database that appends take first. The disk itself must keep a
    quarter of what is asked for, for the write-ahead log. ``pending``: bytes of that log which the
    database does not have yet and may need once more; ``settle`` brings them there.
    """

    def __init__(
        self,
        directory: Path,
        min_free_bytes: int,
        reusable: Callable[[], int] = lambda: 0,
        pending: Callable[[], int] = lambda: 0,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self._reusable = reusable
        self._pending = pending
        self._settle = settle
        self._directory = directory
        self._min_free = min_free_bytes
        self._next_look = 0.0
        self._low = False

    def is_low(self) -> bool:
        """Raises what ``settle`` raises."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _EVERY_S
            self._low = self._lacks()
            if self._low and self._pending():
                self._settle()
                self._low = self._lacks()
        return self._low

    def _lacks(self) -> bool:
        free = self.free_bytes() - self._pending()
        return free < self._min_free and (
            free < self._min_free // 4 or free + self._reusable() < self._min_free
        )

    def free_bytes(self) -> int:
        """On a disk that cannot be asked nothing is free."""
        with contextlib.suppress(OSError):
            state = os.statvfs(self._directory)
            return state.f_bavail * state.f_frsize
        return 0

    def database_bytes(self) -> int:
        return self._size(DATABASE)

    def wal_bytes(self) -> int:
        """0 when there is none."""
        return self._size(f"{DATABASE}-wal")

    def _size(self, name: str) -> int:
        with contextlib.suppress(OSError):
            return (self._directory / name).stat().st_size
        return 0
