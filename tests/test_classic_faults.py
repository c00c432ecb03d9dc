"""The faults that systems of this kind have when they are made by hand, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import delivering
from tests.support.app import KEY, Server, running_server
from tests.support.diskgate import Gate, disk_full, on_disk
from tests.support.http import Answer
from tests.support.sessions import session


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, handlers="tests.support.handling") as server:
        yield server


# -- success answered before it is true ------------------------------------------------------------

Way = Callable[[Server], Awaitable[str]]  # "ok", or the code of the refusal
MESSAGE = {"data": 1, "id": "m-1"}


def said(answer: Answer) -> str:
    return "ok" if answer.status < 300 else answer.code


def writer(server: Server) -> str:
    return server.token("alice", publish=["*"])


async def one(server: Server) -> str:
    path = "/v1/channels/news/messages"
    return said(await server.ask("POST", path, token=writer(server), body=MESSAGE))


async def many(server: Server, **members: Any) -> str:
    body = {"to": {"channels": ["news"]}, "message": MESSAGE, **members}
    return said(await server.ask("POST", "/v1/publish", token=writer(server), body=body))


async def delivered(server: Server) -> str:
    return await many(server, wait={"delivered_to": "bob", "ms": 1})


async def lines(server: Server) -> str:
    answer = await server.ask(
        "POST",
        "/v1/publish",
        token=writer(server),
        body=b'{"channel":"news","data":1,"id":"m-1"}',
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status == 200
    return str(answer.json.get("code", "ok"))


async def a_frame(server: Server) -> str:
    async with session(server, publish=["*"]) as socket:
        to = {"channels": ["news"]}
        await socket.send({"type": "publish", "id": "m-1", "to": to, "message": {"data": 1}})
        answer = await socket.message()
        assert answer["id"] == "m-1"
        return str(answer["code"]) if answer["type"] == "error" else "ok"


async def a_call(server: Server) -> str:
    """The application's handler publishes, and answers when that is done."""
    to = {"channels": ["news"]}
    body = {"name": "publishes", "data": to}
    return said(await server.ask("POST", "/v1/call", token=writer(server), body=body))


PUBLISHES: list[Way] = [one, many, delivered, lines, a_frame, a_call]


async def trim(server: Server) -> str:
    return said(await server.ask("POST", "/v1/channels/old/trim", token=KEY, body={"before": 2}))


async def delete(server: Server) -> str:
    return said(await server.ask("DELETE", "/v1/channels/old", token=KEY))


async def revoke(server: Server) -> str:
    return said(await server.ask("POST", "/v1/revocations", token=KEY, body={"user": "eve"}))


async def nothing_is_said(server: Server, answers: list[Any]) -> None:
    """The loop turns, and answers others, many times over."""
    for _ in range(5):
        assert (await server.ask("GET", "/healthz")).status == 200
    assert not answers


@pytest.mark.parametrize("way", [*PUBLISHES, trim, delete, revoke], ids=lambda way: way.__name__)
async def test_success_is_not_answered_before_it_is_true(
    server: Server, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the writer is held back: no ack, no hint, no message. With the ack: on the disk."""
    await server.publish("old", 0)
    await server.publish("old", 0)
    gate = Gate(monkeypatch)
    answers: list[tuple[str, int]] = []

    async def ask() -> None:
        answer = await way(server)
        answers.append((answer, on_disk(server)))

    async with session(server, "bob", "/v1/ws?channels=news") as follower:
        async with trio.open_nursery() as nursery:
            with gate.closed():
                nursery.start_soon(ask)
                await gate.arrived()
                await nothing_is_said(server, answers)
                await follower.send({"type": "ping"})
                await follower.expect("pong")  # no hint came before it
                assert (await server.pull("news", after=0)).json["messages"] == []
        [(answer, stored)] = answers
        assert answer == "ok"
        if way in PUBLISHES:
            assert stored == 3
            assert (await follower.expect("hint"))["seq"] == 1


@pytest.mark.parametrize("way", PUBLISHES, ids=lambda way: way.__name__)
async def test_a_write_that_failed_is_no_success(
    server: Server, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: refused, nothing stored, nobody told. The same again, later, is stored once."""
    gate = Gate(monkeypatch)
    gate.error = disk_full()
    async with session(server, "bob", "/v1/ws?channels=news") as follower:
        assert await way(server) == "storage_full"
        assert on_disk(server) == 0
        await follower.send({"type": "ping"})
        await follower.expect("pong")
        gate.error = None
        assert await way(server) == "ok"
        assert on_disk(server) == 1
        assert await way(server) == "ok"
        assert on_disk(server) == 1, "a retry"
        assert (await follower.expect("hint"))["seq"] == 1


# -- "sent" marked before any ack ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tells", "confirms"),
    [
        (delivering.by_websocket, delivering.ack_frame),
        (delivering.by_events, delivering.ack),
        (delivering.by_poll, delivering.next_poll),
        (delivering.by_pull, delivering.next_pull),
    ],
    ids=lambda way: way.__name__,
)
async def test_sent_is_not_marked_before_any_ack(
    server: Server, tells: delivering.Tells, confirms: delivering.Confirms
) -> None:
    """Neither a hint nor an answer that the client has taken says that it has the message."""
    async with tells(server) as told:
        stored = await server.publish(delivering.INBOX, 1, id="m-1")
        await told()
        assert await delivering.who_has_it(server) == ([], False)
    assert await delivering.who_has_it(server) == ([], False)
    await confirms(server, f"{stored['epoch']}.1")
    assert await delivering.who_has_it(server, ms=50_000) == (["alice"], True)


# -- a handler's exception closes the connection ---------------------------------------------------

BROKEN = ["raises", "leaves", "refuses-badly", "unspeakable"]


@pytest.mark.parametrize("name", BROKEN)
async def test_a_handlers_exception_does_not_close_the_connection(
    tmp_path: Path, name: str
) -> None:
    """Neither its caller's, over WebSocket or HTTP, nor anybody else's."""
    handlers = {"handlers": "tests.support.handling", "errors_expected": True}
    async with (
        running_server(tmp_path, **handlers) as server,
        session(server, "alice") as alice,
        session(server, "bob") as bob,
        server.peer() as peer,
    ):
        token = server.token("alice")
        for _ in range(3):
            await alice.send({"type": "call", "id": "c", "name": name})
            assert (await alice.expect("error"))["code"] == "call_failed"
            answer = await peer.ask("POST", "/v1/call", token=token, body={"name": name})
            assert (answer.status, answer.code) == (502, "call_failed")
            assert "connection" not in answer.headers
        for socket in (alice, bob):
            await socket.send({"type": "call", "id": "d", "name": "anything", "data": 1})
            assert (await socket.expect("result"))["data"] == 1
        body = {"name": "anything", "data": 2}
        assert (await peer.ask("POST", "/v1/call", token=token, body=body)).json["data"] == 2
        assert len(server.hub.sessions.by_id) == 2
