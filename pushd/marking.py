"""How far devices were given, and users have read, channels: checked, recorded, told to others."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from pushd.access import Access
from pushd.core.names import Kind, check_channel, inbox_owner, kind_of
from pushd.core.namespaces import Namespaces
from pushd.core.permissions import Identity
from pushd.core.positions import START, Cursor, parse_cursor
from pushd.deliveries import Deliveries
from pushd.errors import BadRequest, PushdError
from pushd.log import Log, Marks, Stored
from pushd.metrics import Counters
from pushd.notices import Notices
from pushd.places import Places
from pushd.sessions import Session, Sessions

log = structlog.get_logger("pushd.marking")


class Marking:
    """Of all transports. Used on the Trio loop only."""

    def __init__(
        self,
        log: Log,
        places: Places,
        namespaces: Namespaces,
        access: Access,
        sessions: Sessions,
        notices: Notices,
        deliveries: Deliveries,
        counters: Counters,
    ) -> None:
        self._log = log
        self._places = places
        self._namespaces = namespaces
        self._access = access
        self._sessions = sessions
        self._notices = notices
        self._deliveries = deliveries
        self._counters = counters
        # What the other nodes are to be told of: user, channel, cursor, and who knows it already.
        self.on_read: Callable[[str, str, str, str | None, str | None], None] = _nobody

    def ack(
        self, identity: Identity, device: str | None, cursors: dict[str, str], now: float
    ) -> dict[str, PushdError]:
        """Record cursors as delivered; what could not be is returned by channel."""
        refused: dict[str, PushdError] = {}
        for channel, text in cursors.items():
            try:
                cursor = self._checked(identity, channel, text, now)
            except PushdError as error:
                refused[channel] = error
            else:
                self._counters.acks += 1
                if identity.user is not None and device is not None and cursor.seq:
                    self._deliveries.record(identity.user, device, channel, cursor)
        return refused

    def read(
        self,
        identity: Identity,
        channel: str,
        text: str,
        now: float,
        device: str | None = None,
        teller: Session | None = None,
    ) -> None:
        """Raise the user's read mark; the user's other sessions and polling devices are told.

        Not of a mark below the one that is recorded: what they know only rises, too.
        """
        cursor = self._checked(identity, channel, text, now)
        user = identity.user
        if user is None:
            raise BadRequest("Read marks belong to users; a service has none.")
        if not cursor.seq:
            return
        self.raise_mark(user, channel, cursor, device, None if teller is None else teller.id)

    def raise_mark(
        self, user: str, channel: str, cursor: Cursor, device: str | None, session: str | None
    ) -> None:
        """Record it; if it is the highest, everybody is told but ``device`` and ``session``."""
        self._record(user, channel, cursor)

        def recorded(marks: dict[str, Marks] | PushdError) -> None:
            if isinstance(marks, PushdError) or marks[channel].read != cursor:
                return  # what cannot be read now, hello tells later
            self._spread(user, channel, cursor, device, session)

        self._log.load_marks(user, None, [channel], recorded)

    def wrote(
        self, identity: Identity, stored: list[Stored], teller: Session | None = None
    ) -> None:
        """A user's own messages are on disk: who writes has read what was there before.

        Where the user reads and marks are of use: not in ephemeral channels.
        """
        user = identity.user
        if user is None:
            return
        device, session = identity.device, None
        if teller is not None:
            device, session = teller.device, teller.id
        for each in stored:
            if self._marks_own(identity, each.channel):
                self.read_own(user, each, device, session)

    def read_own(self, user: str, stored: Stored, device: str | None, session: str | None) -> None:
        """The user has written this, which is on disk, where the user reads."""
        channel, cursor = stored.channel, Cursor(stored.epoch, stored.seq)
        self._record(user, channel, cursor)
        # It was the newest of all when it was committed, unless that is long ago.
        if not stored.duplicate:
            self._spread(user, channel, cursor, device, session)

    def _record(self, user: str, channel: str, cursor: Cursor) -> None:
        if channel == "all":
            self._log.record_seen(user)  # else older messages were unread until the first session
        self._log.record_read(user, channel, cursor)

    def _marks_own(self, identity: Identity, channel: str) -> bool:
        kind = kind_of(channel)
        if kind is Kind.SESSION or self._namespaces.of(channel).ephemeral:
            return False
        if kind is Kind.USER:
            return inbox_owner(channel) == identity.user
        try:
            self._access.check_read(identity, channel, 0.0)  # the token was good enough to publish
        except PushdError:
            return False
        return True

    def _spread(
        self, user: str, channel: str, cursor: Cursor, device: str | None, session: str | None
    ) -> None:
        text = str(cursor)
        self.tell(user, channel, text, device, session)
        self.on_read(user, channel, text, device, session)

    def tell(
        self, user: str, channel: str, cursor: str, device: str | None, session: str | None
    ) -> None:
        """All sessions and polling devices that the user has here, but for those that know."""
        for each in self._sessions.of_user(user):
            if each.id != session and each.greeted:
                try:
                    each.tell("read", channel=channel, cursor=cursor)
                except Exception:  # one connection's failure is its own
                    log.exception("a session could not be told", session=each.id)
        self._notices.read(user, device, channel, cursor)

    def _checked(self, identity: Identity, channel: str, text: str, now: float) -> Cursor:
        """A cursor that names a position of the channel as it is.

        Raises Reset, Forbidden, BadRequest, which name the channel.
        """
        try:
            self._access.check_read(identity, check_channel(channel), now)
            cursor = parse_cursor(text, allow_head=False)
            if cursor == START:
                return cursor
            at = self._places.of(channel)
            return Cursor(at.epoch, self._places.after(channel, cursor, at))
        except PushdError as error:
            error.extra = {"channel": channel, **error.extra}
            raise


def _nobody(*_: object) -> None:
    pass
