"""Where the channels of this node are, and what a cursor means there."""

from __future__ import annotations

import time

from pushd.core.fading import Fading, fading
from pushd.core.namespaces import Namespaces
from pushd.core.positions import Cursor
from pushd.core.pulling import UNWRITTEN, Position, resolve
from pushd.errors import Expired
from pushd.log import Log


class Places:
    """Asks the log's heads; used on the Trio loop only."""

    __slots__ = ("_log", "_namespaces")

    def __init__(self, log: Log, namespaces: Namespaces) -> None:
        self._log = log
        self._namespaces = namespaces

    def of(self, channel: str) -> Position:
        """What is there, or ``UNWRITTEN``."""
        head = self._log.heads.get(channel)
        return UNWRITTEN if head is None else Position(head.epoch, head.first, head.seq)

    def is_public(self, channel: str) -> bool:
        """Whether every user may read it."""
        return channel == "all" or self._namespaces.of(channel).public

    def after(self, channel: str, cursor: Cursor, at: Position) -> int:
        """The seq after which to answer. Raises Reset when that answer could not be complete.

        In an ephemeral namespace what has expired is not missed: the cursor moves up silently.
        """
        try:
            return resolve(cursor, at)
        except Expired:
            if not self._namespaces.of(channel).ephemeral:
                raise
            return at.first - 1

    def fading(self, channel: str, after: int) -> Fading | None:
        """What comes after ``after``, and is about to go. None: nothing is."""
        head = self._log.heads.get(channel)
        if head is None or after >= head.seq:
            return None
        return fading(head, self._namespaces.retention(channel), after, int(time.time() * 1000))
