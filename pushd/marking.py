"""How far devices were given, and users have read, channels: checked, recorded, told to others."""

from __future__ import annotations

from pushd.access import Access
from pushd.core.names import check_channel
from pushd.core.permissions import Identity
from pushd.core.positions import START, Cursor, parse_cursor
from pushd.errors import BadRequest, PushdError
from pushd.log import Log, Marks
from pushd.metrics import Counters
from pushd.notices import Notices
from pushd.places import Places
from pushd.sessions import Session, Sessions


class Marking:
    """Of all transports. Used on the Trio loop only."""

    def __init__(
        self,
        log: Log,
        places: Places,
        access: Access,
        sessions: Sessions,
        notices: Notices,
        counters: Counters,
    ) -> None:
        self._log = log
        self._places = places
        self._access = access
        self._sessions = sessions
        self._notices = notices
        self._counters = counters

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
                    self._log.record_delivered(identity.user, device, channel, cursor)
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
        self._log.record_read(user, channel, cursor)

        def recorded(marks: dict[str, Marks] | PushdError) -> None:
            if isinstance(marks, PushdError) or marks[channel].read != cursor:
                return  # what cannot be read now, hello tells later
            for session in self._sessions.of_user(user):
                if session is not teller and session.greeted:
                    session.tell("read", channel=channel, cursor=str(cursor))
            self._notices.read(user, device, channel, str(cursor))

        self._log.load_marks(user, None, [channel], recorded)

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
