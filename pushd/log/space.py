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
    quarter of what is asked for, for the write-ahead log.
    """

    def __init__(
        self, directory: Path, min_free_bytes: int, reusable: Callable[[], int] = lambda: 0
    ) -> None:
        self._reusable = reusable
        self._directory = directory
        self._min_free = min_free_bytes
        self._next_look = 0.0
        self._low = False

    def is_low(self) -> bool:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _EVERY_S
            state = os.statvfs(self._directory)
            free = state.f_bavail * state.f_frsize
            self._low = free < self._min_free and (
                free < self._min_free // 4 or free + self._reusable() < self._min_free
            )
        return self._low

    def wal_bytes(self) -> int:
        with contextlib.suppress(OSError):
            return (self._directory / f"{DATABASE}-wal").stat().st_size
        return 0
