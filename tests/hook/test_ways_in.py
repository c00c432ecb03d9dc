"""A token that only the application knows, on every way in; and every way to fail."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support.app import Server, until
from tests.support.application import Reply
from tests.support.http import request
from tests.support.logins import TOKEN, WAYS, Logins, logins, person, serving


@pytest.fixture
async def known() -> AsyncIterator[Logins]:
    async with logins() as made:
        yield made


@pytest.fixture
async def node(tmp_path: Path, known: Logins) -> AsyncIterator[Server]:
    async with serving(tmp_path, known) as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
async def test_a_good_token(node: Server, known: Logins, way: str) -> None:
    for _ in range(2):
        assert await WAYS[way](node, TOKEN, {}) == "in"
    assert len(known.asked) == 1, "the second time it is known"
    [asked] = known.asked
    assert asked.is_signed()
    assert (asked.method, asked.target) == ("POST", "/hooks/pushd")
    said = asked.json
    assert said.keys() == {"token", "headers", "address", "node"}
    assert (said["token"], said["headers"], said["address"]) == (TOKEN, {}, "127.0.0.1")


@pytest.mark.parametrize("way", WAYS)
async def test_the_named_headers_go_along(node: Server, known: Logins, way: str) -> None:
    given = {"Cookie": "a=1; b=2", "X-Other": "private"}
    assert await WAYS[way](node, TOKEN, given) == "in"
    assert known.asked[0].json["headers"] == {"cookie": "a=1; b=2"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_the_application_refuses(
    node: Server, known: Logins, way: str, status: int
) -> None:
    known.reply = Reply(status, b"private")
    for _ in range(2):
        assert await WAYS[way](node, "unknown", {}) == "unauthorized"
    assert len(known.asked) == 1, "it is not asked again at once"


@pytest.mark.parametrize("way", WAYS)
async def test_an_application_that_is_down(node: Server, known: Logins, way: str) -> None:
    assert known.app is not None
    await known.app.stop()
    for _ in range(2):
        assert await WAYS[way](node, TOKEN, {}) == "not_ready"
    assert node.hub.hook.asking == 0


@pytest.mark.parametrize("way", WAYS)
async def test_an_application_that_is_slow(tmp_path: Path, known: Logins, way: str) -> None:
    known.go = trio.Event()
    async with serving(tmp_path, known, auth_request_timeout=0.05) as server:
        assert await WAYS[way](server, TOKEN, {}) == "not_ready"
        assert server.hub.hook.asking == 0


@pytest.mark.parametrize("status", [200, 204, 302, 404, 500, 503, 429])
async def test_answers_that_are_none(tmp_path: Path, known: Logins, status: int) -> None:
    """Its own fault, so the client's token may be a good one."""
    known.reply = Reply(
        status, b"" if status == 204 else b"<html>", headers=[("Location", "http://127.0.0.1:1/")]
    )
    async with serving(tmp_path, known) as server:
        answer = await server.pull("news", TOKEN, after=0)
        assert (answer.status, answer.code) == (503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("way", WAYS)
async def test_keys_and_jwts_ask_nobody(node: Server, known: Logins, way: str) -> None:
    assert await WAYS[way](node, node.token(publish=["*"]), {}) == "in"
    forged = node.token()[:-4] + "AAAA"
    assert await WAYS[way](node, forged, {}) == "unauthorized"
    assert known.asked == []


async def test_who_leaves_cancels_nothing_of_others(node: Server, known: Logins) -> None:
    """One of three who ask the same goes; the others have their answer, of one request."""
    known.go = trio.Event()
    path = "/v1/channels/news/messages?after=0"
    async with node.peer() as one, node.peer() as two, node.socket(token=TOKEN) as three:
        body = {"to": {"channels": ["news"]}, "message": {"data": 1}}
        await one.write(request("POST", "/v1/publish", token=TOKEN, body=body))
        await two.write(request("GET", path, token=TOKEN))
        hook = node.hub.hook
        await until(lambda: hook.asking and len(known.asked) == 1)
        [question] = hook._open.values()
        await until(lambda: len(question._waiting) == 3)
        one.close()
        await until(lambda: len(question._waiting) == 2)
        known.go.set()
        assert (await two.answer()).status == 200
        await three.expect("hello")
    assert len(known.asked) == 1
    assert node.hub.counters.publishes == 0, "nobody waits for that answer"


async def test_all_leave_and_the_answer_is_kept(node: Server, known: Logins) -> None:
    known.go = trio.Event()
    async with node.peer() as peer:
        await peer.write(request("GET", "/v1/channels/news/messages?after=0", token=TOKEN))
        await until(lambda: known.asked)
    await until(lambda: not node.hub.connections)
    known.go.set()
    await until(lambda: not node.hub.hook.asking)
    assert (await node.pull("news", TOKEN, after=0)).status == 200
    assert len(known.asked) == 1


async def test_requests_behind_one_that_waits_are_answered_in_order(
    node: Server, known: Logins
) -> None:
    """Pipelined: with the token that is asked about, with a known one, and with none."""
    known.go = trio.Event()
    path = "/v1/channels/news/messages?after=0"
    async with node.peer() as peer:
        asked = [request("GET", path, token=each) for each in (TOKEN, node.token(), None, TOKEN)]
        await peer.write(b"".join(asked))
        await until(lambda: known.asked)
        known.go.set()
        assert [(await peer.answer()).status for _ in asked] == [200, 200, 401, 200]
    assert len(known.asked) == 1


async def test_a_pipelined_stranger_gets_nobody_elses_answer(node: Server, known: Logins) -> None:
    """Two tokens that are asked about at the same time, on one connection."""
    known.people["bob"] = {**known.people[TOKEN], "user": "bob"}
    path = "/v1/channels/user:alice/messages?after=0"
    async with node.peer() as peer:
        await peer.write(request("GET", path, token=TOKEN) + request("GET", path, token="bob"))
        assert [(await peer.answer()).status for _ in range(2)] == [200, 403]


async def test_a_large_body_of_a_stranger_is_not_read(node: Server, known: Logins) -> None:
    """What came while the application was asked is all that is held."""
    known.go = trio.Event()
    body = b'{"to":{"all":true},"message":{"data":1}}'.ljust(900_000)
    async with node.peer() as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.write, request("POST", "/v1/publish", token="nobody", body=body))
        await until(lambda: known.asked)
        await trio.testing.wait_all_tasks_blocked()
        assert node.hub.counters.bytes_in <= 2 * 65536
        known.go.set()
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "unauthorized")
        nursery.cancel_scope.cancel()
    await until(lambda: not node.hub.bodies.used)


async def test_a_stranger_behind_a_held_poll(node: Server, known: Logins) -> None:
    """The poll has its answer first, then the body is refused, and then it is over."""
    body = b'{"to":{"all":true},"message":{"data":1}}'.ljust(100_000)
    async with node.peer() as peer:
        held = request("GET", "/v1/channels/a/messages?after=head&wait=60", token=node.token())
        refused = request("POST", "/v1/publish", token="nobody", body=body)
        await peer.write(held + refused[:50_000])
        await until(lambda: known.asked and not node.hub.hook.asking)
        await node.publish("a", 1)
        first, second = await peer.answer(), await peer.answer()
        assert (first.status, second.status) == (200, 401)
        assert second.headers["connection"] == "close"
        assert await peer.is_closed()


async def test_bodies_that_wait_are_counted(tmp_path: Path, known: Logins) -> None:
    known.go = trio.Event()
    async with serving(tmp_path, known, body_memory=1 << 20) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(server.peer()) for _ in range(20)]
        body = {"data": "x" * 60_000}
        for peer in peers:
            await peer.write(request("POST", "/v1/channels/news/messages", token=TOKEN, body=body))
        refused = server.hub.counters.errors
        await until(lambda: refused["overloaded"] + server.hub.bodies.used // 60_000 == 20)
        assert 0 < refused["overloaded"] < 20
        known.go.set()
        statuses = {(await peer.answer()).status for peer in peers}
        assert statuses <= {201, 503}
        assert 201 in statuses
        await until(lambda: not server.hub.bodies.used)
    assert len(known.asked) == 1


async def test_what_is_known_may_end_while_a_body_waits_its_turn(
    node: Server, known: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    known.people[TOKEN] = person(expires=now + 600)
    path = "/v1/channels/news/messages"
    async with node.peer() as peer:
        assert (await peer.ask("POST", path, token=TOKEN, body={"data": 1})).status == 201
        async with node.hub.turns.of("somebody else"):
            body = {"data": "x" * 5000}
            await peer.write(request("POST", path, token=TOKEN, body=body))
            await until(lambda: node.hub.bodies.used)
            known.people[TOKEN] = person(expires=now + 4000)
            monkeypatch.setattr("time.time", lambda: now + 1000)
        assert (await peer.answer()).status == 201
    assert len(known.asked) == 2
    await until(lambda: not node.hub.bodies.used)


async def test_a_stop_leaves_nobody_waiting(tmp_path: Path, known: Logins) -> None:
    known.go = trio.Event()
    async with serving(tmp_path, known) as server, server.peer() as peer:
        await peer.write(request("GET", "/v1/channels/news/messages?after=0", token=TOKEN))
        await until(lambda: known.asked)
        server.stopper.asked.set()
        known.go.set()
        answer = await peer.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
