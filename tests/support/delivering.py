"""How alice's phone is told of a message in her inbox, and how it says that it has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.support.app import KEY, Server, until
from tests.support.events import listening
from tests.support.http import request
from tests.support.sessions import session

INBOX = "user:alice"
Told = Callable[[], Awaitable[None]]  # waits until the phone was told
Tells = Callable[[Server], AbstractAsyncContextManager[Told]]
Confirms = Callable[[Server, str], Awaitable[None]]


@asynccontextmanager
async def by_websocket(server: Server) -> AsyncIterator[Told]:
    async with session(server, device="phone") as socket:

        async def told() -> None:
            assert (await socket.expect("hint"))["channel"] == INBOX

        yield told


@asynccontextmanager
async def by_events(server: Server) -> AsyncIterator[Told]:
    async with listening(server, token=server.token(device="phone")) as stream:
        await stream.expect("hello")

        async def told() -> None:
            assert (await stream.expect("hint")).data["channel"] == INBOX

        yield told


@asynccontextmanager
async def by_poll(server: Server) -> AsyncIterator[Told]:
    """The answer brings the message itself."""
    async with server.peer() as peer:
        body = {"mine": True, "wait": 30}
        await peer.write(request("POST", "/v1/pull", token=server.token(device="phone"), body=body))
        await until(lambda: server.hub.pulls.held)

        async def told() -> None:
            assert (await peer.answer()).json["channels"][INBOX]["messages"]

        yield told


@asynccontextmanager
async def by_pull(server: Server) -> AsyncIterator[Told]:
    async def told() -> None:
        answer = await server.pull(INBOX, server.token(device="phone"))
        assert answer.json["messages"]

    yield told


async def who_has_it(server: Server, *, ms: int = 1) -> tuple[list[str], bool]:
    """By the receipts, and by a publish that waits for it, no longer than it must."""
    receipts = await server.ask("GET", f"/v1/channels/{INBOX}/receipts?seq=1", token=KEY)
    wait = {"delivered_to": "alice", "ms": ms}
    body = {"to": {"users": ["alice"]}, "message": {"data": 1, "id": "m-1"}, "wait": wait}
    waited = await server.ask("POST", "/v1/publish", token=KEY, body=body)
    return [item["user"] for item in receipts.json["items"]], waited.json["delivered"]


async def ack(server: Server, cursor: str) -> None:
    body = {"cursors": {INBOX: cursor}}
    await server.ask("POST", "/v1/ack", token=server.token(device="phone"), body=body)


async def ack_frame(server: Server, cursor: str) -> None:
    async with session(server, device="phone") as socket:
        await socket.send({"type": "ack", "cursors": {INBOX: cursor}})
        await socket.send({"type": "ping"})
        await socket.expect("pong")


async def next_pull(server: Server, cursor: str) -> None:
    await server.pull(INBOX, server.token(device="phone"), after=cursor)


async def next_poll(server: Server, cursor: str) -> None:
    body = {"cursors": {INBOX: cursor}}
    await server.ask("POST", "/v1/pull", token=server.token(device="phone"), body=body)
