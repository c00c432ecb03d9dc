"""A TCP proxy with faults: cut, freeze (a peer that vanished), refuse, block and thin out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import trio

from tests.support.vanishing import vanish

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Proxy:
    """Between clients and one server. Change its attributes while it runs."""

    def __init__(self, target: int) -> None:
        """``target``: the server's port."""
        self.target = target
        self.port = 0
        self.accepts = True
        # The first bytes of each connection that came through, newest last.
        self.heads: list[bytes] = []
        # An answer instead of the server's, by a look at the first bytes of a piece.
        self.instead: Callable[[bytes], bytes | None] = lambda _head: None
        # What of the server's bytes is passed on.
        self.thin: Callable[[bytes], bytes] = lambda data: data
        self._passing: set[_Passage] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """All connections end at once, without a goodbye."""
        for passage in self._passing:
            passage.scope.cancel()

    def freeze(self) -> None:
        """What is connected now passes nothing any more and stays open; new ones work."""
        for passage in self._passing:
            passage.frozen = True

    def vanish(self) -> None:
        """As ``freeze``, and neither end gets an acknowledgement, as of a machine without power."""
        for passage in self._passing:
            passage.vanish()

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self._serve, self.port)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        if not self.accepts:
            return
        passage = _Passage(self, client)
        self._passing.add(passage)
        try:
            await passage.run()
        finally:
            self._passing.discard(passage)


class _Passage:
    """One connection and what it is passed on to."""

    def __init__(self, proxy: Proxy, client: trio.SocketStream) -> None:
        self._proxy, self._client = proxy, client
        self.scope = trio.CancelScope()
        self.frozen = False
        self._ends = [client]

    def vanish(self) -> None:
        self.frozen = True
        for end in self._ends:
            vanish(end.socket)

    async def run(self) -> None:
        with self.scope, suppress(*_GONE):
            server = await trio.open_tcp_stream("127.0.0.1", self._proxy.target)
            self._ends.append(server)
            async with server, trio.open_nursery() as nursery:
                nursery.start_soon(self._up, server)
                nursery.start_soon(self._down, server)

    async def _up(self, server: trio.SocketStream) -> None:
        with suppress(*_GONE):
            async for data in self._client:
                await self._hold()
                self._proxy.heads.append(data)
                if (answer := self._proxy.instead(data)) is not None:
                    await self._client.send_all(answer)
                    break
                await server.send_all(data)
        await self._end()

    async def _down(self, server: trio.SocketStream) -> None:
        with suppress(*_GONE):
            async for data in server:
                await self._hold()
                await self._client.send_all(self._proxy.thin(data))
        await self._end()

    async def _end(self) -> None:
        """Of one that is frozen neither end hears, not even that the other has closed it."""
        await self._hold()
        self.scope.cancel()

    async def _hold(self) -> None:
        while self.frozen:
            await trio.sleep_forever()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        yield proxy
        nursery.cancel_scope.cancel()


def status(code: int, reason: str, headers: str = "") -> bytes:
    """A whole answer, after which the connection is closed."""
    return f"HTTP/1.1 {code} {reason}\r\nContent-Length: 0\r\n{headers}\r\n".encode()


def is_upgrade(head: bytes) -> bool:
    return b"upgrade: websocket" in head.lower()


def is_stream(head: bytes) -> bool:
    return b"/v1/events" in head.split(b"\r\n")[0]


def without_hints(data: bytes) -> bytes:
    """No hint gets through a WebSocket: small server frames that come one or more in a piece."""
    kept = b""
    while data[:1] == b"\x81" and len(data) >= 2:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        frame, data = data[: start + size], data[start + size :]
        if b'"type":"hint"' not in frame:
            kept += frame
    return kept + data
