"""When the WAL goes into the database. The writer's own work: an automatic one hides errors."""

from __future__ import annotations

import sqlite3
from typing import Final

import structlog

from pushd.log import failures
from pushd.log.store import Store

_logger = structlog.get_logger("pushd.log")

# Pages (4 KiB) in the WAL. 1,000 to 16,000 gave the same throughput; the fewer, the shorter the
# pause that a checkpoint makes (2,000: some 5 ms) and the less a start has to catch up.
PAGES: Final = 2_000
# Busy readers keep the WAL from starting over: from here on they are waited for, briefly.
RESTART_PAGES: Final = 16_000
RESTART_WAIT_MS: Final = 100
# With little free space: what is kept free shall not go into the WAL.
HURRY_PAGES: Final = 250
_PAGE: Final = 4096


class Checkpointer:
    """Counts what goes into the WAL by a guess, and corrects itself by what SQLite answers."""

    def __init__(self, store: Store) -> None:
        self.count = 0
        self._store = store
        self._pages = 0.0
        self._due = float(PAGES)
        self._restart_at = float(RESTART_PAGES)
        self._guessed = 0
        # Pages really written for each that was guessed.
        self._scale = 1.0
        self._postponed = False

    def pending_bytes(self) -> int:
        """What the WAL has and the database has not, by the guess."""
        return int(self._pages) * _PAGE

    def grow(self, pages: int) -> None:
        """So many pages were probably written."""
        self._guessed += pages
        self._pages += pages * self._scale

    def run_if_due(self, *, hurry: bool = False) -> None:
        """Raises sqlite3.Error when the disk cannot be trusted; a full disk only postpones."""
        due = self._due - PAGES + HURRY_PAGES if hurry else self._due
        if self._pages < due:
            return
        if self._pages < self._restart_at:
            self._run("PASSIVE")
            return
        with self._store.patience(RESTART_WAIT_MS):
            self._run("RESTART")
        # In vain: it is a long read (a backup), for which nobody shall wait again and again.
        self._restart_at = max(float(RESTART_PAGES), 2 * self._pages)

    def settle(self) -> None:
        """As much as goes without waiting, due or not. Raises like ``run_if_due``."""
        if self._pages:
            self._run("PASSIVE")

    def empty(self) -> bool:
        """Everything into the database, and the WAL emptied; False: somebody reads it, or the disk
        is full. Raises like ``run_if_due``."""
        with self._store.patience(RESTART_WAIT_MS):
            return self._run("TRUNCATE")

    def run_last(self) -> None:
        """At the end: everything into the database, and the WAL emptied."""
        self._run("TRUNCATE")

    def _run(self, mode: str) -> bool:
        """Whether it was done as far as the mode asks for."""
        busy = True
        try:
            busy, frames, done = self._store.checkpoint(mode)
        except sqlite3.Error as error:
            if not failures.is_passing(error):
                raise
            if not self._postponed:
                self._postponed = True
                _logger.warning("checkpoint postponed", error=str(error))
        else:
            self.count += 1
            self._postponed = False
            if frames and self._guessed:
                self._scale = min(1.0, max(0.05, frames / self._guessed))
            # Once all is in the database the next commit starts the file over, if it can.
            if done == frames:
                self._pages = self._guessed = 0
                self._restart_at = float(RESTART_PAGES)
            else:
                self._pages = frames
        self._due = self._pages + PAGES
        return not busy
