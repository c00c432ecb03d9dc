"""Requests that an edge does not answer itself: passed on to the owner, as they are.

The client's own credential goes along: the owner decides as if the client had come to it. What it
answers is passed back unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
import trio

from pushd.cluster.dialing import dial
from pushd.core.responses import CLOSE, head_of, splice
from pushd.errors import OwnerAway
from pushd.front.connection import Engine, HttpConnection
from pushd.front.heads import Request
from pushd.front.origins import readable
from pushd.handover import HandoverStream
from pushd.hub import Hub

REQUEST_S: Final = 120.0  # as the web framework's own
REFUSE_S: Final = 5.0
CALM_S: Final = 10.0  # between two lines about an owner that is away
READ_SIZE: Final = 65536
# What every node answers by itself: health, what it is, what is the same everywhere.
OWN_PATHS: Final = (b"/metrics", b"/openapi.json", b"/asyncapi.json", b"/docs", b"/v1/nodes")
OWN_PREFIXES: Final = (b"/client.js", b"/client/", b"/demo/")

# Per connection (RFC 9110, 7.6.1), or replaced because the body is whole now.
_DROPPED: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
        *(b"transfer-encoding", b"content-length", b"expect", b"x-forwarded-for"),
    }
)

log = structlog.get_logger("pushd.cluster")


class Passing:
    """The engine of an edge that stands in for the web framework. ``owner``: its address, if it is
    known."""

    def __init__(self, hub: Hub, own: Engine, owner: Callable[[], str | None]) -> None:
        """``own``: serves what every node answers by itself."""
        self._hub = hub
        self._own = own
        self._owner = owner
        self._prefix = hub.settings.path_prefix.encode()
        self._told, self._untold = -math.inf, 0

    async def serve(self, connection: HttpConnection) -> None:
        """Raises nothing: who is connected is told."""
        if self._is_own(connection.handed_path):
            await self._own(connection)
            return
        request = connection.take_handed()
        self._hub.counters.passed_on += 1
        stream = HandoverStream(connection.out, b"", one_way=True)
        connection.out.on_drained = stream.drained
        answer = _Answer(stream)
        reason = f"no answer within {REQUEST_S:.0f} s"
        with trio.move_on_after(REQUEST_S):
            reason = await self._try(request, connection.address, answer)
        if reason and not answer.begun and not answer.unwanted:
            self._say(reason)
            with trio.move_on_after(REFUSE_S):
                await self._refuse(stream, request)
        await stream.aclose()

    async def _try(self, request: Request, address: str, answer: _Answer) -> str:
        """Why there is no answer, or not all of one; empty: there is."""
        reason = ""
        try:
            await self._pass_on(request, address, answer)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as errors:
            reason = repr(_innermost(errors))
        return reason

    def _say(self, reason: str) -> None:
        """Once for many: a crowd asks while the owner is away."""
        self._untold += 1
        now = trio.current_time()
        if now - self._told >= CALM_S:
            log.warning("requests could not be passed on", reason=reason, requests=self._untold)
            self._told, self._untold = now, 0

    def _is_own(self, path: bytes) -> bool:
        bare = path.removeprefix(self._prefix)
        return bare in OWN_PATHS or path.startswith(OWN_PREFIXES)

    async def _pass_on(self, request: Request, address: str, answer: _Answer) -> None:
        """Raises OSError or one of Trio's errors of streams."""
        url = self._owner()
        if url is None:
            raise OSError("no owner is known")
        upstream = (await dial(url)).stream
        async with upstream, trio.open_nursery() as nursery:
            nursery.start_soon(answer.until_unwanted, nursery.cancel_scope)
            await upstream.send_all(_written(request, address))
            while data := await upstream.receive_some(READ_SIZE):
                await answer.write(bytes(data))
            nursery.cancel_scope.cancel()
        if not answer.begun:
            raise OSError("no answer")

    async def _refuse(self, stream: HandoverStream, request: Request) -> None:
        error = OwnerAway("The node that owns the log cannot be reached.", retry_after=1)
        self._hub.counters.errors[error.code] += 1
        answer = self._hub.responses.problem(error)
        if request.method == b"HEAD":
            answer = head_of(answer)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(splice(answer, readable(self._hub, request) + CLOSE))


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Answer:
    """What goes back. ``begun``: something has. ``unwanted``: the client has left."""

    def __init__(self, stream: HandoverStream) -> None:
        self.stream = stream
        self.begun = self.unwanted = False

    async def write(self, data: bytes) -> None:
        self.begun = True
        await self.stream.send_all(data)

    async def until_unwanted(self, scope: trio.CancelScope) -> None:
        """A client that leaves needs no answer."""
        while await self.stream.receive_some():
            pass
        self.unwanted = True
        scope.cancel()


def _written(request: Request, address: str) -> bytes:
    """The request written anew: one reading only."""
    lines = [b"%b %b HTTP/1.1" % (request.method, request.target)]
    lines += [
        b"%b: %b" % (name, value) for name, value in request.headers.items() if name not in _DROPPED
    ]
    if b"host" not in request.headers:
        lines.append(b"host: localhost")
    if request.body or request.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"content-length: %d" % len(request.body))
    lines += [b"x-forwarded-for: " + address.encode(), b"connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + request.body
