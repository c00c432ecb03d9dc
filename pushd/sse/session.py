"""One event stream: hello, hints, heartbeats, its end.

No task of its own: the connection's watches for the peer's end, and whoever has something to
say writes it. Nothing comes from the client, so the kernel says whether it is still there.
"""

from __future__ import annotations

import random
import socket
import sys
from typing import Any

import trio

from pushd.core.events import (
    LAST_CHUNK,
    event,
    hint_event,
    id_of,
    said,
    said_hint,
    unchunked,
)
from pushd.core.frames import bye_json, close_code, object_json
from pushd.core.permissions import Identity
from pushd.core.positions import Cursor
from pushd.core.topics import EventSubscription, Link
from pushd.errors import NotReady, PushdError
from pushd.front.connection import HttpConnection
from pushd.hub import Hub
from pushd.live import LiveSession
from pushd.outgoing import Outgoing

HEARTBEAT = said("heartbeat")
CONTENT_TYPE = b"text/event-stream"
# Proxies that buffer answers would keep hints back.
EXTRA = b"X-Accel-Buffering: no\r\n"
_LAST_ACK_RECEIVED = 56  # where tcpi_last_ack_recv stands, 32 bits of milliseconds
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def unheard_s(sock: socket.socket) -> float:
    """Seconds since the peer's kernel last acknowledged anything (tcp_info of linux/tcp.h)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ACK_RECEIVED + 4)
    return float(int.from_bytes(info[_LAST_ACK_RECEIVED:], sys.byteorder)) / 1000


class Unchunked:
    """A link for a client that asked for no more than a stream of bytes, such as HTTP/1.0."""

    __slots__ = ("_out",)

    def __init__(self, out: Outgoing) -> None:
        self._out = out

    @property
    def hold(self) -> bool:
        return self._out.hold

    def write(self, data: bytes) -> bool:
        return self._out.write(unchunked(data))


def _head(hub: Hub, chunked: bool) -> bytes:
    return hub.responses.begin(CONTENT_TYPE, EXTRA + CHUNKED if chunked else EXTRA)


class _Nobody:
    """Owns a stream that ends where it begins."""

    def cancel(self) -> None: ...


def refuse_for_now(connection: HttpConnection, error: PushdError, *, chunked: bool) -> None:
    """A stream of one ``bye``: come again when ``error`` says, by when it has passed."""
    retry_ms = int((error.retry_after or 1) * 1000 * (1 + random.random()))
    said_bye = event("bye", bye_json(close_code(error), error.code, retry_ms), retry_ms=retry_ms)
    connection.stream(_head(connection.hub, chunked), _Nobody(), lambda: None)
    connection.out.write(said_bye if chunked else unchunked(said_bye))
    connection.end_stream(LAST_CHUNK if chunked else b"")


class EventSession(LiveSession):
    """From the head of the answer to its last chunk. The connection ``cancel``s it."""

    transport = "sse"
    subscription = EventSubscription
    __slots__ = ("_beat", "_chunked", "_connection", "_known", "_link")

    def __init__(
        self,
        connection: HttpConnection,
        identity: Identity,
        device: str | None,
        known: dict[str, Cursor] | None,
        *,
        chunked: bool,
    ) -> None:
        """``known``: what a client that comes back was told last; None: it is new."""
        super().__init__(connection.hub, identity, device, connection.out, connection.address)
        self._connection = connection
        self._chunked = chunked
        self._link: Link = connection.out if chunked else Unchunked(connection.out)
        self._known = known
        self._beat = trio.current_time() + self.hub.settings.sse_heartbeat

    @property
    def link(self) -> Link:
        return self._link

    # -- the opening ---------------------------------------------------------------------------

    def start(self, channels: list[str]) -> None:
        """The answer begins. What passes (overload, shutdown) is told in it, with the time to
        come again: after an error status an EventSource would never come back."""
        hub = self.hub
        self._connection.stream(_head(hub, self._chunked), self, self.flush)
        try:
            if not hub.ready:
                raise NotReady("The server is stopping.", retry_after=1)
            self.open(channels, self._opened)
        except PushdError as error:
            self.refuse(error)

    def _opened(self, error: PushdError | None) -> None:
        if error is not None:
            self.refuse(error)

    def greet(self, heads: dict[str, dict[str, Any]], denied: list[dict[str, str]]) -> None:
        settings = self.hub.settings
        # Not all at once, when a server comes back.
        retry_ms = int(settings.sse_retry * (500 + 1000 * random.random()))
        written = {name: (head["epoch"], head["head"]) for name, head in heads.items()}
        id_ = id_of((name, *at) for name, at in written.items() if at[1])
        hello = object_json("hello", **self.hello(heads, denied, settings.sse_heartbeat))
        self.link.write(event("hello", hello, id_=id_, retry_ms=retry_ms))
        if self._known is not None:
            for name, at in written.items():
                if at[1] and self._known.get(name) != at:
                    # The id of hello covers them, if it could have one.
                    hint = hint_event(name, *at, 0) if id_ is None else said_hint(name, *at)
                    self.link.write(hint)
        self._known = None

    # -- what is said --------------------------------------------------------------------------

    def tell(self, type_: str, **members: Any) -> None:
        self.send(said(type_, **members))

    # -- deadlines -----------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """At the heartbeat, or the token's end."""
        return min(self._beat, self.token_deadline())

    def expire(self) -> None:
        if self.ended:
            return  # in the same tick
        if self.token_expired():
            self.bye(4001, "token_expired")
            return
        now = trio.current_time()
        if now >= self._beat:
            self._beat = now + self.hub.settings.sse_heartbeat
            self.last_seen = max(self.last_seen, now - unheard_s(self.out.sock))
            if self.greeted and not self.out.hold:
                self.link.write(HEARTBEAT)
        self.rearm()

    # -- the end -------------------------------------------------------------------------------

    def bye(
        self, code: int, reason: str, retry_after_ms: int = 0, *, reconnect: bool | None = None
    ) -> None:
        if self.closing or self.ended:
            return
        self.closing = True
        self.ends(code, reason)
        self.forget()
        # An EventSource comes again in any case: at least then when it should.
        retry_ms = retry_after_ms or None
        bye = bye_json(code, reason, retry_after_ms, reconnect)
        self.link.write(event("bye", bye, retry_ms=retry_ms))
        self._connection.end_stream(LAST_CHUNK if self._chunked else b"")

    def cancel(self) -> None:
        """The connection is over: that is how a stream is left."""
        if not self.out.vanished:
            self.ends(1000, "left")
        self.forget()
