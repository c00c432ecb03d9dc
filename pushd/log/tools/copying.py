"""Copies a snapshot of a log into one file: page by page, synced as it goes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from pushd.log.tools.source import Source

# Called now and then: what is done, how far, of how much.
Progress = Callable[[str, int, int], None]

# In one step; long enough to be fast, short enough for progress and Ctrl-C.
_PAGES: Final = 512
# Synced after so many bytes: the writer's own syncs must not wait for a disk full of our pages.
_SYNC_BYTES: Final = 16 << 20


def copy(source: Source, target: Path, progress: Progress) -> None:
    """``target`` exists, empty, and is ours alone. One file and synced when this returns.

    Raises sqlite3.Error, OSError; then the target is rubbish.
    """
    page = source.size // max(1, _pages(source))
    fd = os.open(target, os.O_RDWR | os.O_CLOEXEC)
    synced = 0

    def step(_status: int, remaining: int, total: int) -> None:
        nonlocal synced
        done = (total - remaining) * page
        if done - synced >= _SYNC_BYTES:
            synced = done
            os.fdatasync(fd)
        progress("copied", done, total * page)

    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as connection:
            # Nothing to go back to: when it fails, the file goes.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -4096")
            source.connection.backup(connection, pages=_PAGES, progress=step)
            # The pages came with the mode of the source, which wants files beside the database.
            connection.execute("PRAGMA journal_mode = DELETE")
        os.fsync(fd)
    finally:
        os.close(fd)


def _pages(source: Source) -> int:
    return int(source.connection.execute("PRAGMA page_count").fetchone()[0])
