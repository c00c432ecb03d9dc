"""One WebSocket session: hello, hints, the frames of its client, its end."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from pushd.core.frames import PING, bye_frame, decode_client_frame, error_frame, frame
from pushd.core.permissions import Identity
from pushd.errors import BadRequest, NotReady, PushdError
from pushd.handover import HandoverStream
from pushd.hub import Hub
from pushd.log import Marks
from pushd.sessions import Session
from pushd.ws.frames import FrameHandlers

if TYPE_CHECKING:
    from pushd.front.connection import HttpConnection

MAX_FRAGMENTS = 1024
CLOSE_S = 5.0  # for the peer to answer a close, and the least that a bye takes to arrive

log = structlog.get_logger("pushd.ws")


class WebSocketSession(Session):
    """Frames go out through ``out`` as ready bytes; the library reads, and does control frames."""

    transport = "websocket"
    __slots__ = (
        "_closing",
        "_handlers",
        "_nursery",
        "_stream",
        "_websocket",
        "ended",
        "hub",
        "pinged",
    )

    def __init__(
        self,
        hub: Hub,
        identity: Identity,
        device: str | None,
        connection: HttpConnection,
        stream: HandoverStream,
        websocket: WebSocketConnection,
        nursery: trio.Nursery,
    ) -> None:
        super().__init__(identity, device, connection.out, connection.address)
        self.hub = hub
        self.pinged = False
        self._stream = stream
        self._websocket = websocket
        self._nursery = nursery
        self._closing = False
        self.ended = False
        self._handlers = FrameHandlers(self)

    # -- life --------------------------------------------------------------------------------

    async def greet(self, channels: list[str]) -> None:
        """Hello with all heads, before every hint. Raises Overloaded."""
        hub = self.hub
        hub.sessions.open(self)
        # Hints are small: what the kernel would buffer for a peer that does not read is waste.
        self.out.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, hub.settings.outgoing_buffer // 2
        )
        self._stream.on_bytes = self._heard
        hub.wheel.arm(self, self._next_deadline())
        wanted = [*hub.sessions.own_channels(self.user), *channels]
        good, denied = hub.sessions.allowed(self, wanted)
        marks = await self._load_marks(good)
        if self._closing:
            return  # said goodbye meanwhile
        # An inbox may have come into being meanwhile; what is found here has no marks yet.
        good += [name for name in hub.sessions.own_channels(self.user) if name not in wanted]
        heads = hub.sessions.follow(self, good, {}, marks)
        settings = hub.settings
        hello = frame(
            "hello",
            session=self.id,
            user=self.user,
            device=self.device,
            node=hub.node_id,
            heads=heads,
            denied=denied,
            more=False,
            heartbeat_s=settings.heartbeat_interval,
            pull={"interval_s": settings.pull_interval, "jitter_ms": 0},
        )
        self.out.write(hello)
        self.out.on_drained = self._drained
        self.greeted = True

    async def _load_marks(self, channels: list[str]) -> dict[str, Marks]:
        if self.user is None:
            return {}
        loaded = trio.Event()
        result: list[dict[str, Marks] | PushdError] = []

        def done(marks: dict[str, Marks] | PushdError) -> None:
            result.append(marks)
            loaded.set()

        # The reader's jobs always end, with marks or an error.
        self.hub.log.load_marks(self.user, self.device, channels, done)
        await loaded.wait()
        marks = result[0]
        if isinstance(marks, PushdError):
            raise marks
        return marks

    async def receive(self) -> None:
        """Handle frames until the connection closes."""
        while True:
            text = await self._websocket.get_message()
            self.hub.counters.frames_in += 1
            if isinstance(text, str):
                self._handle(text)
            else:
                self.send(error_frame(BadRequest("Frames are text, one JSON object each.")))

    def _handle(self, text: str) -> None:
        """A frame that fails gets an error, never a close."""
        try:
            self._handlers.handle(decode_client_frame(text), text)
        except PushdError as error:
            self.send(error_frame(error))
        except Exception:
            log.exception("frame failed", session=self.id)
            self.send(error_frame(PushdError("The server failed to handle this frame.")))

    # -- the outgoing side -------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """A peer that asks and asks and takes no answers is cut at the buffer's bound."""
        if self._closing:
            return
        tail = self.out.tail_bytes
        if tail and tail + len(data) > self.hub.settings.outgoing_buffer:
            self.out.abort()
            return
        self.out.write(data)

    def _drained(self) -> None:
        self._stream.drained()
        self.hub.fanout.flush(self.pending)

    # -- deadlines ---------------------------------------------------------------------------

    def _heard(self) -> None:
        self.last_seen = trio.current_time()
        self.pinged = False
        # The library bounds a message's bytes, not its fragments, and empty ones have none.
        if len(self._websocket._message_parts) > MAX_FRAGMENTS:
            self.bye(1009, "too many fragments")

    def _next_deadline(self) -> float:
        """When to look again: at the ping, the reaping, or the token's end, on Trio's clock."""
        settings = self.hub.settings
        silence = settings.heartbeat_timeout
        if not self.pinged:
            silence = (settings.heartbeat_interval + settings.heartbeat_timeout) / 2
        deadline = self.last_seen + silence
        if self.identity.expires is not None:
            left = self.identity.expires - time.time()
            deadline = min(deadline, trio.current_time() + max(left, 0.0))
        return deadline

    def expire(self) -> None:
        if self.ended:
            return  # in the same tick
        now = trio.current_time()
        settings = self.hub.settings
        if self.identity.expires is not None and self.identity.expires <= time.time():
            self.bye(4001, "token_expired")
            return
        if now - self.last_seen >= settings.heartbeat_timeout:
            self.hub.counters.heartbeats_missed += 1
            self.bye(4008, "heartbeat missed")
            return
        middle = (settings.heartbeat_interval + settings.heartbeat_timeout) / 2
        if now - self.last_seen >= middle and not self.pinged:
            # A client that only answers pings (any WebSocket library does) stays alive, too.
            self.pinged = True
            if not self.out.hold:
                self.out.write(PING)
        self.hub.wheel.arm(self, self._next_deadline())

    def rearm(self) -> None:
        """The identity changed: its end may be sooner or later."""
        self.hub.wheel.arm(self, self._next_deadline())

    # -- the end -----------------------------------------------------------------------------

    def bye(self, code: int, reason: str, retry_after_ms: int = 0) -> None:
        if self._closing or self.ended:
            return
        self.out.write(bye_frame(code, reason, retry_after_ms))
        self.out.cork()  # no hint after the bye
        self._closing = True
        self._nursery.start_soon(self._close, code, reason)

    async def _close(self, code: int, reason: str) -> None:
        with trio.move_on_after(CLOSE_S):
            await self._websocket.aclose(code, reason)
        self._nursery.cancel_scope.cancel()


async def serve_session(session: WebSocketSession, channels: list[str]) -> None:
    """From hello to the end. Whatever ends it, this very session is forgotten."""
    hub = session.hub
    try:
        try:
            if not hub.ready:
                raise NotReady("The server is stopping.", retry_after=1)
            await session.greet(channels)
        except PushdError as error:
            code = {503: 1013}.get(error.status, 1011)
            jitter = 1 + random.random()
            session.bye(code, error.code, int((error.retry_after or 1) * 1000 * jitter))
            await trio.sleep(CLOSE_S)
            return
        await session.receive()
    except ConnectionClosed:
        pass
    finally:
        session.ended = True
        hub.sessions.close(session)
