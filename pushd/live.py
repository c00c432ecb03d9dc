"""What sessions of all transports do alike: the opening, hello, bounded writes, the token's end."""

from __future__ import annotations

import math
import random
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog
import trio

from pushd.core.frames import close_code
from pushd.core.names import SESSION_PREFIX
from pushd.core.permissions import Identity
from pushd.core.topics import Link
from pushd.errors import PushdError, TooLarge
from pushd.hub import Hub
from pushd.log import Marks
from pushd.outgoing import Outgoing
from pushd.sessions import NO_MARKS, Session

log = structlog.get_logger("pushd.sessions")


class LiveSession(Session):
    """One connection's session. ``ended`` once it is forgotten. ``more``: the user has more
    inboxes than a session may follow. ``results``: bytes of calls' answers that may be unsent."""

    __slots__ = ("ended", "hub", "more", "out", "results")

    def __init__(
        self, hub: Hub, identity: Identity, device: str | None, out: Outgoing, address: str
    ) -> None:
        super().__init__(identity, device, address)
        self.out = out
        self.hub = hub
        self.ended = False
        self.more = False
        self.results = 0

    # -- the opening ---------------------------------------------------------------------------

    def open(self, channels: list[str], done: Callable[[PushdError | None], None]) -> None:
        """Register, load the marks, ``greet``; then ``done``. Raises Overloaded."""
        hub = self.hub
        hub.check_load()
        hub.sessions.open(self)
        # Hints are small: what the kernel would buffer for a peer that does not read is waste.
        self.out.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, hub.settings.outgoing_buffer // 2
        )
        self.rearm()
        known = hub.sessions.own_channels(self.user)
        version = hub.sessions.groups.version
        good, denied = self._allowed(known, channels)

        def loaded(marks: dict[str, Marks] | PushdError) -> None:
            if isinstance(marks, PushdError):
                done(marks)
                return
            try:
                if not self.closing and not self.ended:
                    if self.user is not None and marks.get("all", NO_MARKS).since is None:
                        hub.log.record_seen(self.user)
                    # An inbox may have come into being meanwhile; it has no marks yet.
                    own = hub.sessions.own_channels(self.user)
                    follow = [*good, *(name for name in own if name not in known)]
                    if hub.sessions.groups.version != version:
                        follow = self._still_allowed(follow, channels, denied)
                    if (channel := SESSION_PREFIX + self.id) in hub.log.heads:
                        follow.append(channel)
                    self.greet(hub.sessions.follow(self, follow, {}, marks), denied)
                    self.greeted = True
            except Exception:
                log.exception("a session could not be greeted")
                done(PushdError("The server failed to open this session."))
            else:
                done(None)

        if self.user is None:
            loaded({})
        else:
            hub.log.load_marks(self.user, self.device, good, loaded)

    def _allowed(
        self, own: list[str], channels: list[str]
    ) -> tuple[list[str], list[dict[str, str]]]:
        """Inboxes come first, but there may be any number: half is left to what is asked for."""
        most = self.hub.settings.max_channels_per_session
        half = most // 2
        asked = list(dict.fromkeys(channels))
        looked_at = asked[: 2 * most]
        good, denied = self.hub.sessions.allowed(self, [*own[:half], *looked_at, *own[half:]])
        left_out = set(own)
        told = [each for each in denied if each["channel"] not in left_out]
        self.more = len(told) < len(denied)
        # An address has room for thousands of names, and each would be a look at permissions.
        rest = [name for name in asked[2 * most :] if name not in left_out]
        told += [{"channel": name, "code": TooLarge.code} for name in rest]
        return good, told

    def _still_allowed(
        self, follow: list[str], channels: list[str], denied: list[dict[str, str]]
    ) -> list[str]:
        """Members came and went while the marks were loaded; ``denied`` is put right."""
        good, refused = self.hub.sessions.allowed(self, follow)
        self.more = self.more or any(each["code"] == TooLarge.code for each in refused)
        asked, followed = set(channels), set(good)
        denied += [each for each in refused if each["channel"] in asked]
        denied[:] = [each for each in denied if each["channel"] not in followed]
        return good

    def greet(self, heads: dict[str, dict[str, Any]], denied: list[dict[str, str]]) -> None:
        """Say hello. From this turn on hints may follow."""
        raise NotImplementedError

    def hello(
        self, heads: dict[str, dict[str, Any]], denied: list[dict[str, str]], heartbeat_s: float
    ) -> dict[str, Any]:
        """What hello says, on every transport."""
        return {
            "session": self.id,
            "user": self.user,
            "device": self.device,
            "node": self.hub.node_id,
            "heads": heads,
            "denied": denied,
            "more": self.more,
            "heartbeat_s": heartbeat_s,
            "pull": {"interval_s": self.hub.settings.pull_interval, "jitter_ms": 0},
        }

    # -- the outgoing side -----------------------------------------------------------------------

    @property
    def link(self) -> Link:
        return self.out

    def send(self, data: bytes) -> None:
        """A peer that asks and asks and takes no answers is cut at the buffer's bound."""
        if self.closing:
            return
        tail = self.out.tail_bytes
        if tail and tail + len(data) > self.hub.settings.outgoing_buffer + self.results:
            self.out.abort()
            return
        self.link.write(data)

    def send_result(self, data: bytes) -> None:
        """Of a call: may be as large as the whole buffer, and several may be done at one time.

        Who lets more pile up than so many calls can bring is cut.
        """
        settings = self.hub.settings
        if self.results > settings.max_calls_per_user * settings.max_body:
            self.out.abort()
            return
        self.results += len(data)
        self.send(data)
        if not self.out.tail_bytes:
            self.results = 0

    def flush(self) -> None:
        """The socket takes more: the newest of what was only marked."""
        self.hub.fanout.flush(self.pending)

    # -- deadlines -------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When the wheel shall look again, on Trio's clock."""
        raise NotImplementedError

    def rearm(self) -> None:
        """Something changed: the next deadline may be sooner or later."""
        self.hub.wheel.arm(self, self.next_deadline())

    def token_deadline(self) -> float:
        """When the token runs out, on Trio's clock."""
        if self.identity.expires is None:
            return math.inf
        return trio.current_time() + max(self.identity.expires - time.time(), 0.0)

    def token_expired(self) -> bool:
        return self.identity.expires is not None and self.identity.expires <= time.time()

    # -- the end ---------------------------------------------------------------------------------

    def refuse(self, error: PushdError) -> None:
        """Say that this session cannot be, and when to come again."""
        self.hub.counters.errors[error.code] += 1
        jitter = 1 + random.random()
        self.bye(close_code(error), error.code, int((error.retry_after or 1) * 1000 * jitter))

    def forget(self) -> None:
        """The connection is over."""
        self.ended = True
        if self.out.vanished:
            self.ends(4008, "heartbeat missed")
        self.hub.sessions.close(self)
