"""Two devices of one user: what one has read the other is told, however both are connected."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tests.support.app import KEY, Server, until
from tests.support.events import listening
from tests.support.http import request
from tests.support.sessions import session

Read = dict[str, Any]
# Waits for the next that this device is told of what was read elsewhere.
Told = Callable[[], Awaitable[Read]]
Device = Callable[[Server], AbstractAsyncContextManager[Told]]
Reader = Callable[[Server, str], Awaitable[None]]
INBOX = "user:alice"


@asynccontextmanager
async def websocket(server: Server) -> AsyncIterator[Told]:
    async with session(server, device="other") as socket:

        async def told() -> Read:
            return await socket.expect("read")

        yield told


@asynccontextmanager
async def events(server: Server) -> AsyncIterator[Told]:
    async with listening(server, token=server.token(device="other")) as stream:
        await stream.expect("hello")

        async def told() -> Read:
            return (await stream.expect("read")).data

        yield told


@asynccontextmanager
async def polls(server: Server, wait: int = 60) -> AsyncIterator[Told]:
    """Held when it is read; or, without ``wait``, asked again later."""
    epoch = server.hub.log.heads[INBOX].epoch
    body = {"mine": True, "cursors": {INBOX: f"{epoch}.3"}, "wait": wait}
    poll = request("POST", "/v1/pull", token=server.token(device="other"), body=body)
    async with server.peer() as peer:

        async def ask() -> None:
            """Held from here on; or answered already, with what was not yet read."""
            await peer.write(poll)
            if wait:
                await until(lambda: server.hub.pulls.held)
            else:
                assert (await peer.answer()).json["notices"] == []

        async def told() -> Read:
            if not wait:
                await peer.write(poll)
            [read] = (await peer.answer()).json["notices"]
            await ask()
            return dict(read)

        await ask()

        yield told


@asynccontextmanager
async def later_polls(server: Server) -> AsyncIterator[Told]:
    async with polls(server, 0) as told:
        yield told


async def by_http(server: Server, cursor: str) -> None:
    path, token = f"/v1/channels/{INBOX}/read", server.token()
    body = {"cursor": cursor, "device": "reader"}
    assert (await server.ask("POST", path, token=token, body=body)).status == 204


async def by_frame(server: Server, cursor: str) -> None:
    async with session(server, device="reader") as socket:
        await socket.send({"type": "read", "channel": INBOX, "cursor": cursor})
        await socket.send({"type": "ping"})
        await socket.expect("pong")


@pytest.mark.parametrize("reads", [by_http, by_frame], ids=lambda way: way.__name__)
@pytest.mark.parametrize(
    "device", [websocket, events, polls, later_polls], ids=lambda way: way.__name__
)
async def test_the_other_device_is_told(server: Server, reads: Reader, device: Device) -> None:
    for _ in range(3):
        stored = await server.publish(INBOX, 1)
    epoch = stored["epoch"]
    async with device(server) as told:
        for seq in (1, 3):
            await reads(server, f"{epoch}.{seq}")
            read = await told()
            assert read == {"type": "read", "channel": INBOX, "cursor": f"{epoch}.{seq}"}
            inbox = await server.ask("GET", "/v1/inbox", token=server.token(device="other"))
            assert inbox.json["unread"] == 3 - seq


async def test_read_before_delivered(server: Server) -> None:
    """Two things: what was read on one device the other may not have yet."""
    for _ in range(3):
        stored = await server.publish(INBOX, 1)
    epoch = stored["epoch"]

    async def receipts() -> Any:
        path = f"/v1/channels/{INBOX}/receipts?seq=2"
        return (await server.ask("GET", path, token=KEY)).json["items"]

    async def inbox(device: str) -> Any:
        answer = await server.ask("GET", "/v1/inbox", token=server.token(device=device))
        item = answer.json["items"][1]
        return item["delivered"], item["read"], item["unread"]

    assert await receipts() == []
    await by_http(server, f"{epoch}.2")
    assert await receipts() == [{"user": "alice", "delivered": {}, "read": f"{epoch}.2"}]
    assert await inbox("phone") == (None, f"{epoch}.2", 1)
    # The phone still gets all of it, and says that it has two.
    pulled = await server.pull(INBOX, server.token(device="phone"))
    assert len(pulled.json["messages"]) == 3
    body = {"cursors": {INBOX: f"{epoch}.2"}}
    await server.ask("POST", "/v1/ack", token=server.token(device="phone"), body=body)
    delivered = {"phone": f"{epoch}.2"}
    assert await receipts() == [{"user": "alice", "delivered": delivered, "read": f"{epoch}.2"}]
    assert await inbox("phone") == (f"{epoch}.2", f"{epoch}.2", 1)
    # What is delivered is not read.
    body = {"cursors": {INBOX: f"{epoch}.3"}}
    await server.ask("POST", "/v1/ack", token=server.token(device="phone"), body=body)
    assert await inbox("phone") == (f"{epoch}.3", f"{epoch}.2", 1)
    assert await inbox("tablet") == (None, f"{epoch}.2", 1)
