"""Read marks at an edge: the owner records them, and tells all nodes of those that rise."""

from __future__ import annotations

from pushd.core.positions import Cursor
from pushd.marking import Marking


class EdgeMarking(Marking):
    """Forwards by ``log.record_read``, and tells nobody: that comes with the feed (``tell``)."""

    def raise_mark(
        self, user: str, channel: str, cursor: Cursor, device: str | None, session: str | None
    ) -> None:
        self._log.record_read(user, channel, cursor, device, session)

    def _read_own(
        self,
        user: str,
        channel: str,
        cursor: Cursor,
        device: str | None,
        session: str | None,
        duplicate: bool,
    ) -> None:
        self.raise_mark(user, channel, cursor, device, session)
