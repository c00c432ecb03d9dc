"""WebSocket sessions after their hello, and asking them things."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from pushd.live import LiveSession
from tests.support.app import Server, Socket, until

LONG_S = 3600.0  # no peer is slow, however busy the machine is


@asynccontextmanager
async def session(
    server: Server, user: str = "alice", target: str = "/v1/ws", **members: Any
) -> AsyncIterator[Socket]:
    """After hello."""
    async with server.socket(target, token=server.token(user, **members)) as socket:
        await socket.expect("hello")
        yield socket


async def ask(socket: Socket, type_: str, **members: Any) -> dict[str, Any]:
    await socket.send({"type": type_, **members})
    return await socket.message()


async def refusal(socket: Socket, type_: str, **members: Any) -> str:
    answer = await ask(socket, type_, **members)
    assert answer["type"] == "error", answer
    assert answer["detail"]
    return str(answer["code"])


def epoch(server: Server, channel: str = "news") -> str:
    return server.hub.log.heads[channel].epoch


async def stuff(server: Server, socket: Socket) -> LiveSession:
    """Let answers pile up unread until the server's socket takes no more.

    It may stay so until ``overdue`` is called. Large ones, and no smaller buffers than the
    system's: else Linux drops segments, and with them the acknowledgements that they carry, so that
    nothing moves in either direction.
    """
    [session] = server.hub.sessions.of_user("alice")
    assert isinstance(session, LiveSession)
    server.hub.flusher.write_timeout = LONG_S
    channels = {f"{number:0200}": "0" for number in range(30)}

    def answered() -> int:
        return server.hub.counters.bytes_out + session.out.tail_bytes

    while session.out.tail_bytes < 20_000:
        before = answered()
        await socket.send({"type": "subscribe", "channels": channels})
        await until(partial(_rose, answered, before))
    return session


def overdue(server: Server, session: LiveSession) -> None:
    """Its peer has taken nothing for nearly as long as it may; no clock is waited for."""
    server.hub.flusher.write_timeout = 0.01
    trio.lowlevel.notify_closing(session.out.sock)  # the one who waits for it gives up
    server.hub.flusher.nursery.start_soon(session.out._flush)


def _rose(number: Callable[[], int], before: int) -> bool:
    return number() > before
