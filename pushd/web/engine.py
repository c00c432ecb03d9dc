"""Serving one handed-over request with Hypercorn.

The request was read and checked whole by the front; Hypercorn gets it written anew, with a plain
length and ``Connection: close``. So the two parsers never have to agree on a second request.
"""

from __future__ import annotations

from typing import cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    ConnectionState,
    LifespanState,
    Scope,
)
from quart_trio import QuartTrio

from pushd.front.connection import HttpConnection
from pushd.front.request import Request
from pushd.handover import HandoverStream
from pushd.hub import Hub
from pushd.web.app import make_app

REQUEST_S = 120.0  # one web request, from hand-over to close

log = structlog.get_logger("pushd.web")

# Per connection, not per message (RFC 9110, 7.6.1), or replaced because the body is whole now.
_DROPPED = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
        *(b"transfer-encoding", b"content-length", b"expect"),
    }
)


class _WholeAnswers:
    """The app as an ASGI app whose answers are ended and closed whatever cancels it.

    quart-trio cancels a request once Hypercorn says that the answer is out; that came in the
    middle of Hypercorn's closing, and left the connection open until the client went.
    """

    def __init__(self, app: QuartTrio) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        async def send_whole(message: ASGISendEvent) -> None:
            if message["type"] != "http.response.body" or message.get("more_body"):
                await send(message)
                return
            # The stream has a deadline of its own for each write; this one is for all the rest.
            with trio.move_on_after(REQUEST_S, shield=True):
                await send(message)

        await self._app(scope, receive, send_whole)


class _Stream(HandoverStream):
    """As Hypercorn expects one: with the ``socket`` it asks for addresses."""

    @property
    def socket(self) -> object:
        return self._sock


class WebEngine:
    """The Quart app and what Hypercorn needs to serve it. ``run`` is the service."""

    def __init__(self, hub: Hub) -> None:
        self.app: QuartTrio = make_app(hub)
        self._wrapped = ASGIWrapper(_WholeAnswers(self.app))
        self._config = Config()
        self._config.include_server_header = False
        self._config.accesslog = None
        self._config.errorlog = None
        self._context = WorkerContext(None)
        self._state: LifespanState = {}
        self._hub = hub

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Holds the app's lifespan open. Ends by cancellation only."""
        lifespan = Lifespan(self._wrapped, self._config, self._state)
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(5, shield=True):
                    await self._context.terminated.set()
                    await lifespan.wait_for_shutdown()
                nursery.cancel_scope.cancel()

    async def serve(self, connection: HttpConnection) -> None:
        """The engine that the front hands everything to that is not hot."""
        request = connection.take_handed()
        self._hub.counters.handovers += 1
        stream = _Stream(connection.out, canonical(request), one_way=True)
        connection.out.on_drained = stream.drained
        server = TCPServer(
            self._wrapped,
            self._config,
            self._context,
            ConnectionState(self._state.copy()),
            cast("trio.SSLStream[trio.SocketStream]", stream),
        )
        with trio.move_on_after(REQUEST_S):
            try:
                await server.run()
            except* (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the peer left
            except* Exception as errors:
                log.warning("web request failed", error=repr(errors.exceptions[0]))


def canonical(request: Request) -> bytes:
    """The request written anew: one reading only."""
    lines = [b"%b %b HTTP/1.1" % (request.method, request.target)]
    lines += [
        b"%b: %b" % (name, value) for name, value in request.headers.items() if name not in _DROPPED
    ]
    if b"host" not in request.headers:
        lines.append(b"host: localhost")  # HTTP/1.0 may leave it out, HTTP/1.1 may not
    if request.body or request.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"content-length: %d" % len(request.body))
    lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + request.body
