"""Read marks and calls over HTTP, and the notices that tell those who long-poll of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.app import KEY, Server, until
from tests.support.events import listening
from tests.support.http import Answer, Peer, request
from tests.support.sessions import session

READ = "/v1/channels/news/read"


async def read(server: Server, cursor: str, token: str, **members: Any) -> Answer:
    return await server.ask("POST", READ, token=token, body={"cursor": cursor, **members})


async def published(server: Server, count: int = 3, channel: str = "news") -> str:
    for number in range(count):
        await server.publish(channel, number)
    return server.hub.log.heads[channel].epoch


def poll(token: str, wait: float = 60, **members: Any) -> bytes:
    body = {"mine": True, "wait": wait, **members}
    return request("POST", "/v1/pull", token=token, body=body)


def notices(answer: Answer) -> list[tuple[str, str]]:
    assert answer.status == 200, answer.json
    found = answer.json["notices"]
    assert all(each["type"] == "read" for each in found)
    return [(each["channel"], each["cursor"]) for each in found]


@asynccontextmanager
async def polling(server: Server, device: str | None, user: str = "alice") -> AsyncIterator[Peer]:
    """A client that long-polls for news of its own channels."""
    members = {} if device is None else {"device": device}
    token = server.token(user, **members)
    held = len(server.hub.pulls.held)
    async with server.peer() as peer:
        await peer.write(poll(token))
        await until(lambda: len(server.hub.pulls.held) == held + 1)
        yield peer


# -- read marks


async def test_a_mark_is_set_and_the_users_sessions_are_told(server: Server) -> None:
    epoch = await published(server)
    cursor = f"{epoch}.2"
    token = server.token("alice")
    async with (
        session(server) as socket,
        listening(server, token=token) as stream,
        session(server, "bob") as other,
    ):
        await stream.expect("hello")
        assert (await read(server, cursor, token)).status == 204
        told = {"type": "read", "channel": "news", "cursor": cursor}
        assert await socket.expect("read") == told
        assert (await stream.expect("read")).data == told
        # A session that reads tells all others, however they are connected.
        await socket.send({"type": "read", "channel": "news", "cursor": f"{epoch}.3"})
        assert (await stream.expect("read")).data["cursor"] == f"{epoch}.3"
        # What is told only rises, as what is recorded does.
        for lower in (f"{epoch}.1", "0"):
            assert (await read(server, lower, token)).status == 204
        assert (await read(server, f"{epoch}.3", token)).status == 204
        assert (await stream.expect("read")).data["cursor"] == f"{epoch}.3"
        assert (await socket.expect("read"))["cursor"] == f"{epoch}.3"
        await socket.send({"type": "ping"})
        await socket.expect("pong")
        await other.send({"type": "ping"})
        await other.expect("pong")
    async with server.socket("/v1/ws?channels=news", token=token) as socket:
        hello = await socket.expect("hello")
        assert hello["heads"]["news"]["read"] == f"{epoch}.3"


async def test_what_cannot_be_read(server: Server) -> None:
    epoch = await published(server)
    token = server.token("alice", subscribe=["news"])
    assert (await read(server, f"{epoch}.9", token)).code == "cursor_ahead"
    assert (await read(server, "000000001.1", token)).code == "epoch_changed"
    for cursor in ("head", "3", "", "x"):
        assert (await read(server, cursor, token)).code == "bad_request"
    assert (await read(server, f"{epoch}.1", KEY)).code == "bad_request", "a service has no marks"
    assert (await read(server, f"{epoch}.1", server.token(subscribe=[]))).code == "forbidden"
    assert (await read(server, f"{epoch}.1", "wrong")).status == 401
    assert (await read(server, f"{epoch}.1", token, extra=1)).code == "bad_request"
    pinned = server.token("alice", device="phone")
    assert (await read(server, f"{epoch}.1", pinned, device="tablet")).code == "forbidden"
    assert (await server.ask("POST", READ, token=token, body=b"{")).code == "bad_request"
    answer = await server.ask("GET", READ, token=token)
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert (await read(server, f"{epoch}.3", token)).status == 204
    assert (await read(server, f"{epoch}.1", token)).status == 204, "never falls, and no error"


# -- notices


async def test_a_held_poll_is_answered_with_the_notice(server: Server) -> None:
    epoch = await published(server)
    alice = server.token("alice")
    async with (
        polling(server, "phone") as phone,
        polling(server, None) as nameless,
        polling(server, "phone", user="bob"),
    ):
        await read(server, f"{epoch}.2", alice)
        for peer in (phone, nameless):
            answer = await peer.answer()
            assert notices(answer) == [("news", f"{epoch}.2")]
            assert all(not each["messages"] for each in answer.json["channels"].values())
        assert len(server.hub.pulls.held) == 1, "bob has not been told"


async def test_between_two_polls_the_newest_is_kept(server: Server) -> None:
    epoch = await published(server)
    await published(server, channel="other")
    alice = server.token("alice")
    phone = server.token("alice", device="phone")
    async with server.peer() as peer:
        await peer.write(poll(phone, wait=0))
        assert notices(await peer.answer()) == []
        for number in (1, 2, 3):
            await read(server, f"{epoch}.{number}", alice)
        await read(server, f"{epoch}.3", phone)  # its own: not told to itself
        await peer.write(poll(phone, wait=60))
        assert notices(await peer.answer()) == [("news", f"{epoch}.3")], "at once, and once"
        await peer.write(poll(phone, wait=0))
        assert notices(await peer.answer()) == []


async def test_the_device_that_reads_is_not_told(server: Server) -> None:
    epoch = await published(server)
    alice = server.token("alice")
    async with polling(server, "phone") as phone, polling(server, "tablet") as tablet:
        await read(server, f"{epoch}.1", alice, device="phone")
        assert notices(await tablet.answer()) == [("news", f"{epoch}.1")]
        await server.publish("user:alice", 1)
        assert notices(await phone.answer()) == []


async def test_two_pages_that_share_a_device_are_both_told(server: Server) -> None:
    epoch = await published(server)
    async with polling(server, "phone") as first, polling(server, "phone") as second:
        await read(server, f"{epoch}.1", server.token("alice"))
        for peer in (first, second):
            assert notices(await peer.answer()) == [("news", f"{epoch}.1")]


async def test_boxes_go_after_a_while(server: Server) -> None:
    epoch = await published(server)
    async with polling(server, "phone") as peer:
        [box] = server.hub.notices._boxes
        # Only now: on its way to being held a poll may take longer than that.
        server.hub.notices._grace_s = 0.1
        server.hub.notices.touch(box)
        first = box.deadline
        await until(lambda: box.deadline > first)
        assert len(server.hub.notices) == 1, "while it polls it has one"
        await read(server, f"{epoch}.1", server.token("alice"))
        assert notices(await peer.answer()) == [("news", f"{epoch}.1")]
    await until(lambda: not len(server.hub.notices))
    async with polling(server, None):
        pass
    await until(lambda: not len(server.hub.notices))


async def test_only_polls_for_ones_own_bring_notices(server: Server) -> None:
    epoch = await published(server)
    phone = server.token("alice", device="phone")
    async with server.peer() as peer:
        body = {"cursors": {"news": f"{epoch}.3"}, "wait": 0}
        answer = await peer.ask("POST", "/v1/pull", token=phone, body=body)
        await read(server, f"{epoch}.1", server.token("alice"))
        answer = await peer.ask("POST", "/v1/pull", token=phone, body=body)
        assert answer.json["notices"] == []
    assert not len(server.hub.notices)


# -- calls


@pytest.mark.parametrize("body", [{"name": "f"}, {"name": "f", "id": "1", "data": [1, None]}])
async def test_a_call_finds_nobody(server: Server, body: dict[str, Any]) -> None:
    answer = await server.ask("POST", "/v1/call", token=server.token(), body=body)
    assert (answer.status, answer.code) == (404, "no_handler")


async def test_calls_that_are_none(server: Server) -> None:
    assert (await server.ask("POST", "/v1/call", body={"name": "f"})).status == 401
    for body in ({}, {"name": 1}, {"name": "f", "x": 1}, []):
        answer = await server.ask("POST", "/v1/call", token=server.token(), body=body)
        assert answer.code == "bad_request"
