"""One WebSocket session: hello, hints, the frames of its client, its end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from pushd.auth import NO_HEADERS
from pushd.core.frames import PING, bye_frame, close_frame, decode_client_frame, error_frame, frame
from pushd.core.permissions import Identity
from pushd.errors import BadRequest, NotReady, PushdError
from pushd.front.heavy import HEAVY, whose
from pushd.handover import HandoverStream
from pushd.hub import Hub
from pushd.live import LiveSession
from pushd.ws.frames import FrameHandlers

if TYPE_CHECKING:
    from pushd.front.connection import HttpConnection

CLOSE_S = 5.0  # for the peer to answer a close, and the least that a bye takes to arrive
MAX_BEYOND = 100  # messages and calls in a row that are refused for their rate; then 4029
MAX_UNDER_WAY = 64  # frames of one session that wait for the log: its share, not all there is

log = structlog.get_logger("pushd.ws")


class WebSocketSession(LiveSession):
    """Frames go out through ``out`` as ready bytes; the library reads, and does control frames."""

    transport = "websocket"
    __slots__ = (
        "_beyond",
        "_handlers",
        "_nursery",
        "_room",
        "_stream",
        "_under_way",
        "_websocket",
        "pinged",
        "shown",
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
        super().__init__(hub, identity, device, connection.out, connection.address)
        self.pinged: float | None = None  # since when it has not answered
        self.shown = NO_HEADERS  # what the application saw beside the token
        self._stream = stream
        self._websocket = websocket
        self._nursery = nursery
        self._under_way = 0  # frames that wait for the log
        self._room: trio.Event | None = None
        self._beyond = 0  # refused in a row, for their rate
        self._handlers = FrameHandlers(self)

    # -- life --------------------------------------------------------------------------------

    async def opened(self, channels: list[str]) -> None:
        """Until hello is out. Raises Overloaded."""
        over = trio.Event()
        failed: list[PushdError] = []

        def done(error: PushdError | None) -> None:
            if error is not None:
                failed.append(error)
            over.set()

        self._stream.on_bytes = self._heard
        self.open(channels, done)
        await over.wait()  # the reader's jobs always end
        if failed:
            raise failed[0]

    def greet(self, heads: dict[str, dict[str, Any]], denied: list[dict[str, str]]) -> None:
        interval = self.hub.settings.heartbeat_interval
        self.out.write(frame("hello", **self.hello(heads, denied, interval)))
        self.out.on_drained = self._drained

    async def receive(self) -> None:
        """Handle frames until the connection closes."""
        while True:
            if self._under_way >= MAX_UNDER_WAY:
                self._room = trio.Event()
                await self._room.wait()  # the log always answers
            text = await self._websocket.get_message()
            self.hub.counters.frames_in += 1
            if isinstance(text, str):
                if len(text) > HEAVY:
                    async with self.hub.turns.of(whose(self.identity)):
                        self._handle(text)
                else:
                    self._handle(text)
            else:
                self.deny(BadRequest("Frames are text, one JSON object each."))

    def began(self) -> None:
        """A frame waits for the log: of these one session has so many, then it is read on later."""
        self._under_way += 1

    def settled(self) -> None:
        """A frame that waited for the log has its answer."""
        self._under_way -= 1
        if self._room is not None:
            self._room.set()
            self._room = None

    def _handle(self, text: str) -> None:
        """A frame that fails gets an error, never a close."""
        if self.closing:
            return  # its peer takes nothing, so the close is not out yet
        most = self.hub.settings.max_body
        # The library counts characters, of up to four bytes each.
        if len(text) * 4 > most and len(text.encode()) > most:
            self.bye(1009, "too large")
            return
        try:
            self._handlers.handle(decode_client_frame(text), text)
        except PushdError as error:
            self.deny(error)
        except Exception:
            log.exception("frame failed", session=self.id)
            self.deny(PushdError("The server failed to handle this frame."))

    def count(self, messages: int = 1) -> None:
        """Messages or calls of this client. Raises RateLimited; who goes on and on is closed."""
        refusal = self.hub.rates.refusal(self.identity, self.address, messages)
        if refusal is None:
            self._beyond = 0
            return
        self._beyond += 1
        if self._beyond > MAX_BEYOND:
            self.hub.counters.rates_exceeded += 1
            self.bye(4029, "rate_limited", (refusal.retry_after or 1) * 1000)
        raise refusal

    def deny(self, error: PushdError, id_: str | None = None) -> None:
        """Answer with an error frame; ``id_`` of the frame that is refused."""
        self.hub.counters.errors[error.code] += 1
        self.send(error_frame(error, id_))

    # -- the outgoing side -------------------------------------------------------------------

    def _drained(self) -> None:
        self.results = 0
        self._stream.drained()
        self.flush()

    # -- deadlines ---------------------------------------------------------------------------

    def _heard(self) -> None:
        self.last_seen = trio.current_time()
        self.pinged = None

    def next_deadline(self) -> float:
        """At the ping, the reaping, or the token's end."""
        silent = self._ping_at() if self.pinged is None else self._reap_at(self.pinged)
        return min(silent, self.token_deadline())

    def _ping_at(self) -> float:
        settings = self.hub.settings
        return self.last_seen + (settings.heartbeat_interval + settings.heartbeat_timeout) / 2

    def _reap_at(self, pinged: float) -> float:
        """Not before it had time to answer, however late the ping went out."""
        settings = self.hub.settings
        least = (settings.heartbeat_timeout - settings.heartbeat_interval) / 4
        return max(self.last_seen + settings.heartbeat_timeout, pinged + least)

    def expire(self) -> None:
        if self.ended:
            return  # in the same tick
        now = trio.current_time()
        if self.token_expired():
            self.bye(4001, "token_expired")
            return
        if self.pinged is not None and now >= self._reap_at(self.pinged):
            self.hub.counters.heartbeats_missed += 1
            self.bye(4008, "heartbeat missed")
            return
        if self.pinged is None and now >= self._ping_at():
            # A client that only answers pings (any WebSocket library does) stays alive, too.
            self.pinged = now
            if not self.out.hold:
                self.out.write(PING)
        self.rearm()

    def reap(self) -> None:
        self.pinged = self.last_seen  # also when the wheel did not come round to it
        self.expire()

    # -- the end -----------------------------------------------------------------------------

    def bye(
        self, code: int, reason: str, retry_after_ms: int = 0, *, reconnect: bool | None = None
    ) -> None:
        if self.closing or self.ended:
            return
        said = bye_frame(code, reason, retry_after_ms, reconnect)
        self.out.write(said + close_frame(code, reason))
        self.out.cork()  # no hint after the bye
        self.closing = True
        self.ends(code, reason)
        # Very many may be told at once, and the library's way costs twice this. What the peer still
        # says, its close included, is read away by the connection's owner.
        if self.out.tail_bytes:
            self._nursery.start_soon(self._close)
        else:
            self._nursery.cancel_scope.cancel()

    async def _close(self) -> None:
        """The peer is slow: its goodbye is to arrive, but not for ever."""
        with trio.move_on_after(CLOSE_S), suppress(trio.BrokenResourceError):
            await self._stream.wait_send_all_might_not_block()
        self._nursery.cancel_scope.cancel()


async def serve_session(session: WebSocketSession, channels: list[str]) -> None:
    """From hello to the end. Whatever ends it, this very session is forgotten."""
    hub = session.hub
    try:
        try:
            if not hub.ready:
                raise NotReady("The server is stopping.", retry_after=1)
            await session.opened(channels)
        except PushdError as error:
            session.refuse(error)
            await trio.sleep(CLOSE_S)
            return
        await session.receive()
    except ConnectionClosed as closed:
        if closed.reason is not None and closed.reason.code != 1006:
            session.ends(closed.reason.code, "left")
    finally:
        session.forget()
