"""Whether somebody may have an answer at this moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from pushd.core.names import PRESENCE_PREFIX, SESSION_PREFIX, namespace_of, session_id
from pushd.core.permissions import Identity, may_read
from pushd.errors import Forbidden, TokenExpired
from pushd.groups import Groups
from pushd.revocations import Standing
from pushd.session import Session
from pushd.sight import Sight


@dataclass(frozen=True, slots=True)
class Access:
    """Whether an identity may have an answer now. Asked when the answer is made.

    ``sessions``: those that live, by id; ``Sessions`` keeps it. ``sight``: whether that is all.
    """

    public_namespaces: frozenset[str]
    standing: Standing = field(default_factory=Standing)
    sessions: dict[str, Session] = field(default_factory=dict)
    groups: Groups = field(default_factory=Groups)
    presence_namespaces: frozenset[str] = frozenset()
    sight: Sight = field(default_factory=Sight)

    def check_read(self, identity: Identity, channel: str, now: float) -> None:
        """``now``: Unix seconds. Raises TokenExpired, Unauthorized or Forbidden."""
        self.check_valid(identity, now)
        if may_read(identity, channel, self.public_namespaces, self.groups.has):
            return
        if channel.startswith(SESSION_PREFIX):
            allowed = self._has_session(identity, channel)
        else:
            allowed = self._may_see(identity, channel)
        if not allowed:
            raise Forbidden(f"You may not read channel {channel!r}.")

    def _may_see(self, identity: Identity, channel: str) -> bool:
        """Who may read a topic may know who follows it, where that is told."""
        if not channel.startswith(PRESENCE_PREFIX):
            return False
        topic = channel[len(PRESENCE_PREFIX) :]
        told = namespace_of(topic) in self.presence_namespaces
        return told and may_read(identity, topic, self.public_namespaces, self.groups.has)

    def _has_session(self, identity: Identity, channel: str) -> bool:
        if identity.node is not None:
            return True  # the session is there
        session = self.session_of(channel)
        return session is not None and session.user == identity.user

    def session_of(self, channel: str) -> Session | None:
        """The live session of a user whose channel this is, if there is one."""
        session = self.sessions.get(session_id(channel))
        return None if session is None or session.closing or session.user is None else session

    def may_live(self, channel: str) -> bool:
        """Whether there may be a live session of a user whose channel this is."""
        return self.session_of(channel) is not None or not self.sight.complete

    def check_valid(self, identity: Identity, now: float) -> None:
        """Raises TokenExpired; Unauthorized when it was revoked or its key is gone."""
        if identity.expires is not None and identity.expires <= now:
            raise TokenExpired("The token has expired.")
        standing = self.standing
        if standing.revoked or standing.lost:
            standing.check(identity, now)
