"""Clients that only long-poll, as sessions: they are listed and kicked, and keep their user online.

A device counts as one while it has polls that wait, and for a grace time after each. While it has
a connection that lives (WebSocket, event stream), that is its session, and it is not listed twice.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import trio

from pushd.core.permissions import Identity
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import Unauthorized
from pushd.happenings import Happenings, SessionClosed, SessionOpened
from pushd.poller import Key, Poller, PollSession
from pushd.session import Session
from pushd.sessions import Sessions

MAX_POLLERS: Final = 100_000  # the one that was idle longest makes room
MAX_OF_USER: Final = 32  # the same among a user's own, so that nobody else has to make room


class Pollers:
    """All devices that poll. ``grace_s``: how long one counts as such between two polls."""

    def __init__(
        self,
        sessions: Sessions,
        wheel: TimingWheel[Expiring],
        happenings: Happenings,
        grace_s: float,
    ) -> None:
        self._sessions = sessions
        self._wheel = wheel
        self.grace_s = grace_s
        self._live: dict[Key, Poller] = {}  # the one that polled last is at the end
        happenings.listen(SessionOpened, self._connected)
        happenings.listen(SessionClosed, self._disconnected)

    def __len__(self) -> int:
        return len(self._live)

    def polls(self, user: str, device: str | None, identity: Identity, address: str) -> Poller:
        """A poll that waits has come. Raises Unauthorized for one that was revoked."""
        key = (user, device)
        poller = self._live.pop(key, None)
        now = trio.current_time()
        if poller is None:
            poller = Poller(self, user, device, identity, address)
            self._wheel.arm(poller, now + self.grace_s)
        else:
            poller.identity, poller.address = identity, address
            poller.deadline = now + self.grace_s  # later: it stays where it is in the wheel
        poller.last_seen = now
        self._live[key] = poller
        if (session := poller.session) is not None:
            session.address, session.last_seen = address, now
            if session.identity is not identity:
                self._sessions.renew(session, identity)
        elif not (poller.parted or self._is_connected(user, device)):
            self._list(poller)
            self._make_room(user)
        return poller

    def lapse(self, poller: Poller) -> None:
        """The grace time is over, unless it has polled since."""
        now = trio.current_time()
        if poller.is_held and not poller.parted:
            poller.deadline = now + self.grace_s
        if poller.deadline > now:
            self._wheel.arm(poller, poller.deadline)
        else:
            self.unlist(poller, 1006, "lost")
            self.forget(poller)

    def forget(self, poller: Poller) -> None:
        """Its next poll is that of a new one. Safe to call twice."""
        self._wheel.disarm(poller)
        if self._live.get(poller.key) is poller:
            del self._live[poller.key]

    # -- what is listed ------------------------------------------------------------------------

    def _list(self, poller: Poller) -> None:
        """Raises Unauthorized."""
        session = PollSession(poller)
        self._sessions.open(session)
        poller.session = session
        self.follows(session, poller.following)

    def follows(self, session: PollSession, channels: tuple[str, ...]) -> None:
        """What its newest poll waits for."""
        self._sessions.polls_for(session, channels)

    def unlist(self, poller: Poller, code: int, reason: str) -> None:
        """Its session ends, if it has one."""
        session, poller.session = poller.session, None
        if session is not None:
            session.closing = True
            session.ends(code, reason)
            self._sessions.close(session)

    def _is_connected(self, user: str, device: str | None) -> bool:
        return device is not None and any(
            each.device == device and each.transport != PollSession.transport
            for each in self._sessions.of_user(user)
        )

    def _connected(self, happening: SessionOpened) -> None:
        """The device has a connection: that is its session now."""
        poller = self._of_connection(happening.session)
        if poller is not None:
            self.unlist(poller, 1000, "replaced")

    def _disconnected(self, happening: SessionClosed) -> None:
        """What polled beside a connection, which may have been half open, lives on."""
        poller = self._of_connection(happening.session)
        if poller is None or poller.session is not None or poller.parted:
            return
        if poller.is_held and not self._is_connected(poller.user, poller.device):
            with suppress(Unauthorized):  # its polls are ended, too
                self._list(poller)

    def _of_connection(self, session: Session) -> Poller | None:
        if session.user is None or session.device is None:
            return None
        if session.transport == PollSession.transport:
            return None
        return self._live.get((session.user, session.device))

    def _make_room(self, user: str) -> None:
        sessions = self._sessions.of_user(user)
        own = [each.poller for each in sessions if isinstance(each, PollSession)]
        if len(own) > MAX_OF_USER:
            self._drop(min(own, key=lambda each: (each.is_held, each.last_seen)))
        if len(self._live) > MAX_POLLERS:
            self._drop(next(iter(self._live.values())))

    def _drop(self, poller: Poller) -> None:
        self.unlist(poller, 1013, "overloaded")
        self.forget(poller)
