"""Calls answered by the application's webhook: a real server on each side."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.outbound import endpoint as outbound
from pushd.outbound.breaker import OPENS_AFTER
from pushd.reload import Reloader
from tests.support.app import Server, running_server, until
from tests.support.application import (
    WEBHOOK_SECRET,
    Application,
    Received,
    Reply,
    application,
)
from tests.support.http import Answer

Handle = Callable[[Received], Awaitable[Reply]]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "FIRST_DELAY_S", 0.001)


@asynccontextmanager
async def both(
    data: Path, reply: Reply | Handle, **settings: Any
) -> AsyncIterator[tuple[Server, Application]]:
    async def handle(received: Received) -> Reply:
        return reply if isinstance(reply, Reply) else await reply(received)

    patient = {"call_timeout": 60.0, "webhook_timeout": 60.0}
    async with (
        application(handle) as app,
        running_server(
            data, webhook_url=app.url, webhook_secret=WEBHOOK_SECRET, **{**patient, **settings}
        ) as server,
    ):
        yield server, app


async def call(server: Server, name: str = "ORDER", **members: Any) -> Answer:
    token = server.token("alice", device="phone", attributes={"name": "Alice"})
    return await server.ask("POST", "/v1/call", token=token, body={"name": name, **members})


async def test_a_call_is_posted_signed_and_its_answer_comes_back(tmp_path: Path) -> None:
    async with both(tmp_path, Reply(200, {"data": {"order": 17}})) as (server, app):
        answer = await call(server, data={"item": "tea"}, id="c1")
        assert (answer.status, answer.json) == (200, {"id": "c1", "data": {"order": 17}})
        async with server.socket(token=server.token("bob")) as socket:
            session = (await socket.expect("hello"))["session"]
            await socket.send({"type": "call", "id": "c2", "name": "ORDER"})
            assert await socket.expect("result") == {
                "type": "result",
                "id": "c2",
                "data": {"order": 17},
            }
    assert all(each.is_signed() for each in app.received)
    first, second = (each.json for each in app.received)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("timestamp"))
    assert first == {
        "type": "call",
        "data": {
            "name": "ORDER",
            "id": "c1",
            "user": "alice",
            "device": "phone",
            "session": None,
            "attributes": {"name": "Alice"},
            "data": {"item": "tea"},
        },
    }
    assert second["data"]["session"] == session
    assert second["data"]["data"] is None


@pytest.mark.parametrize("reply", [Reply(204), Reply(200), Reply(200, {}), Reply(200, b"{}")])
async def test_nothing_to_say_is_null(tmp_path: Path, reply: Reply) -> None:
    async with both(tmp_path, reply) as (server, _):
        assert (await call(server)).json["data"] is None


async def test_an_answer_publishes_before_the_caller_has_it(tmp_path: Path) -> None:
    body = {
        "data": "done",
        "publish": [
            {"to": {"users": ["alice", "bob"]}, "message": {"data": 1, "type": "order"}},
            {"to": {"channels": ["orders"]}, "message": {"data": 2, "sender": "alice"}},
            {"to": {"channels": ["orders"]}, "message": {"data": 3}},
        ],
    }
    async with both(tmp_path, Reply(200, body)) as (server, _):
        assert (await call(server)).json["data"] == "done"
        heads = server.hub.log.heads
        assert {name: heads[name].seq for name in ("user:alice", "user:bob", "orders")} == {
            "user:alice": 1,
            "user:bob": 1,
            "orders": 2,
        }
        messages = (await server.pull("orders", after=0)).json["messages"]
        assert [(each["data"], each.get("sender")) for each in messages] == [
            (2, "alice"),
            (3, None),
        ]


async def test_what_cannot_all_be_published_is_not_published_at_all(tmp_path: Path) -> None:
    body = {
        "data": "done",
        "publish": [
            {"to": {"channels": ["orders"]}, "message": {"data": 1}},
            {"to": {"channels": ["$control"]}, "message": {"data": 2}},
        ],
    }
    async with both(tmp_path, Reply(200, body)) as (server, _):
        answer = await call(server)
        assert (answer.status, answer.code) == (502, "call_failed")
        assert "orders" not in server.hub.log.heads


async def test_a_session_that_is_gone_takes_nothing_from_the_others(tmp_path: Path) -> None:
    """The application answers to a session that was there when it was asked."""
    publish = [
        {"to": {"sessions": ["gone"], "channels": ["orders"]}, "message": {"data": 1}},
        {"to": {"sessions": ["gone"]}, "message": {"data": 2}},
    ]
    async with both(tmp_path, Reply(200, {"data": 1, "publish": publish})) as (server, _):
        assert (await call(server)).json["data"] == 1
        assert server.hub.log.heads["orders"].seq == 1


async def test_the_same_call_again_has_the_same_id_and_stores_once(tmp_path: Path) -> None:
    """Its first answer may have been lost: on its way to us, or on to the client."""
    publish = [{"to": {"channels": ["orders"]}, "message": {"data": 1}}] * 2
    lost = True

    async def handle(_: Received) -> Reply:
        nonlocal lost
        if lost:
            lost = False
            return Reply(raw=b"")
        return Reply(200, {"data": "done", "publish": publish})

    async with both(tmp_path, handle) as (server, app):
        for _ in range(2):
            assert (await call(server, id="c1", data=1)).json["data"] == "done"
        assert server.hub.log.heads["orders"].seq == 2, "twice within one answer is twice"
        await call(server, id="c2", data=1)
        await call(server, id="c1", data=2)
        await call(server, data=1)
        await call(server, data=1)
    ids = [each.id for each in app.received]
    assert len(ids) == 7
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 5


async def test_the_id_of_a_call_is_the_users_own(tmp_path: Path) -> None:
    async with both(tmp_path, Reply(200)) as (server, app):
        for user in ("alice", "bob"):
            body = {"name": "x", "id": "c"}
            await server.ask("POST", "/v1/call", token=server.token(user), body=body)
    assert len({each.id for each in app.received}) == 2


FAILURES = {
    "500": Reply(500),
    "503": Reply(503, headers=[("Retry-After", "0")]),
    "302": Reply(302, headers=[("Location", "http://127.0.0.1/else")]),
    "201": Reply(201, {"data": 1}),
    "401": Reply(401),
    "401-told": Reply(401, {"detail": "Bad signature."}),
    "400-text": Reply(400, b"no", [("Content-Type", "text/plain")]),
    "garbage": Reply(200, b"<html>"),
    "not-an-object": Reply(200, b"[1]"),
    "wrong-form": Reply(200, {"publish": {"to": 1}}),
    "unknown-target": Reply(200, {"publish": [{"to": {"nobody": 1}, "message": {"data": 1}}]}),
    "no-target": Reply(200, {"publish": [{"to": {}, "message": {"data": 1}}]}),
    "not-strict": Reply(200, b'{"data":1e999}'),
    "twice": Reply(200, b'{"data":1,"data":2}'),
    "deep": Reply(200, b'{"data":' + b"[" * 33 + b"]" * 33 + b"}"),
    "large-data": Reply(200, {"data": "x" * 70_000}),
    "huge": Reply(200, b" " * (1 << 20) + b"{}"),
    "cut": Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
}


@pytest.mark.parametrize("case", sorted(FAILURES))
async def test_an_application_that_fails_is_an_error_of_the_caller(
    tmp_path: Path, case: str
) -> None:
    async with both(tmp_path, FAILURES[case]) as (server, _):
        answer = await call(server)
        assert (answer.status, answer.code) == (502, "call_failed")
        assert server.hub.application.calls.under_way == 0


async def test_a_large_answer_is_taken(tmp_path: Path) -> None:
    """Looked through in a thread: the loop goes on."""
    publish = [{"to": {"channels": [f"c{n}"]}, "message": {"data": "x" * 900}} for n in range(900)]
    async with both(tmp_path, Reply(200, {"data": 1, "publish": publish})) as (server, _):
        assert (await call(server)).json["data"] == 1
        assert server.hub.log.heads["c899"].seq == 1


REFUSALS = {
    "plain": (Reply(409, {"detail": "Sold out."}), "Sold out.", None),
    "problem": (
        Reply(422, {"detail": "No.", "status": 422, "title": "x", "data": {"left": 0}}),
        "No.",
        {"left": 0},
    ),
    "long": (Reply(400, {"detail": "x" * 5000}), "x" * 500, None),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
async def test_an_application_may_refuse(tmp_path: Path, case: str) -> None:
    reply, detail, data = REFUSALS[case]
    async with both(tmp_path, reply) as (server, app):
        answer = await call(server)
        assert (answer.status, answer.code) == (422, "refused")
        assert (answer.json["detail"], answer.json.get("data")) == (detail, data)
    assert len(app.received) == 1, "a no is an answer"


async def test_an_application_that_knows_no_such_call(tmp_path: Path) -> None:
    async with both(tmp_path, Reply(404, {"detail": "No route."})) as (server, app):
        answer = await call(server, "NOBODY")
        assert (answer.status, answer.code) == (404, "no_handler")
        assert b"No route" not in answer.body
    assert len(app.received) == 1


async def test_handlers_come_before_the_webhook(tmp_path: Path) -> None:
    module = "tests.support.handling"
    async with both(tmp_path, Reply(200, {"data": "webhook"}), handlers=module) as (server, app):
        assert (await call(server, "anything", data="python")).json["data"] == "python"
        assert (await call(server, "other")).json["data"] == "webhook"
    assert len(app.received) == 1


async def test_a_slow_application_ends_with_the_calls_time(tmp_path: Path) -> None:
    async def handle(_: Received) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with both(tmp_path, handle, call_timeout=0.5) as (server, app):
        while not app.received:  # the machine may have been slower than that
            answer = await call(server)
            assert (answer.status, answer.code) == (504, "call_failed")
    assert len({each.id for each in app.received}) == len(app.received), "asked once each"


async def test_an_application_that_is_down_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The circuit opens: callers hear at once when to come again, and operators what is wrong."""
    monkeypatch.setattr("pushd.outbound.breaker.FIRST_PAUSE_S", 600.0)
    async with both(tmp_path, Reply(200)) as (server, app):
        await app.stop()
        while not server.hub.application.endpoints[0].is_open:
            assert (await call(server)).code in ("call_failed", "overloaded")
        answer = await call(server)
        assert (answer.status, answer.code) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        stats = (await server.ask("GET", "/v1/stats", token="test-key-of-a-service")).json
        assert stats["application"]["webhook"]["circuit"] in ("open", "half_open")
        assert stats["application"]["webhook"]["reason"]
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        assert 'pushd_circuit_open{endpoint="webhook"} 1.0' in metrics
        assert "pushd_circuits_opened_total 1.0" in metrics
        failures = re.search(r"(?m)^pushd_outbound_failures_total (\S+)", metrics)
        assert failures is not None
        assert float(failures[1]) >= OPENS_AFTER
        assert any("circuit open" in each["event"] for each in server.log)
        # Publishing and pulling notice nothing of it.
        await server.publish("news", 1)


async def test_what_is_logged_holds_no_secret_and_no_data(tmp_path: Path) -> None:
    async with both(tmp_path, Reply(500, b"the-answer")) as (server, _):
        await call(server, data="the-data")
        told = json.dumps([{**each} for each in server.log], default=str)
    assert "a call had no answer" in told
    for secret in (WEBHOOK_SECRET, "the-data", "the-answer"):
        assert secret not in told


async def test_a_reload_signs_with_the_new_secret(tmp_path: Path) -> None:
    """Both for a while, then the new one alone: at no time is the application without one."""
    new = "another-secret-that-signs-webhooks-0123"
    async with both(tmp_path, Reply(200)) as (server, app):
        for secret in (f"{new},{WEBHOOK_SECRET}", new):
            settings = replace(server.hub.settings, webhook_secret=secret)
            await Reloader(server.hub, lambda: settings)._reload()  # noqa: B023
            await call(server)
    signed = [(each.is_signed(WEBHOOK_SECRET), each.is_signed(new)) for each in app.received]
    assert signed == [(True, True), (False, True)]


async def test_whoever_leaves_stops_nothing(tmp_path: Path) -> None:
    go = trio.Event()

    async def handle(_: Received) -> Reply:
        await go.wait()
        return Reply(200, {"publish": [{"to": {"channels": ["done"]}, "message": {"data": 1}}]})

    async with both(tmp_path, handle) as (server, app):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, server)
            await app.until(lambda: app.received)
            nursery.cancel_scope.cancel()
        go.set()
        await until(lambda: not server.hub.application.calls.under_way)
        assert server.hub.log.heads["done"].seq == 1


async def test_calls_share_the_connections_there_may_be(tmp_path: Path) -> None:
    go = trio.Event()

    async def handle(_: Received) -> Reply:
        await go.wait()
        return Reply(200)

    settings = {"webhook_connections": 2, "max_calls_per_user": 10}
    async with both(tmp_path, handle, **settings) as (server, app):
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(call, server)
            await until(lambda: server.hub.application.calls.under_way == 6)
            await app.until(lambda: len(app.received) == 2)
            go.set()
        assert len(app.received) == 6
        assert app.most_at_once == 2
