"""How long an answer holds, for what, and what ends it: over real connections."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.hook.known import REFUSED_S
from pushd.reload import Reloader
from tests.support.app import KEY, Server, until
from tests.support.application import WEBHOOK_SECRET, Reply
from tests.support.events import listening
from tests.support.http import patience, request
from tests.support.logins import COOKIE, HTTP_WAYS, TOKEN, Logins, logins, person, serving
from tests.support.websocket import Closed

PATH = "/v1/channels/news/messages?after=0"


@pytest.fixture
async def known() -> AsyncIterator[Logins]:
    async with logins() as made:
        yield made


@pytest.fixture
async def node(tmp_path: Path, known: Logins) -> AsyncIterator[Server]:
    async with serving(tmp_path, known) as server:
        yield server


async def status(server: Server, token: str, **headers: str) -> int:
    return (await server.ask("GET", PATH, token=token, headers=headers)).status


async def test_what_the_application_grants(node: Server, known: Logins) -> None:
    known.people[TOKEN] = person(
        subscribe=["news"], publish=["chat:*"], device="phone", attributes={"name": "Alice"}
    )

    async def ask(method: str, path: str, **members: Any) -> int:
        return (await node.ask(method, path, token=TOKEN, **members)).status

    assert await ask("GET", PATH) == 200
    assert await ask("GET", "/v1/channels/other/messages?after=0") == 403
    assert await ask("GET", "/v1/channels/user:alice/messages?after=0") == 200
    assert await ask("GET", "/v1/channels/user:bob/messages?after=0") == 403
    assert await ask("GET", f"{PATH}&device=tablet") == 403
    assert await ask("POST", "/v1/channels/chat:1/messages", body={"data": 1}) == 201
    assert await ask("POST", "/v1/channels/news/messages", body={"data": 1}) == 403
    pulled = await node.pull("chat:1", after=0)
    assert pulled.json["messages"][0]["sender"] == "alice"
    async with node.socket(token=TOKEN) as socket:
        hello = await socket.expect("hello")
        assert (hello["user"], hello["device"]) == ("alice", "phone")
        [session] = node.hub.sessions.of_user("alice")
        assert session.identity.attributes == {"name": "Alice"}
    assert len(known.asked) == 1


async def test_an_answer_holds_for_the_headers_it_was_given_for(
    node: Server, known: Logins
) -> None:
    """On one connection, too: another cookie may be another person."""
    async with node.peer() as peer:
        for cookie in ("a=1", "a=1", "a=2", "a=1"):
            answer = await peer.ask("GET", PATH, token=TOKEN, headers={"Cookie": cookie})
            assert answer.status == 200
        assert [each.json["headers"]["cookie"] for each in known.asked] == ["a=1", "a=2"]
        known.reply = Reply(401)
        answer = await peer.ask("GET", PATH, token=TOKEN, headers={"Cookie": "a=3"})
        assert answer.status == 401
        answer = await peer.ask("GET", PATH, token=TOKEN, headers={"Cookie": "a=2"})
        assert answer.status == 200


async def test_headers_that_are_not_named_change_nothing(node: Server, known: Logins) -> None:
    for agent in ("a", "b"):
        assert await status(node, TOKEN, **{"User-Agent": agent}) == 200
    assert len(known.asked) == 1


async def test_all_who_ask_the_same_at_once_are_one_request(node: Server, known: Logins) -> None:
    known.go = trio.Event()
    ways = [way for name, way in HTTP_WAYS.items() if "large" not in name]
    said: list[str] = []
    async with trio.open_nursery() as nursery:

        async def come(name: int) -> None:
            said.append(await ways[name % len(ways)](node, TOKEN, {}))

        for number in range(40):
            nursery.start_soon(come, number)
        await until(lambda: known.asked and node.hub.counters.requests >= 35)
        known.go.set()
    assert said == ["in"] * 40
    assert len(known.asked) == 1


async def test_it_is_asked_again_when_its_answer_has_run_out(
    node: Server, known: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    clock = [now]
    monkeypatch.setattr("time.time", lambda: clock[0])
    known.people[TOKEN] = person(expires=int(now) + 60)
    async with node.peer() as peer:
        for at, asked in ((0, 1), (58, 1), (61, 2)):
            clock[0] = now + at
            known.people[TOKEN] = person(expires=int(clock[0]) + 60)
            assert (await peer.ask("GET", PATH, token=TOKEN)).status == 200
            assert len(known.asked) == asked
        clock[0] = now + 130
        known.reply = Reply(403)
        assert (await peer.ask("GET", PATH, token=TOKEN)).status == 401


async def test_a_refusal_is_forgotten_after_a_while(node: Server, known: Logins) -> None:
    assert await status(node, "later") == 401
    known.people["later"] = person()
    known.clock.now += REFUSED_S - 0.1
    assert await status(node, "later") == 401
    known.clock.now += 0.1
    assert await status(node, "later") == 200


async def test_who_is_known_notices_nothing_while_the_application_is_down(
    node: Server, known: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.outbound.breaker.FIRST_PAUSE_S", 0.1)
    assert await status(node, TOKEN) == 200
    assert known.app is not None
    await known.app.stop()
    for _ in range(8):  # until the circuit is open as well
        assert await status(node, "unknown") == 503
    assert await status(node, TOKEN) == 200
    async with node.socket(token=TOKEN) as socket:
        await socket.expect("hello")
    await known.app.start()
    known.people["unknown"] = person("bob")
    with patience():
        while await status(node, "unknown") != 200:
            await trio.sleep(0.05)


# -- the end of live things ------------------------------------------------------------------------


async def test_sessions_and_held_polls_end_with_the_answer(
    node: Server, known: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    known.people[TOKEN] = person(expires=now + 50)
    async with (
        node.socket(token=TOKEN) as socket,
        listening(node, token=TOKEN) as stream,
        node.peer() as peer,
    ):
        await socket.expect("hello")
        await stream.expect("hello")
        await peer.write(request("GET", f"{PATH}&wait=60", token=TOKEN))
        await until(lambda: node.hub.pulls.held)
        sessions = list(node.hub.sessions.of_user("alice"))
        assert all(each.deadline <= trio.current_time() + 50 for each in sessions)
        monkeypatch.setattr("time.time", lambda: now + 60)
        for session in sessions:
            session.rearm()  # by the clock of now: nobody waits for that time to come
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reason"]) == (4001, "token_expired")
        event = await stream.expect("bye")
        assert event.data["reason"] == "token_expired"
        await node.publish("news", 1)
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "token_expired")


async def test_a_refresh_brings_a_later_end(
    node: Server, known: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with the same token: an answer that is more than half over is asked for anew."""
    now = time.time()
    known.people[TOKEN] = person(expires=now + 1000)

    async def refresh(at: float) -> float:
        monkeypatch.setattr("time.time", lambda: now + at)
        await socket.send({"type": "refresh", "token": TOKEN})
        return float((await socket.expect("refreshed"))["expires"])

    async with node.socket(token=TOKEN) as socket:
        await socket.expect("hello")
        known.people[TOKEN] = person(expires=now + 4000)
        assert await refresh(490) == now + 1000
        assert await refresh(600) == now + 4000  # it was asked some seconds after ``now``
        assert await refresh(2000) == now + 4000
        assert len(known.asked) == 2


async def test_a_refresh_is_of_the_same_user(node: Server, known: Logins) -> None:
    known.people["bob"] = person("bob")
    async with node.socket(token=TOKEN) as socket:
        await socket.expect("hello")
        await socket.send({"type": "refresh", "token": "bob"})
        assert (await socket.expect("error"))["code"] == "forbidden"
        await socket.send({"type": "refresh", "token": "nobody"})
        assert (await socket.expect("error"))["code"] == "unauthorized"
        await socket.send({"type": "refresh"})  # it came by a token and has no cookies
        assert (await socket.expect("error"))["code"] == "unauthorized"
        await socket.send({"type": "ping"})
        await socket.expect("pong")


async def test_a_session_by_cookie_is_refreshed_without_a_token(
    node: Server, known: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    known.people[COOKIE] = person(expires=now + 1000)
    async with node.socket(header=f"Cookie: {COOKIE}\r\n") as socket:
        await socket.expect("hello")
        known.people[COOKIE] = person(expires=now + 4000)
        monkeypatch.setattr("time.time", lambda: now + 900)
        await socket.send({"type": "refresh"})
        assert (await socket.expect("refreshed"))["expires"] == now + 4000


async def revoke(server: Server, user: str) -> None:
    answer = await server.ask("POST", "/v1/revocations", token=KEY, body={"user": user})
    assert answer.status == 201


async def test_a_revocation_ends_what_was_said_before_it(node: Server, known: Logins) -> None:
    """Sessions, held polls, what connections remember; then the application is asked again."""
    async with (
        node.socket(token=TOKEN) as socket,
        node.peer() as held,
        node.peer() as kept,
    ):
        await socket.expect("hello")
        assert (await kept.ask("GET", PATH, token=TOKEN)).status == 200
        await held.write(request("GET", f"{PATH}&wait=60", token=TOKEN))
        await until(lambda: node.hub.pulls.held)
        await revoke(node, "alice")
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reason"]) == (4001, "revoked")
        assert (await held.answer()).status == 401
        assert len(known.asked) == 1
        known.people.pop(TOKEN)  # as the application should have done before
        assert (await kept.ask("GET", PATH, token=TOKEN)).status == 401
        assert len(known.asked) == 2


async def test_a_revocation_while_the_application_is_asked(node: Server, known: Logins) -> None:
    """Nobody knows whether it had heard of it: the client comes again, and it is asked again."""
    known.go = trio.Event()
    async with node.peer() as peer:
        await peer.write(request("GET", PATH, token=TOKEN))
        await until(lambda: known.asked)
        await revoke(node, "alice")
        known.go.set()
        answer = await peer.answer()
        assert (answer.status, answer.code) == (503, "not_ready")
        assert (await peer.ask("GET", PATH, token=TOKEN)).status == 200
    assert len(known.asked) == 2


# -- the settings change ---------------------------------------------------------------------------


async def reload(server: Server, **given: Any) -> None:
    settings = replace(server.hub.settings, **given)
    await Reloader(server.hub, lambda: settings)._reload()


async def test_another_application_puts_out_who_came_by_the_one_before(
    node: Server, known: Logins
) -> None:
    async with logins() as other, node.socket(token=TOKEN) as socket:
        await socket.expect("hello")
        jwt = node.token()
        async with node.socket(token=jwt) as stays:
            await stays.expect("hello")
            await reload(node, auth_url=other.url)
            bye = await socket.expect("bye")
            assert (bye["code"], bye["reason"]) == (4001, "revoked")
            with pytest.raises(Closed):
                await socket.message()
            await stays.send({"type": "ping"})
            await stays.expect("pong")
        assert await status(node, TOKEN) == 200
        assert (len(known.asked), len(other.asked)) == (1, 1)
        await reload(node, auth_url=None)
        assert await status(node, TOKEN) == 401
        await reload(node, auth_url=other.url)
        assert await status(node, TOKEN) == 200


async def test_what_is_asked_while_the_settings_change_has_to_come_again(
    node: Server, known: Logins
) -> None:
    known.go = trio.Event()
    async with node.peer() as peer, logins() as other:
        await peer.write(request("GET", PATH, token=TOKEN))
        await until(lambda: known.asked)
        await reload(node, auth_url=other.url)
        answer = await peer.answer()
        assert (answer.status, answer.code) == (503, "not_ready")
        assert await status(node, TOKEN) == 200
    known.go.set()


async def test_other_limits_keep_everybody_in(node: Server, known: Logins) -> None:
    async with node.socket(token=TOKEN) as socket:
        await socket.expect("hello")
        await reload(node, auth_request_timeout=30.0, webhook_secret=WEBHOOK_SECRET + "x")
        await socket.send({"type": "ping"})
        await socket.expect("pong")
    assert await status(node, TOKEN) == 200
    assert known.asked[-1].is_signed(WEBHOOK_SECRET + "x")
