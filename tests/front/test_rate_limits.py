"""Rates of users and addresses over the wire: what is beyond is told when to come again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

import pushd.testing
from pushd.client import RetryPolicy
from pushd.rates import Rates
from tests.support.app import KEY, Server, Socket, running_server, until
from tests.support.http import Answer
from tests.support.sessions import session
from tests.support.websocket import Closed

LIMITS: dict[str, Any] = {"user_messages_per_second": 2, "user_message_burst": 5}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def stop_clock(server: Server) -> Clock:
    """The rates' time passes when the test says so."""
    clock = Clock()
    rates: Rates = server.hub.rates
    rates._clock = clock
    return clock


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, **LIMITS) as server:
        yield server


def writer(server: Server, user: str = "alice") -> str:
    return server.token(user, publish=["*", "user:*"])


async def publish(server: Server, number: int, token: str) -> Answer:
    body = {"data": number, "id": str(number)}
    return await server.ask("POST", "/v1/channels/chat/messages", token=token, body=body)


async def lines(server: Server, numbers: range, token: str) -> list[dict[str, Any]]:
    body = "".join(f'{{"channel":"chat","data":{n},"id":"{n}"}}\n' for n in numbers).encode()
    answer = await server.ask(
        "POST",
        "/v1/publish",
        token=token,
        body=body,
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status == 200
    return [json.loads(line) for line in answer.body.splitlines()]


async def send(socket: Socket, number: int) -> None:
    message = {"data": number}
    await socket.send(
        {"type": "publish", "id": str(number), "to": {"channels": ["chat"]}, "message": message}
    )


async def reply(socket: Socket, type_: str) -> dict[str, Any]:
    """The next message beside read marks, which one's own messages move."""
    while (message := await socket.message())["type"] == "read":
        pass
    assert message["type"] == type_, message
    return message


async def stored(server: Server) -> list[int]:
    answer = await server.pull("chat", after=0, limit=1000)
    return [message["data"] for message in answer.json["messages"]]


async def farewell(socket: Socket) -> tuple[dict[str, Any], Closed]:
    """The last message, and the close."""
    last: dict[str, Any] = {}
    while True:
        try:
            last = await socket.message()
        except Closed as closed:
            return last, closed


async def test_one_after_the_other_over_http(server: Server) -> None:
    clock = stop_clock(server)
    token = writer(server)
    assert [(await publish(server, number, token)).status for number in range(5)] == [201] * 5
    refused = await publish(server, 5, token)
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "1"
    assert refused.json["retry_after_ms"] == 1000
    assert (await publish(server, 6, writer(server, "bob"))).status == 201, "each user by himself"
    assert await stored(server) == [0, 1, 2, 3, 4, 6], "nothing of it was stored"
    clock.now += 1
    assert [(await publish(server, number, token)).status for number in (5, 7, 8)] == [
        201,
        201,
        429,
    ]


async def test_a_service_is_not_limited(server: Server) -> None:
    stop_clock(server)
    for number in range(20):
        assert (await publish(server, number, KEY)).status == 201
    results = await lines(server, range(20, 60), KEY)
    assert [result["seq"] for result in results] == list(range(21, 61))


async def test_each_target_counts(server: Server) -> None:
    """A publish to more than the burst passes, and is paid for afterwards."""
    clock = stop_clock(server)
    token = writer(server)
    body = {"to": {"users": [f"u{number}" for number in range(15)]}, "message": {"data": 1}}
    answer = await server.ask("POST", "/v1/publish", token=token, body=body)
    assert (answer.status, len(answer.json["results"])) == (200, 15)
    refused = await server.ask("POST", "/v1/publish", token=token, body=body)
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "6", "10 are owed, and one more has to fit: 5.5 s"
    clock.now += 6
    assert (await publish(server, 0, token)).status == 201


async def test_no_line_passes_one_that_was_refused(server: Server) -> None:
    clock = stop_clock(server)
    token = writer(server)
    results = await lines(server, range(12), token)
    assert [result.get("seq") for result in results] == [1, 2, 3, 4, 5] + [None] * 7
    for number, result in enumerate(results[5:], 6):
        assert (result["line"], result["code"], result["status"]) == (number, "rate_limited", 429)
        assert result["retry_after_ms"] == 1000
    clock.now += 2.5  # room for five
    results = await lines(server, range(5, 12), token)
    assert [result.get("seq") for result in results] == [6, 7, 8, 9, 10, None, None]
    clock.now += 1
    await lines(server, range(10, 12), token)
    assert await stored(server) == list(range(12))


async def test_nor_when_there_is_room_again_before_the_body_ends(server: Server) -> None:
    clock = stop_clock(server)
    clock.step = 0.4  # from line to line, so that a told second is over after three
    results = await lines(server, range(40), writer(server))
    stored_ones = [number for number, result in enumerate(results) if "seq" in result]
    assert 5 <= len(stored_ones) < 40
    assert stored_ones == list(range(len(stored_ones)))


async def test_frames(server: Server) -> None:
    """Of frames sent one behind the other none slips in before one that was refused."""
    clock = stop_clock(server)
    async with session(server, publish=["*"]) as socket:
        for number in range(5):
            await send(socket, number)
            assert (await reply(socket, "published"))["id"] == str(number)
        await send(socket, 5)
        error = await reply(socket, "error")
        assert (error["code"], error["id"], error["retry_after_ms"]) == ("rate_limited", "5", 1000)
        clock.now += 0.9  # there would be room
        await send(socket, 6)
        assert (await reply(socket, "error"))["id"] == "6"
        clock.now += 0.1
        for number in (5, 6):
            await send(socket, number)
            await reply(socket, "published")
    assert await stored(server) == list(range(7))


async def test_one_bucket_for_all_ways_and_connections_of_a_user(server: Server) -> None:
    stop_clock(server)
    token = writer(server)
    async with session(server, publish=["*"]) as one, session(server, publish=["*"]) as other:
        for number, socket in enumerate([one, other, one]):
            await send(socket, number)
            await reply(socket, "published")
    assert (await publish(server, 3, token)).status == 201
    assert [result.get("seq") for result in await lines(server, range(4, 6), token)] == [5, None]
    async with session(server, publish=["*"]) as socket:  # coming again makes it no better
        await send(socket, 5)
        assert (await reply(socket, "error"))["code"] == "rate_limited"


async def test_calls_count_like_messages(tmp_path: Path) -> None:
    async with running_server(tmp_path, handlers="tests.support.handling", **LIMITS) as server:
        stop_clock(server)
        body = {"name": "nothing"}
        for _ in range(3):
            answer = await server.ask("POST", "/v1/call", token=writer(server), body=body)
            assert answer.status == 200
        async with session(server, publish=["*"]) as socket:
            for number in range(3):
                await socket.send({"type": "call", "id": str(number), "name": "nothing"})
            answers = [await socket.message() for _ in range(3)]
        said = {each["id"]: each.get("code") for each in answers}
        assert said == {"0": None, "1": None, "2": "rate_limited"}
        answer = await server.ask("POST", "/v1/call", token=writer(server), body=body)
        assert (answer.status, answer.code) == (429, "rate_limited")
        assert (await publish(server, 0, writer(server))).status == 429
        answer = await server.ask("POST", "/v1/call", token=KEY, body=body)
        assert answer.code != "rate_limited"


async def test_who_goes_on_and_on_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many refusals in a row; one that is within the limits begins the count anew."""
    monkeypatch.setattr("pushd.ws.session.MAX_BEYOND", 3)
    clock = stop_clock(server)
    async with session(server, publish=["*"]) as socket:
        for number in range(8):
            await send(socket, number)
        kinds = [(await socket.message())["type"] for _ in range(8)]
        assert sorted(kinds) == ["error"] * 3 + ["published"] * 5
        clock.now += 1
        await send(socket, 5)
        await socket.expect("published")
        clock.now += 0.01
        for number in range(6, 16):
            await send(socket, number)
        assert (await socket.message())["type"] in ("error", "published")
        last, closed = await farewell(socket)
        assert last == {
            "type": "bye",
            "code": 4029,
            "reason": "rate_limited",
            "reconnect": True,
            "retry_after_ms": 1000,
        }
        assert closed.code == 4029
    assert server.hub.counters.rates_exceeded == 1
    await until(lambda: server.hub.log.heads["chat"].seq == 7)  # its answer was too late for it
    assert await stored(server) == list(range(7))


async def test_an_address_counts_all_users_behind_it(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"address_messages_per_second": 1, "address_message_burst": 4}
    async with running_server(tmp_path, trusted_proxies=(), **limits) as server:
        clock = stop_clock(server)
        users = ["ann", "bob", "cid", "dan"]
        for number, user in enumerate(users):
            assert (await publish(server, number, writer(server, user))).status == 201
        refused = await publish(server, 9, writer(server, "eve"))
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert "of one address" in refused.json["detail"]
        async with session(server, "fay", publish=["*"]) as socket:
            await send(socket, 9)
            assert (await socket.expect("error"))["code"] == "rate_limited"
        assert (await publish(server, 4, KEY)).status == 201, "a service there is not counted"
        clock.now += 1
        assert (await publish(server, 5, writer(server, "eve"))).status == 201
    async with running_server(tmp_path / "proxied", **limits) as server:
        stop_clock(server)
        for number in range(20):
            assert (await publish(server, number, writer(server, f"u{number}"))).status == 201


async def test_without_limits(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"user_messages_per_second": None, "address_messages_per_second": None}
    async with running_server(tmp_path, trusted_proxies=(), **limits) as server:
        results = await lines(server, range(2000), writer(server))
        assert [result.get("seq") for result in results] == list(range(1, 2001))


async def test_our_client_waits_and_keeps_the_order() -> None:
    """An outbox after a time offline: more than the burst, one by one and many at once."""
    waits: list[float] = []
    retries = RetryPolicy(on_retry=lambda _error, delay: waits.append(delay))
    async with (
        pushd.testing.server(user_messages_per_second="40", user_message_burst="15") as node,
        node.client("alice", publish=["chat"], retries=retries) as alice,
    ):
        with trio.fail_after(60):
            for number in range(20):
                await alice.publish("chat", number)
            async for result in alice.publish_lines(("chat", {"data": n}) for n in range(20, 50)):
                assert result.error is None
            page = await alice.pull("chat", after="0", limit=100)
    assert [message.data for message in page.messages] == list(range(50))
    assert waits
    assert all(delay >= 1 for delay in waits), "never sooner than the server said"
