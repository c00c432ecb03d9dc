"""Calls answered by Python handlers: over real sockets, as frames and over HTTP."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from pushd import handlers
from pushd.calls import load_handlers
from pushd.errors import CannotStart, Overloaded
from pushd.handlers import Call, handler
from tests.support.app import KEY, Server, running_server, until
from tests.support.handling import Order, Stage, new_stage
from tests.support.http import Answer
from tests.support.wire import ConnectionLost

HANDLERS = {"handlers": "tests.support.handling", "errors_expected": True}


@pytest.fixture
def stage() -> Stage:
    return new_stage()


@pytest.fixture
async def server(tmp_path: Path, stage: Stage) -> AsyncIterator[Server]:
    async with running_server(tmp_path, **HANDLERS) as it:
        yield it


async def call(server: Server, name: str, data: Any = None, **members: Any) -> Answer:
    body = {"name": name, "data": data, **members}
    return await server.ask("POST", "/v1/call", token=server.token("alice"), body=body)


async def test_the_body_is_of_the_declared_type_and_the_answer_comes_back(
    server: Server, stage: Stage
) -> None:
    token = server.token("alice", device="phone")
    async with server.socket(token=token) as socket:
        session = (await socket.expect("hello"))["session"]
        await socket.send(
            {"type": "call", "id": "c1", "name": "ORDER_CREATE", "data": {"item": "tea"}}
        )
        result = await socket.expect("result")
    assert result == {
        "type": "result",
        "id": "c1",
        "data": {"item": "tea", "count": 1, "for": "alice"},
    }
    [(seen, body)] = stage.calls
    assert body == Order("tea", 1)
    assert (seen.name, seen.id, seen.user, seen.device) == ("ORDER_CREATE", "c1", "alice", "phone")
    assert seen.session == session
    answer = await call(server, "ORDER_CREATE", {"item": "tea", "count": 2}, id="c2")
    assert answer.status == 200
    assert answer.json == {"id": "c2", "data": {"item": "tea", "count": 2, "for": "alice"}}
    assert stage.calls[1][0].session is None


async def test_attributes_come_with_the_call(server: Server, stage: Stage) -> None:
    token = server.token("alice", attributes={"name": "Alice"})
    await server.ask("POST", "/v1/call", token=token, body={"name": "nothing"})
    assert stage.calls[0][0].attributes == {"name": "Alice"}


@pytest.mark.parametrize("body", [None, 1, "x", [1, {"a": 2}], {"a": None}], ids=repr)
async def test_without_a_declared_type_it_is_whatever_json_came(server: Server, body: Any) -> None:
    assert (await call(server, "anything", body)).json == {"id": None, "data": body}


REFUSED = {
    "no-name": ("", None, 400, "bad_request"),
    "long-name": ("n" * 129, None, 400, "bad_request"),
    "wrong-body": ("ORDER_CREATE", {"item": 1}, 400, "bad_request"),
    "no-body": ("ORDER_CREATE", None, 400, "bad_request"),
    "unknown": ("NOBODY", None, 404, "no_handler"),
    "raises": ("raises", None, 502, "call_failed"),
    "leaves": ("leaves", None, 502, "call_failed"),
    "refuses": ("refuses", "We are closed.", 422, "refused"),
    "refuses-badly": ("refuses-badly", None, 502, "call_failed"),
    "unspeakable": ("unspeakable", None, 502, "call_failed"),
    "too-large": ("large", 70_000, 502, "call_failed"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
async def test_what_goes_wrong_is_an_error_of_its_caller_only(server: Server, case: str) -> None:
    name, data, status, code = REFUSED[case]
    async with server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        await socket.send({"type": "call", "id": "c", "name": name, "data": data})
        error = await socket.expect("error")
        assert (error["code"], error["id"]) == (code, "c")
        answer = await call(server, name, data)
        assert (answer.status, answer.code) == (status, code)
        # The same connection goes on, and so do the others.
        await socket.send({"type": "call", "id": "d", "name": "anything", "data": case})
        assert (await socket.expect("result"))["data"] == case
    if case == "refuses":
        assert (error["detail"], error["data"]) == ("We are closed.", {"left": 0})
        assert answer.json["data"] == {"left": 0}


async def test_the_cause_is_in_the_log_and_not_told_to_the_caller(server: Server) -> None:
    answer = await call(server, "raises")
    assert b"ZeroDivisionError" not in answer.body
    [told] = [each for each in server.log if each["event"] == "a handler failed"]
    assert told["call"] == "raises"
    assert told["exc_info"]


async def test_without_an_id_no_answer_comes(server: Server, stage: Stage) -> None:
    async with server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        for name in ("nothing", "raises", "NOBODY"):
            await socket.send({"type": "call", "name": name})
        await until(lambda: stage.calls and not server.hub.application.calls.under_way)
        await socket.send({"type": "ping"})
        await socket.expect("pong")


async def test_data_is_checked_before_a_handler_sees_it(server: Server, stage: Stage) -> None:
    """JSON that strict receivers would choke on."""
    async with server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        for data in ("1e999", '{"a":1,"a":2}', '"\\ud800"', "[" * 40 + "]" * 40):
            text = '{"type":"call","id":"c","name":"anything","data":' + data + "}"
            await socket.send_frame(1, text.encode())
            assert (await socket.expect("error"))["code"] == "bad_request"
    assert stage.calls == []


async def test_what_a_handler_publishes_is_on_disk_when_it_goes_on(server: Server) -> None:
    answer = await call(server, "publishes", {"users": ["bob"], "channels": ["orders"]})
    results = answer.json["data"]
    assert {each["channel"]: each["seq"] for each in results} == {"orders": 1, "user:bob": 1}
    pulled = (await server.pull("orders", after=0)).json["messages"]
    assert [(each["data"], "sender" in each) for each in pulled] == [({"by": "alice"}, False)]
    again = await call(server, "publishes", {"users": ["bob"], "channels": ["orders"]})
    assert all(each["duplicate"] for each in again.json["data"]), "its id makes it store once"


@pytest.mark.parametrize(
    "to", [{}, {"nobody": ["x"]}, {"channels": ["$control"]}, {"channels": ["a/b"]}], ids=repr
)
async def test_a_handler_that_publishes_wrongly_fails(server: Server, to: dict[str, Any]) -> None:
    assert (await call(server, "publishes", to)).code == "call_failed"


async def test_a_handler_has_its_time(tmp_path: Path, stage: Stage) -> None:
    async with running_server(tmp_path, call_timeout=0.01, **HANDLERS) as server:
        answer = await call(server, "waits")
    assert (answer.status, answer.code) == (504, "call_failed")
    assert stage.left == ["waits"]


async def test_whoever_leaves_stops_nothing(server: Server, stage: Stage) -> None:
    """A call that has begun is finished; its answer is dropped."""
    async with server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        await socket.send({"type": "call", "id": "c", "name": "waits"})
        await stage.entered.wait()
    await until(lambda: not server.hub.sessions.by_id)
    stage.go.set()
    await until(lambda: not server.hub.application.calls.under_way)
    assert (await server.pull("done", after=0)).json["head"] == 1


async def test_whoever_leaves_over_http_stops_nothing(server: Server, stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, server, "waits")
        await stage.entered.wait()
        nursery.cancel_scope.cancel()
    stage.go.set()
    await until(lambda: not server.hub.application.calls.under_way)
    assert (await server.pull("done", after=0)).json["head"] == 1


async def test_calls_under_way_are_bounded_by_user_and_in_all(tmp_path: Path, stage: Stage) -> None:
    async with (
        running_server(tmp_path, max_calls=3, max_calls_per_user=2, **HANDLERS) as server,
        server.socket(token=server.token("alice")) as alice,
        server.socket(token=server.token("bob")) as bob,
    ):
        for socket in (alice, bob):
            await socket.expect("hello")
        waiting = {"type": "call", "id": "w", "name": "waits"}
        for _ in range(3):
            await alice.send(waiting)
        refused = await alice.expect("error")
        assert (refused["code"], refused["retry_after_ms"] > 0) == ("overloaded", True)
        for _ in range(2):
            await bob.send(waiting)
        refused = await bob.expect("error")
        assert (refused["code"], refused["retry_after_ms"] > 0) == ("overloaded", True)
        stage.go.set()
        for socket in (alice, alice, bob):
            assert (await socket.expect("result"))["data"] == "waited"
        await alice.send(waiting)
        await alice.expect("result")


async def test_many_waiting_calls_do_not_hold_up_other_frames(tmp_path: Path, stage: Stage) -> None:
    async with (
        running_server(tmp_path, max_calls_per_user=200, **HANDLERS) as server,
        server.socket(token=server.token()) as socket,
    ):
        await socket.expect("hello")
        for number in range(150):
            await socket.send({"type": "call", "id": f"w{number}", "name": "waits"})
        await socket.send({"type": "ping"})
        await socket.expect("pong")
        stage.go.set()
        got = {(await socket.expect("result"))["id"] for _ in range(150)}
    assert got == {f"w{number}" for number in range(150)}


async def test_large_answers_of_several_calls_cut_nobody_who_reads(
    tmp_path: Path, stage: Stage
) -> None:
    """They come all at one time, and are more than a session's answers may be otherwise."""
    most = {"max_calls_per_user": 8, "write_timeout": 60.0}
    async with (
        running_server(tmp_path, **most, **HANDLERS) as server,
        server.socket(token=server.token()) as socket,
    ):
        await socket.expect("hello")
        for number in range(8):
            await socket.send({"type": "call", "id": f"c{number}", "name": "large-later"})
        await until(lambda: server.hub.application.calls.under_way == 8)
        stage.go.set()
        await until(lambda: not server.hub.application.calls.under_way)
        await socket.send({"type": "ping"})
        got = [await socket.expect("result") for _ in range(8)]
        await socket.expect("pong")
    assert {each["id"] for each in got} == {f"c{number}" for number in range(8)}
    assert {len(each["data"]) for each in got} == {60_000}


async def test_who_takes_no_answers_is_cut(tmp_path: Path, stage: Stage) -> None:
    """Without end nothing piles up; beside what the system keeps, which is little here."""

    def small(listener: socket.socket) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    most = {"max_calls_per_user": 2, "write_timeout": 60.0, "user_messages_per_second": None}
    async with (
        running_server(tmp_path, tune=small, **most, **HANDLERS) as server,
        server.socket(token=server.token()) as asking,
    ):
        await asking.expect("hello")
        calls = server.hub.application.calls
        while server.hub.sessions.by_id:
            try:
                for _ in range(2):
                    await asking.send({"type": "call", "id": "c", "name": "large", "data": 60_000})
            except ConnectionLost:
                break
            await until(lambda: not calls.under_way)
        await until(lambda: not server.hub.sessions.by_id)
        assert server.hub.counters.calls < 50


async def test_who_takes_large_answers_slowly_may_have_any_number(
    tmp_path: Path, stage: Stage
) -> None:
    """Each is more than the system's buffers take, and is read only when it was given."""
    limits = {"max_body": 1 << 19, "write_timeout": 60.0, **HANDLERS}
    async with (
        running_server(tmp_path, **limits) as server,
        server.socket(token=server.token()) as socket,
    ):
        await socket.expect("hello")
        calls = server.hub.application.calls
        for number in range(20):
            ask = {"type": "call", "id": f"c{number}", "name": "large", "data": 500_000}
            await socket.send(ask)
            await until(lambda: server.hub.counters.calls == number + 1)  # noqa: B023
            await until(lambda: not calls.under_way)
            assert (await socket.expect("result"))["id"] == f"c{number}"


async def test_a_handler_that_publishes_into_a_full_backlog_is_not_to_blame(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise Overloaded("More waits to be stored than the backlog takes.", retry_after=1)

    monkeypatch.setattr(server.hub.log, "submit", full)
    answer = await call(server, "publishes", {"channels": ["orders"]})
    assert (answer.status, answer.code) == (503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert not [each for each in server.log if each["event"] == "a handler failed"]


async def test_a_shutdown_waits_for_calls(server: Server, stage: Stage) -> None:
    """Also for one that nobody waits for any more."""
    async with server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        await socket.send({"type": "call", "name": "waits"})
        await stage.entered.wait()
    server.stopper.asked.set()
    await until(lambda: not server.hub.ready)
    for _ in range(500):  # whatever it does next, it has done
        await trio.lowlevel.checkpoint()
    assert stage.left == []
    assert server.hub.application.calls.under_way == 1
    stage.go.set()
    await until(lambda: server.hub.log.heads.get("done"))


async def test_a_shutdown_ends_calls_that_take_too_long(tmp_path: Path, stage: Stage) -> None:
    async with running_server(tmp_path, drain=0.1, **HANDLERS) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_lost, server)
            await stage.entered.wait()
            server.stopper.asked.set()
        await until(lambda: stage.left)
    assert stage.left == ["waits"]


async def _lost(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(
            b"POST /v1/call HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n"
            b"Authorization: Bearer " + server.token().encode() + b"\r\n\r\n"
            b'{"name":"waits"}'
        )
        await peer.read_to_end()


async def test_services_do_not_call(server: Server, stage: Stage) -> None:
    answer = await server.ask("POST", "/v1/call", token=KEY, body={"name": "nothing"})
    assert (answer.status, answer.code) == (403, "forbidden")
    async with server.socket(token=KEY) as socket:
        await socket.expect("hello")
        await socket.send({"type": "call", "id": "c", "name": "nothing"})
        assert (await socket.expect("error"))["code"] == "forbidden"
    assert stage.calls == []


async def test_calls_count_among_what_a_user_may_send(tmp_path: Path, stage: Stage) -> None:
    limits = {"user_messages_per_second": 1, "user_message_burst": 2}
    async with running_server(tmp_path, **limits, **HANDLERS) as server:
        server.hub.rates._clock = lambda: 1000.0  # no second passes, however long this takes
        for user in ("alice", "bob"):
            token = server.token(user)
            async with server.socket(token=token) as socket:
                await socket.expect("hello")
                ask: dict[str, Any] = {"name": "nothing", "id": "c"}
                for _ in range(2):
                    if user == "alice":
                        await socket.send({"type": "call", **ask})
                        await socket.expect("result")
                    else:
                        await server.ask("POST", "/v1/call", token=token, body=ask)
                await socket.send({"type": "call", **ask})
                assert (await socket.expect("error"))["code"] == "rate_limited"
                answer = await server.ask("POST", "/v1/call", token=token, body=ask)
                assert (answer.status, answer.code) == (429, "rate_limited")
    assert len(stage.calls) == 4


# Registering


def registering(function: Any) -> str:
    with pytest.raises((TypeError, ValueError)) as refused:
        handler("test_handlers")(function)
    assert "test_handlers" not in handlers.registered
    return str(refused.value)


async def untyped(call: Call, body: Any, more: Any) -> None: ...


async def undecodable(call: Call, body: trio.Event | dict[Any, Any]) -> None: ...


async def unknown_type(call: Call, body: NoSuchType) -> None: ...  # type: ignore[name-defined] # noqa: F821


def test_handlers_that_cannot_be() -> None:
    assert "async def" in registering(lambda call: None)
    assert "(call) or (call, body)" in registering(untyped)
    assert "NoSuchType" in registering(unknown_type)


def test_two_handlers_of_one_name() -> None:
    async def other(call: Call) -> None: ...

    with pytest.raises(ValueError, match="'nothing' have two handlers") as refused:
        handler("nothing")(other)
    assert "tests.support.handling.nothing" in str(refused.value)


MODULES = {
    "missing": (None, "ModuleNotFoundError", "looked for in the working directory"),
    "broken": ("import no_such_module_at_all", "no_such_module_at_all", "shows the same"),
    "wrong": ("1 +", "SyntaxError", "shows the same"),
    "exits": ("raise SystemExit(1)", "SystemExit", "shows the same"),
}


@pytest.mark.parametrize("case", sorted(MODULES))
def test_a_module_that_cannot_be_imported(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, cause, cure = MODULES[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    if text is not None:
        (tmp_path / f"{case}_handlers.py").write_text(text)
    with pytest.raises(CannotStart) as refused:
        load_handlers(f"{case}_handlers")
    assert cause in refused.value.detail
    assert cure in refused.value.cure


def test_a_module_of_the_working_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_handlers.py").write_text(
        "from pushd.handlers import handler\n\n"
        "@handler('found')\nasync def found(call, body: int): return body + 1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(handlers, "registered", handlers.registered.copy())
    monkeypatch.setattr("pushd.calls.loading.registered", handlers.registered)
    found = load_handlers("found_handlers")["found"]
    assert found.decoder is not None
    assert found.decoder.decode(b"1") == 1
    with pytest.raises(msgspec.ValidationError):
        found.decoder.decode(b'"1"')


def test_no_module_no_handlers() -> None:
    assert load_handlers(None) == {}
