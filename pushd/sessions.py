"""Live sessions of this node: who is connected, what each follows, when each was last heard.

A session is reaped by the timing wheel: any bytes from the peer move its deadline by one
assignment, and only sessions that may have expired are looked at.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

import structlog

from pushd.access import Access
from pushd.core.names import check_channel
from pushd.core.permissions import Identity
from pushd.core.pulling import UNWRITTEN, is_within
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import PushdError, TooLarge
from pushd.fanout import Fanout
from pushd.happenings import Happenings, SessionClosed, SessionOpened
from pushd.heads import Heads
from pushd.inboxes import Inboxes
from pushd.limits import Shares
from pushd.log import Marks
from pushd.places import Places
from pushd.poller import PollSession
from pushd.rooms import Rooms
from pushd.session import Session

__all__ = ["Session", "Sessions"]

log = structlog.get_logger("pushd.sessions")

NO_MARKS = Marks(None, None)


class Sessions:
    """The registry, and what all transports' sessions do alike. Used on the Trio loop only."""

    def __init__(
        self,
        places: Places,
        fanout: Fanout,
        access: Access,
        wheel: TimingWheel[Expiring],
        inboxes: Inboxes,
        shares: Shares,
        max_channels: int,
        happenings: Happenings | None = None,
    ) -> None:
        self.inboxes = inboxes
        self.groups = access.groups
        self.heads = Heads(places, access.groups)
        self.by_id = access.sessions
        self.by_user: dict[str, dict[str, Session]] = {}
        self.by_transport: Counter[str] = Counter()
        self._places = places
        self._fanout = fanout
        self._access = access
        self._wheel = wheel
        self._shares = shares
        self._max_channels = max_channels
        self._happenings = happenings or Happenings()
        self.rooms: Rooms | None = None  # where who follows a channel is told, if anywhere
        # Of a session that lives: what it follows is different, or what its token says.
        self.on_changed: Callable[[Session], None] | None = None
        # What other nodes are to do likewise: end all of a user, or of a group's members.
        self.on_end: Callable[[str, str, int, str, bool | None], None] = _nobody

    def open(self, session: Session) -> None:
        """Register. Raises Overloaded beyond the number of sessions that one user may have, and
        Unauthorized for a revoked one: whoever ends those has not seen it."""
        self._access.standing.check(session.identity, time.time())
        if session.user is not None and session.counted:
            self._shares.enter(session.user)
        self.enter(session)

    def enter(self, session: Session) -> None:
        """Register, unasked: it lives, here or on another node."""
        if session.user is not None:
            self.by_user.setdefault(session.user, {})[session.id] = session
        self.by_id[session.id] = session
        if session.node is None:
            self.by_transport[session.transport] += 1
        self._happenings.tell(SessionOpened(session))

    def close(self, session: Session) -> None:
        """Forget this very session; a newer one of the same user stays. Safe to call twice."""
        self._wheel.disarm(session)
        if self.rooms is not None:
            for channel in session.following:
                self.rooms.unfollowed(session, channel)
        for subscription in session.subscriptions.values():
            self._fanout.unsubscribe(subscription)
        session.subscriptions.clear()
        session.pending.clear()
        if self.by_id.pop(session.id, None) is None:
            return
        if session.node is None:
            self.by_transport[session.transport] -= 1
        if session.user is not None:
            if session.counted:
                self._shares.leave(session.user)
            of_user = self.by_user[session.user]
            del of_user[session.id]
            if not of_user:
                del self.by_user[session.user]
        self._happenings.tell(SessionClosed(session))

    def __len__(self) -> int:
        """How many live on this node."""
        return sum(self.by_transport.values())

    def transports(self) -> dict[str, int]:
        """How many sessions of this node there are of each."""
        return {name: count for name, count in self.by_transport.items() if count}

    def of_user(self, user: str) -> list[Session]:
        """A copy: they may end while it is walked."""
        return list(self.by_user.get(user, {}).values())

    def end_user(self, user: str, code: int, reason: str, reconnect: bool | None = None) -> int:
        """Say goodbye to all of the user's, on every node: one may have opened elsewhere just
        now. Returns how many were known."""
        ended = self.end_known(user, code, reason, reconnect)
        self.on_end(user, "", code, reason, reconnect)
        return ended

    def end_known(self, user: str, code: int, reason: str, reconnect: bool | None = None) -> int:
        """As ``end_user``, but other nodes are told by whoever calls it (``on_end``)."""
        sessions = self.of_user(user)
        for session in sessions:
            if session.node is None:
                session.bye(code, reason, reconnect=reconnect)
            else:
                session.closing = True
                session.ends(code, reason)
        return len(sessions)

    # -- what a session follows ----------------------------------------------------------------

    def own_channels(self, user: str | None) -> list[str]:
        """What a user follows without asking: ``all``, the inbox, its named parts, groups."""
        if user is None:
            return []
        return ["all", *self.inboxes.of(user), *self.groups.channels_of(user)]

    def allowed(
        self, session: Session, names: Iterable[str]
    ) -> tuple[list[str], list[dict[str, str]]]:
        """Split names into those that the session may follow and ``denied`` with the code."""
        good: list[str] = []
        denied: list[dict[str, str]] = []
        now = time.time()
        room = self._max_channels - len(session.subscriptions)
        for name in dict.fromkeys(names):
            try:
                self._access.check_read(session.identity, check_channel(name), now)
                if name not in session.subscriptions:
                    if room <= 0:
                        raise TooLarge(f"A session may follow {self._max_channels} channels.")
                    room -= 1
            except PushdError as error:
                denied.append({"channel": name, "code": error.code})
            else:
                good.append(name)
        return good, denied

    def follow(
        self,
        session: Session,
        channels: list[str],
        cursors: dict[str, str],
        marks: dict[str, Marks],
    ) -> dict[str, dict[str, Any]]:
        """Register for hints, then read the heads: what ``hello`` and ``subscribed`` tell."""
        heads = {}
        for channel in channels:
            subscription = session.subscriptions.get(channel)
            if subscription is None:
                subscription = self._fanout.subscribe(
                    channel, session.link, session.pending, session.subscription
                )
                session.subscriptions[channel] = subscription
                if self.rooms is not None:
                    self.rooms.followed(session, channel)
            at = self._places.of(channel)
            if at is not UNWRITTEN:
                subscription.sent = (at.epoch, at.seq)
            known = marks.get(channel, NO_MARKS)
            entry = heads[channel] = self.heads.entry(session.user, channel, at, known)
            if channel in cursors:
                entry.update(self.heads.compared(channel, cursors[channel], at))
            elif known.delivered is not None and is_within(known.delivered, at):
                entry.update(self.heads.lacking(channel, known.delivered.seq))
        if self.on_changed is not None:
            self.on_changed(session)
        return heads

    def adopt(self, user: str, channel: str) -> None:
        """The user has a new inbox, or has joined a group: every live session that does not
        follow it yet does from now on, and is told."""
        marks = {channel: Marks(None, None, self.groups.since(channel, user))}
        for session in self.of_user(user):
            if len(session.subscriptions) < self._max_channels:
                try:
                    self.follow_unasked(session, channel, marks)
                except Exception:  # one connection's failure is its own
                    log.exception("a session could not be told", session=session.id)

    def follow_unasked(
        self, session: Session, channel: str, marks: dict[str, Marks] | None = None
    ) -> None:
        """The session follows the channel from now on, and is told; before its hello there is
        no need to."""
        if session.greeted and channel not in session.subscriptions:
            heads = self.follow(session, [channel], {}, marks or {})
            session.tell("subscribed", heads=heads, denied=[])
        else:
            session.has_news()

    def abandon(self, user: str, channels: Collection[str]) -> None:
        """The user may not read them any more: live sessions get no more hints, and are told."""
        for session in self.of_user(user):
            try:
                if gone := self.unfollow(session, channels):
                    session.tell("unsubscribed", channels=gone)
            except Exception:  # one connection's failure is its own
                log.exception("a session could not be told", session=session.id)

    def polls_for(self, session: PollSession, channels: tuple[str, ...]) -> None:
        """It follows these from now on, and no others."""
        before, session.following = session.following, channels
        if self.rooms is not None:
            for channel in set(channels).difference(before):
                self.rooms.followed(session, channel)
            for channel in set(before).difference(channels):
                self.rooms.unfollowed(session, channel)
        if self.on_changed is not None:
            self.on_changed(session)

    def renew(self, session: Session, identity: Identity) -> None:
        """It has another token of the same user."""
        known, session.identity = session.identity, identity
        if self.rooms is not None and identity.attributes != known.attributes:
            self.rooms.refreshed(session)
        if self.on_changed is not None and identity.attributes != known.attributes:
            self.on_changed(session)

    def unfollow(self, session: Session, channels: Iterable[str]) -> list[str]:
        """Stop hints; returns the channels that were followed."""
        gone = []
        for channel in dict.fromkeys(channels):
            subscription = session.subscriptions.pop(channel, None)
            if subscription is not None:
                self._fanout.unsubscribe(subscription)
                if self.rooms is not None:
                    self.rooms.unfollowed(session, channel)
                gone.append(channel)
        if gone and self.on_changed is not None:
            self.on_changed(session)
        return gone


def _nobody(*_: object) -> None:
    pass
