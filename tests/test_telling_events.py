"""Sessions and users that come and go, told to the application, and what is lost of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.telling import events as events_module
from pushd.telling import posting
from tests.support.app import KEY, Server, running_server, until
from tests.support.application import WEBHOOK_SECRET, Application, Received, Reply, application

LIVE = ("session.opened", "session.closed", "user.online", "user.offline")
IN_ORDER = ("session.opened", "user.online", "session.closed", "user.offline")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(posting, "LONGEST_DELAY_S", 0.01)
    monkeypatch.setattr("pushd.outbound.breaker.FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr("pushd.outbound.breaker.LONGEST_PAUSE_S", 0.02)


class Heard:
    """What the application has taken: all events in the order of their coming."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def take(self, received: Received) -> None:
        assert received.is_signed()
        assert received.json["type"] == "events"
        self.events += received.json["data"]["events"]

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def count(self, kind: str) -> int:
        return self.types().count(kind)


@asynccontextmanager
async def hearing(
    data: Path,
    answer: Callable[[Received], Reply] | None = None,
    pause: Callable[[Received], Awaitable[None]] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Server, Application, Heard]]:
    heard = Heard()

    async def handle(received: Received) -> Reply:
        if pause is not None:
            await pause(received)
        reply = Reply(204) if answer is None else answer(received)
        if 200 <= reply.status < 300 and reply.raw is None:
            heard.take(received)
        return reply

    given = {"webhook_events": LIVE, "presence_grace": 0.0, "webhook_timeout": 60.0, **settings}
    async with (
        application(handle) as app,
        running_server(data, webhook_url=app.url, webhook_secret=WEBHOOK_SECRET, **given) as server,
    ):
        yield server, app, heard


async def visit(server: Server, user: str = "alice", **members: Any) -> str:
    """A session that opens and closes; answers its id."""
    async with server.socket(token=server.token(user, **members)) as socket:
        return str((await socket.expect("hello"))["session"])


async def test_sessions_and_users_are_told_in_order(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (server, app, heard):
        session = await visit(server, device="phone", attributes={"name": "Alice"})
        await app.until(lambda: heard.count("user.offline"))
    assert heard.types() == [
        "server.started",
        "session.opened",
        "user.online",
        "session.closed",
        "user.offline",
    ]
    started, opened, online, closed, offline = heard.events
    assert started["data"]["node"] == server.hub.node_id
    assert online["data"] == offline["data"] == {"user": "alice", "node": server.hub.node_id}
    assert opened["data"].pop("since") <= opened["at"]
    assert opened["data"] == {
        "session": session,
        "user": "alice",
        "device": "phone",
        "transport": "websocket",
        "node": server.hub.node_id,
        "address": "127.0.0.1",
        "attributes": {"name": "Alice"},
    }
    assert closed["data"]["session"] == session
    assert (closed["data"]["code"], closed["data"]["reason"]) == (1006, "lost")
    assert len({event["id"] for event in heard.events}) == 5


async def test_why_a_session_ended_is_said(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (server, app, heard):
        async with server.socket(token=server.token()) as socket:
            session = (await socket.expect("hello"))["session"]
            path = f"/v1/sessions/{session}?reason=too%20loud"
            await server.ask("DELETE", path, token=KEY)
            await socket.expect("bye")
        await app.until(lambda: heard.count("session.closed"))
        [closed] = [each["data"] for each in heard.events if each["type"] == "session.closed"]
        assert (closed["code"], closed["reason"]) == (4009, "too loud")


async def test_an_event_stream_is_a_session_as_well(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (server, app, heard):
        async with server.peer() as peer:
            await peer.write(
                b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
                + server.token().encode()
                + b"\r\n\r\n"
            )
            await app.until(lambda: heard.count("session.opened"))
        await app.until(lambda: heard.count("session.closed"))
    [opened] = [each["data"] for each in heard.events if each["type"] == "session.opened"]
    assert opened["transport"] == "sse"


@pytest.mark.parametrize("kind", LIVE)
async def test_only_what_was_asked_for_is_told(tmp_path: Path, kind: str) -> None:
    async with hearing(tmp_path, webhook_events=(kind,)) as (server, app, heard):
        await visit(server)
        await visit(server, "bob")
        await app.until(lambda: heard.count(kind) == 2)
    assert set(heard.types()) == {"server.started", kind}


async def test_nothing_is_kept_that_nobody_asked_for(tmp_path: Path) -> None:
    settings = {"webhook_events": ("message.published",)}
    async with hearing(tmp_path, **settings) as (server, app, _):
        await visit(server)
        assert server.hub.application.telling.events is None
        assert app.received == []


async def test_the_same_again_has_the_same_id_and_body(tmp_path: Path) -> None:
    left = 4

    def answer(_: Received) -> Reply:
        nonlocal left
        left -= 1
        return Reply(503) if left >= 0 else Reply(204)

    async with hearing(tmp_path, answer) as (server, app, heard):
        await app.until(lambda: app.received)
        await visit(server)
        await app.until(lambda: heard.count("user.offline"))
    assert len({(each.id, each.body) for each in app.received[:5]}) == 1
    assert len({each.id for each in app.received}) == len(app.received) - 4


async def test_what_does_not_fit_is_lost_and_said(tmp_path: Path) -> None:
    """The oldest go. The application is down meanwhile; nobody else notices."""
    async with hearing(tmp_path, webhook_queue=10) as (server, app, heard):
        await app.until(lambda: heard.count("server.started"))
        await app.stop()
        for number in range(20):
            await visit(server, f"u{number}")
            await until(lambda: not server.hub.presence.users())
        telling = server.hub.application.telling
        stats = (await server.ask("GET", "/v1/stats", token=KEY)).json["telling"]
        assert stats["events_waiting"] <= 10
        assert stats["events_lost"] >= 60
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        assert f"pushd_events_lost_total {stats['events_lost']}.0" in metrics
        await app.start()
        await until(lambda: not telling.events_waiting)
        await app.until(lambda: heard.events[-1]["data"].get("user") == "u19")
    counted = sum(each["data"]["count"] for each in heard.events if each["type"] == "events.lost")
    told = [each for each in heard.events if each["type"] in LIVE]
    assert counted == server.hub.counters.events_lost
    assert counted + len(told) == 20 * 4
    at = heard.types().index("events.lost")
    newest = [(each["type"], each["data"]["user"]) for each in heard.events[at + 1 :]]
    wanted = [(kind, f"u{number}") for number in range(20) for kind in IN_ORDER]
    assert newest == wanted[-10:], "what is lost came before what waits"
    assert any(each["event"] == "events for the application are lost" for each in server.log)


async def test_events_that_are_refused_again_and_again_are_lost_and_said(tmp_path: Path) -> None:
    def answer(received: Received) -> Reply:
        return Reply(400) if b'"poison"' in received.body else Reply(204)

    async with hearing(tmp_path, answer, webhook_events=("session.opened",)) as (
        server,
        app,
        heard,
    ):
        await app.until(lambda: heard.count("server.started"))
        await visit(server, "poison")
        refused = lambda: [each for each in app.received if b'"poison"' in each.body]  # noqa: E731
        await app.until(lambda: len(refused()) == events_module.REFUSALS)
        await visit(server, "good")
        await app.until(lambda: heard.count("session.opened"))
    assert heard.types() == ["server.started", "events.lost", "session.opened"]
    assert heard.events[1]["data"] == {"count": 1}
    assert heard.events[2]["data"]["user"] == "good"


async def test_a_shutdown_tells_who_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was not told yet when everybody had gone."""
    monkeypatch.setattr("pushd.application.LAST_WORDS_S", 60.0)
    go = trio.Event()

    async def slowly(received: Received) -> None:
        if b'"session.opened"' in received.body:
            await go.wait()

    async with hearing(tmp_path, pause=slowly) as (server, app, heard):
        async with server.socket(token=server.token()) as socket:
            await socket.expect("hello")
            await app.until(lambda: len(app.received) == 2)
            server.stopper.asked.set()
            await socket.expect("bye")
            await socket.leave()
        await until(lambda: not server.hub.sessions.by_id)
        for _ in range(500):  # whatever it does next, it has done
            await trio.lowlevel.checkpoint()
        go.set()
        await app.until(lambda: heard.count("session.closed"))
    [closed] = [each["data"] for each in heard.events if each["type"] == "session.closed"]
    assert (closed["code"], closed["reason"]) == (1012, "restart")


async def test_a_shutdown_does_not_wait_for_an_application_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.application.LAST_WORDS_S", 0.05)
    async with hearing(tmp_path) as (server, app, heard):
        await app.until(lambda: heard.count("server.started"))
        await app.stop()
        await visit(server)
        server.stopper.asked.set()
        with trio.fail_after(60):
            await until(lambda: any(each["event"] == "stopped" for each in server.log))


async def test_each_start_has_ids_of_its_own_and_says_that_nobody_is_there(tmp_path: Path) -> None:
    starts = []
    for _ in range(2):
        async with hearing(tmp_path) as (_, app, heard):
            await app.until(lambda: heard.count("server.started"))
            starts.append(heard.events[0])
    assert starts[0]["id"] != starts[1]["id"]
    assert set(starts[0]["data"]) == {"node", "version"}


async def test_a_listener_that_fails_closes_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(events_module.Events, "_session", fail)
    async with hearing(tmp_path, errors_expected=True) as (server, app, heard):
        async with server.socket(token=server.token()) as socket:
            await socket.expect("hello")
            await socket.send({"type": "ping"})
            await socket.expect("pong")
        await app.until(lambda: heard.count("user.offline"))
