"""Who is in which topic: a user is while a session of the user follows it, and for a grace time.

Kept in memory by what sessions do; ``announcer`` tells of it in the presence channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import trio
from msgspec.json import encode

from pushd.announcer import Announcer
from pushd.core.names import presence_of
from pushd.core.namespaces import Namespaces
from pushd.core.room import Room
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import NotFound, NotReady, RateLimited, TooLarge
from pushd.limits import Quota
from pushd.log import Log
from pushd.places import Places
from pushd.session import Session
from pushd.sight import Sight


class Guest(Expiring):
    """One user in one topic, with the sessions that follow it, the newest last."""

    __slots__ = ("_rooms", "room", "sessions", "user")

    def __init__(self, rooms: Rooms, room: Room, user: str) -> None:
        super().__init__()
        self.room = room
        self.user = user
        self.sessions: list[Session] = []
        self._rooms = rooms

    def expire(self) -> None:
        """The grace time after the last session is over."""
        self._rooms.left(self)


class Listing(NamedTuple):
    """Some of those who are in a topic, as JSON. ``cursor``: from which to follow ``channel``."""

    channel: str
    cursor: str
    members: int
    items: list[bytes]
    next: str | None
    known: bool


class Rooms:
    """The topics with presence that somebody is in. Used on the Trio loop only."""

    def __init__(
        self,
        announcer: Announcer,
        durable: Log,
        places: Places,
        namespaces: Namespaces,
        wheel: TimingWheel[Expiring],
        begun: Quota,
        grace_s: float,
        clock: Callable[[], float] = trio.current_time,
        sight: Sight | None = None,
    ) -> None:
        """``begun``: how many topics that nothing was published to a user may be the first in."""
        self._announcer = announcer
        self._guests: dict[tuple[str, str], Guest] = {}  # by topic and user
        self._log = durable
        self._places = places
        self._namespaces = namespaces
        self._wheel = wheel
        self._begun = begun
        self._grace_s = grace_s
        self._clock = clock
        self._sight = sight or Sight()
        self._overdue: dict[Guest, None] = {}  # their users may follow where nobody sees
        self._sight.on_known(self._look_again)

    def __len__(self) -> int:
        """Users in topics: one in two counts twice."""
        return len(self._guests)

    # -- what sessions do ----------------------------------------------------------------------

    def followed(self, session: Session, channel: str) -> None:
        """The session follows the channel from now on."""
        user = session.user
        if user is None or not self._namespaces.of(channel).presence:
            return
        guest = self._guests.get((channel, user))
        if guest is None:
            room = self._room(channel, user)
            if room is None:
                return
            guest = self._guests[channel, user] = Guest(self, room, user)
        else:
            self._wheel.disarm(guest)
        guest.sessions.append(session)
        self._show(guest)

    def unfollowed(self, session: Session, channel: str) -> None:
        """It does not any more."""
        guest = self._guests.get((channel, session.user or ""))
        if guest is None or session not in guest.sessions:
            return
        guest.sessions.remove(session)
        if guest.sessions:
            self._show(guest)
        elif self._grace_s:
            self._wheel.arm(guest, self._clock() + self._grace_s)
        else:
            self.left(guest)

    def refreshed(self, session: Session) -> None:
        """It has another token, which may say other things of its user."""
        for channel in session.following:
            guest = self._guests.get((channel, session.user or ""))
            if guest is not None and guest.sessions:
                self._show(guest)

    def left(self, guest: Guest) -> None:
        """Unless the user has come back meanwhile."""
        room, key = guest.room, (guest.room.topic, guest.user)
        if guest.sessions or self._guests.get(key) is not guest:
            return
        if not self._sight.known:
            self._overdue[guest] = None
            return
        del self._guests[key]
        del room.here[guest.user]
        self._announcer.notice(room, guest.user)

    def _look_again(self) -> None:
        """By the wheel, which hands out a few at a time."""
        overdue, self._overdue = self._overdue, {}
        for guest in overdue:
            if not guest.sessions and self._guests.get((guest.room.topic, guest.user)) is guest:
                self._wheel.arm(guest, self._clock())

    def _room(self, topic: str, user: str) -> Room | None:
        """None: of this user nothing is told there. Names that nobody uses could be any."""
        room = self._announcer.rooms.get(topic)
        if room is None:
            channel = presence_of(topic)
            if channel is None:
                return None
            if topic not in self._log.heads:
                try:
                    self._begun.take(user, [topic])
                except (RateLimited, TooLarge):
                    return None
            room = self._announcer.rooms[topic] = Room(topic, channel)
        return room

    def _show(self, guest: Guest) -> None:
        """What the newest session says of the user."""
        attributes = guest.sessions[-1].identity.attributes
        guest.room.here[guest.user] = encode({"user": guest.user, "attributes": attributes})
        self._announcer.notice(guest.room, guest.user)

    # -- lists ---------------------------------------------------------------------------------

    def page(self, topic: str, after: str, limit: int) -> Listing:
        """Raises NotFound where nobody is told who follows, NotReady just after a start."""
        channel = presence_of(topic)
        if channel is None or not self._namespaces.of(topic).presence:
            raise NotFound(f"Who follows {topic!r} is not kept: its namespace has no presence.")
        if not self._announcer.ready:
            raise NotReady("Who is there is not known yet.", retry_after=1)
        at = self._places.of(channel)
        cursor = f"{at.epoch}.{at.seq}"
        room = self._announcer.rooms.get(topic)
        if room is None:
            return Listing(channel, cursor, 0, [], None, self._sight.known)
        return Listing(channel, cursor, room.count, *room.page(after, limit), self._sight.known)
