"""Read marks at an edge: the owner records them, and tells all nodes of those that rise."""

from __future__ import annotations

from pushd.core.permissions import Identity
from pushd.core.positions import Cursor
from pushd.log import Own
from pushd.marking import Marking
from pushd.session import Session


class EdgeMarking(Marking):
    """Forwards by ``log.record_read``, and tells nobody: that comes with the feed (``tell``).

    Of a user's own messages the owner is told with them: ``own`` is the publisher's ``own_of``.
    """

    def raise_mark(
        self, user: str, channel: str, cursor: Cursor, device: str | None, session: str | None
    ) -> None:
        self._log.record_read(user, channel, cursor, device, session)

    def own(self, identity: Identity, channels: list[str], by: Session | None) -> Own | None:
        """What the owner is to do for a user who publishes there: as ``wrote`` does."""
        if identity.user is None:
            return None
        device, session = identity.device, None
        if by is not None:
            device, session = by.device, by.id
        entries = tuple(
            number for number, each in enumerate(channels) if self._marks_own(identity, each)
        )
        return Own(identity.user, device, session, entries) if entries else None
