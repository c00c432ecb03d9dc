"""Sessions of other nodes, in the registry of the node that owns the log.

So presence, rooms, lists, counts and kicks are of all nodes. What a session is to be told, its own
node learns from the feed, and tells it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import structlog
import trio

from pushd.cluster.bus.texts import SessionRecord
from pushd.cluster.wire import Bye
from pushd.core.permissions import NO_ATTRIBUTES, Identity
from pushd.hub import Hub
from pushd.session import Session

log = structlog.get_logger("pushd.cluster")

Say = Callable[[Bye], None]


class RemoteSession(Session):
    """One of another node. Nothing is sent to it from here but its goodbye, which goes with the
    feed to its node."""

    counted = False  # where it lives
    __slots__ = ("_say", "following", "node", "transport")

    def __init__(self, record: SessionRecord, say: Say) -> None:
        identity = Identity(
            record.user, device=record.device, attributes=_attributes(record.attributes)
        )
        super().__init__(identity, record.device, record.address)
        self.id = record.session
        self.node: str = record.node
        self.transport = record.transport
        self.since = record.since
        self.following: tuple[str, ...] = ()
        self._say = say

    def bye(
        self, code: int, reason: str, retry_after_ms: int = 0, *, reconnect: bool | None = None
    ) -> None:
        if not self.closing:
            self.closing = True
            self.ends(code, reason)
            self._say(Bye(self.id, "", code, reason, reconnect, retry_after_ms))

    def expire(self) -> None:
        """Its own node sees to its deadlines."""

    def send(self, frame: bytes) -> None:
        """Its own node tells it."""

    def tell(self, type_: str, **members: Any) -> None:
        """As ``send``."""


class RemoteSessions:
    """Applies what is known of other nodes' sessions to the hub. Used on the Trio loop only.

    ``followed``: how many of them follow each channel.
    """

    def __init__(self, hub: Hub, say: Say) -> None:
        """``say``: puts a goodbye into the feed."""
        self._hub = hub
        self._say = say
        self.followed: Counter[str] = Counter()
        hub.audience.elsewhere = self.followed
        hub.sessions.on_end = self._end

    def __len__(self) -> int:
        """How many there are."""
        return len(self._hub.sessions.by_id) - len(self._hub.sessions)

    def set_known(self, known: bool) -> None:
        """Whether all sessions of other nodes are known; what was put off is done once they are."""
        self._hub.access.sight.settle(known)

    def opened(self, record: SessionRecord) -> None:
        """It lives, and was not known; or it is as the record says from now on."""
        found = self._hub.sessions.by_id.get(record.session)
        if isinstance(found, RemoteSession):
            if (found.node, found.user) == (record.node, record.user):
                self._update(found, record)
                return
            self._forget(found)
        elif found is not None or record.node == self._hub.node_id:
            # What this node said before it owned the log, or somebody who may write to Redis.
            log.warning("a record of a session is ignored", session=record.session)
            return
        session = RemoteSession(record, self._say)
        session.last_seen = _moment(record.last_seen)
        self._hub.sessions.enter(session)
        self._follows(session, record.channels)

    changed = opened

    def closed(self, session_id: str, code: int = 1006, reason: str = "lost") -> None:
        """It does not live any more."""
        found = self._hub.sessions.by_id.get(session_id)
        if isinstance(found, RemoteSession):
            found.closing = True
            found.ends(code, reason)
            self._forget(found)

    def _update(self, session: RemoteSession, record: SessionRecord) -> None:
        session.last_seen = max(session.last_seen, _moment(record.last_seen))
        session.address = record.address
        attributes = _attributes(record.attributes)
        if attributes != session.identity.attributes:
            identity = Identity(session.user, device=session.device, attributes=attributes)
            self._hub.sessions.renew(session, identity)
        self._follows(session, record.channels)

    def _follows(self, session: RemoteSession, channels: Iterable[str]) -> None:
        """From now on these, and no others."""
        now, before = dict.fromkeys(channels), dict.fromkeys(session.following)
        if now.keys() == before.keys():
            return
        session.following = tuple(now)
        rooms = self._hub.sessions.rooms
        for channel in now:
            if channel not in before:
                self.followed[channel] += 1
                if rooms is not None:
                    rooms.followed(session, channel)
        for channel in before:
            if channel not in now:
                self._unfollowed(channel)
                if rooms is not None:
                    rooms.unfollowed(session, channel)

    def _unfollowed(self, channel: str) -> None:
        self.followed[channel] -= 1
        if not self.followed[channel]:
            del self.followed[channel]

    def _forget(self, session: RemoteSession) -> None:
        for channel in session.following:
            self._unfollowed(channel)
        self._hub.sessions.close(session)  # which leaves the rooms

    def _end(self, user: str, group: str, code: int, reason: str, reconnect: bool | None) -> None:
        self._say(Bye("", user, code, reason, reconnect, group=group))


def _moment(seconds: float) -> float:
    """A Unix time on the clock that never jumps. Another host's clock may be ahead."""
    return trio.current_time() - max(time.time() - seconds, 0.0)


def _attributes(raw: msgspec.Raw) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return NO_ATTRIBUTES
    return found if isinstance(found, dict) and found else NO_ATTRIBUTES
