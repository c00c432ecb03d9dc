"""An owner of the log in the test's hands: what it answers, loses or delays is said there."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from pushd.cluster.bus.texts import OwnerRecord

GENERATION = "g1"


class Lost(Exception):
    """The connection closes, unanswered."""


@dataclass
class FakeOwner:
    """``answer`` gets path and body, and returns status and body, or raises ``Lost``."""

    port: int
    answer: Callable[[str, Any], Awaitable[tuple[int, object]]]
    requests: list[tuple[str, Any]] = field(default_factory=list)
    connections: int = 0
    listening: trio.CancelScope = field(default_factory=trio.CancelScope)  # to be cancelled

    def record(self, generation: str = GENERATION) -> OwnerRecord:
        return OwnerRecord("owner", f"http://127.0.0.1:{self.port}", generation, 0.0)

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        data = b""
        async with stream:
            while True:
                while b"\r\n\r\n" not in data:
                    if not (more := await _receive(stream)):
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                while len(data) < length:
                    data += await _receive(stream)
                raw, data = data[:length], data[length:]
                path = head.split(b" ")[1].decode()
                body = msgspec.json.decode(raw) if raw else None
                self.requests.append((path, body))
                try:
                    status, answer = await self.answer(path, body)
                except Lost:
                    return
                text = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
                first = f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n\r\n"
                try:
                    await stream.send_all(first.encode() + text)
                except trio.BrokenResourceError:
                    return  # who asked has left


async def _receive(stream: trio.abc.Stream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


@asynccontextmanager
async def fake_owner(
    answer: Callable[[str, Any], Awaitable[tuple[int, object]]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[FakeOwner]:
    """It listens inside; with ``context`` for TLS."""
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        owner = FakeOwner(listener.socket.getsockname()[1], answer)
        secured = None if context is None else trio.SSLListener(listener, context)

        async def listen() -> None:
            with owner.listening:
                await trio.serve_listeners(
                    owner.serve, [secured or listener], handler_nursery=nursery
                )

        nursery.start_soon(listen)
        yield owner
        nursery.cancel_scope.cancel()
