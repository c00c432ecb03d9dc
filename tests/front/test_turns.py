"""Large bodies are looked through in turns: however many, the loop waits for one slice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
import trio

from pushd.core.frames import Message
from pushd.core.permissions import Identity
from pushd.front.heavy import HEAVY
from pushd.front.lines import SLICE, SLICE_BYTES
from tests.support.app import KEY, Server, until
from tests.support.http import Answer, request
from tests.support.sessions import session

NDJSON = {"Content-Type": "application/x-ndjson"}
BODIES = 5


class Ticks(trio.abc.Instrument):
    """How often the loop has come round, and what was looked through each time."""

    def __init__(self) -> None:
        self.count = 0
        self.bytes: Counter[int] = Counter()
        self.lines: Counter[int] = Counter()

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@contextmanager
def ticking(ticks: Ticks) -> Iterator[None]:
    trio.lowlevel.add_instrument(ticks)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(ticks)


async def publish_all(server: Server, body: bytes, **members: Any) -> list[Answer]:
    """The same body over several connections at once."""
    answers: list[Answer] = []

    async def publish() -> None:
        answers.append(await server.ask("POST", "/v1/publish", token=KEY, body=body, **members))

    async with trio.open_nursery() as nursery:
        for _ in range(BODIES):
            nursery.start_soon(publish)
    return answers


def line(size: int) -> bytes:
    return json.dumps({"channel": "news", "data": "x" * size}).encode() + b"\n"


@pytest.mark.parametrize(
    "body",
    [line(10) * 1000, line(60_000) * 20, line(30_000) * 5 + line(10) * 300 + line(60_000) * 5],
    ids=["short lines", "long lines", "both"],
)
async def test_lines_of_many_bodies(
    server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    ticks = Ticks()
    parse = server.hub.publisher.parse_line

    def counted(raw: bytes) -> Any:
        ticks.bytes[ticks.count] += len(raw)
        ticks.lines[ticks.count] += 1
        return parse(raw)

    monkeypatch.setattr(server.hub.publisher, "parse_line", counted)
    with ticking(ticks):
        answers = await publish_all(server, body, headers=NDJSON)
    assert all(b'"code"' not in answer.body for answer in answers)
    assert ticks.lines.total() == BODIES * body.count(b"\n")
    assert max(ticks.lines.values()) <= SLICE
    longest = max(map(len, body.splitlines()))
    assert max(ticks.bytes.values()) < SLICE_BYTES + longest


HEAVY_ONES = {
    "publish": ("/v1/channels/news/messages", {"data": "x" * HEAVY}, 201),
    "publish to many": (
        "/v1/publish",
        {"to": {"all": True}, "message": {"data": "x" * HEAVY}},
        200,
    ),
    "pull": ("/v1/pull", {"cursors": {f"{n:050}": "0" for n in range(100)}}, 200),
    "ack": ("/v1/ack", {"cursors": {f"{n:050}": "0" for n in range(100)}}, 204),
    "read": ("/v1/channels/news/read", {"cursor": "0", "device": "d" * HEAVY}, 400),
    "call": ("/v1/call", {"name": "n", "data": "x" * HEAVY}, 404),
}


@pytest.mark.parametrize("name", HEAVY_ONES)
async def test_heavy_requests_are_served_as_light_ones_are(server: Server, name: str) -> None:
    path, body, status = HEAVY_ONES[name]
    assert len(json.dumps(body)) > HEAVY
    async with server.peer() as peer:
        for _ in range(2):  # the second one by its head alone
            token = server.token(publish=["*", "all"])
            answer = await peer.ask("POST", path, token=token, body=body)
            assert answer.status == status, answer.json
            assert (await peer.ask("GET", "/healthz")).status == 200
        answer = await peer.ask("POST", path, token="wrong", body=body)
        assert (answer.status, answer.code) == (401, "unauthorized")
    await until(lambda: server.hub.bodies.used == 0)


async def test_heavy_requests_take_turns(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a round; and one of another user does not wait for all of the first one's."""
    ticks = Ticks()
    order: list[str | None] = []
    make = server.hub.publisher.draft

    def counted(identity: Identity, message: Message) -> Any:
        ticks.lines[ticks.count] += 1
        order.append(identity.user)
        return make(identity, message)

    monkeypatch.setattr(server.hub.publisher, "draft", counted)
    users = ["greedy"] * 10 + ["other"]
    body = {"data": "x" * HEAVY}
    async with AsyncExitStack() as stack:
        peers = []
        async with server.hub.turns.of("somebody"):
            for user in users:
                peers.append(await stack.enter_async_context(server.peer()))
                token = server.token(user, publish=["*"])
                data = request("POST", "/v1/channels/news/messages", token=token, body=body)
                await peers[-1].write(data)
                await until(partial(_waiting, server, len(peers)))
            assert not order
            stack.enter_context(ticking(ticks))
        for peer in peers:
            assert (await peer.answer()).status == 201
    assert order[:3] == ["greedy", "other", "greedy"]
    assert Counter(order) == Counter(users)
    assert set(ticks.lines.values()) == {1}


def _waiting(server: Server, count: int) -> bool:
    return sum(map(len, server.hub.turns._lines.values())) == count


async def test_large_bodies_are_looked_through_beside_the_loop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time; small ones, which are the most, at once and without a thread."""
    threads: list[int] = []
    busy = threading.Lock()
    parse = server.hub.publisher.parse_fanned

    def counted(raw: bytes) -> Any:
        threads.append(threading.get_ident())
        assert busy.acquire(blocking=False), "two at once"
        try:
            return parse(raw)
        finally:
            busy.release()

    monkeypatch.setattr(server.hub.publisher, "parse_fanned", counted)
    names = [f"{number}-{'n' * 200}" for number in range(1000)]
    body = json.dumps({"to": {"channels": names}, "message": {"data": 1}}).encode()
    assert len(body) > SLICE_BYTES
    for answer in await publish_all(server, body):
        assert [each["channel"] for each in answer.json["results"]] == names
    here = threading.get_ident()
    assert len(threads) == BODIES
    assert here not in threads
    [refused, *_] = await publish_all(server, body[:-1])
    assert refused.code == "bad_request"
    threads.clear()
    await publish_all(server, b'{"to":{"all":true},"message":{"data":1}}')
    assert set(threads) == {here}
    assert server.hub.bodies.used == 0


async def test_heavy_frames_take_turns_and_keep_their_order(server: Server) -> None:
    async with session(server, publish=["*"]) as socket:
        async with server.hub.turns.of("somebody"):
            message = {"to": {"channels": ["news"]}, "message": {"data": "x" * HEAVY}}
            await socket.send({"type": "publish", "id": "heavy", **message})
            await until(partial(_waiting, server, 1))
            await socket.send({"type": "ping"})
            await server.publish("news", "light")
        answers = {each["type"]: each for each in [await socket.message(), await socket.message()]}
        assert answers["published"]["results"][0]["seq"] == 2
        assert answers["pong"] == {"type": "pong"}
