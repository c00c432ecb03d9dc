"""What an administrator has removed leaves the ``-wal`` as well, which has older copies of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from pushd.log.checkpoint import Checkpointer

_logger = structlog.get_logger("pushd.log")

# After the last removal, so that many of them share one checkpoint.
DELAY_S: Final = 5.0
# Whoever reads (a backup) keeps the file as it is: tried again, ever more seldom.
MOST_DELAY_S: Final = 60.0


class Wiper:
    """The writer's. ``due``: when to look again (monotonic clock), None: nothing is to be wiped.

    Rows are overwritten where they lie when they are deleted (``secure_delete``); once those of a
    removal are swept, a checkpoint that truncates takes the last copies. ``garbage``: what waits to
    be swept, by log id; ``aside``: what cannot be. At a start the ``-wal`` is empty, so that only
    what waits is left to do.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        garbage: Mapping[int, object],
        aside: Mapping[int, object],
    ) -> None:
        self.due: float | None = None
        self._checkpointer = checkpointer
        self._garbage = garbage
        self._aside = aside
        self._removed: set[int] = set()
        self._delay_s = DELAY_S
        if garbage:
            self.add(garbage)

    def add(self, log_ids: Iterable[int]) -> None:
        """Something was removed; these are to be swept for it."""
        self._removed.update(log_ids)
        self._delay_s = DELAY_S
        if self.due is None:
            self.due = time.monotonic() + DELAY_S

    def run_if_due(self) -> None:
        """Raises sqlite3.Error when the disk cannot be trusted."""
        if self.due is None or self.due > time.monotonic():
            return
        self._removed.intersection_update(self._garbage)
        if self._removed:
            self.due = time.monotonic() + DELAY_S
        elif self._checkpointer.empty():
            self.due = None
            if self._aside:
                _logger.warning("what was removed is wiped from the disk, but where it is damaged")
            else:
                _logger.info("what was removed is wiped from the disk")
        else:
            self.due = time.monotonic() + self._delay_s
            self._delay_s = min(2 * self._delay_s, MOST_DELAY_S)
