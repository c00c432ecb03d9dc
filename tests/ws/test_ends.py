"""How sessions end: closing, leaving, silence, expiry, too much unread, and the server's end."""

from __future__ import annotations

import json
import socket as sockets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from pushd.core.wheel import Expiring
from pushd.ws.session import WebSocketSession
from tests.support.app import Server, Socket, failures, running_server, until
from tests.support.http import ConnectionLost, patience
from tests.support.sessions import LONG_S, ask, overdue, session, stuff
from tests.support.websocket import CLOSE, PING, PONG, TEXT, Closed


async def gone(server: Server) -> None:
    """Nothing is left behind of any session."""
    await until(lambda: not server.hub.sessions.by_id)
    await until(lambda: not server.hub.connections)
    await until(lambda: not server.hub.fanout.topics)  # a pass may be under way
    assert server.hub.sessions.by_user == {}
    assert len(server.hub.wheel) == 0


async def farewell(socket: Socket, code: int) -> dict[str, Any]:
    """A bye, then the close frame of the same code."""
    bye = await socket.expect("bye")
    assert bye["code"] == code
    with pytest.raises(Closed) as closed:
        await socket.message()
    assert closed.value.code == code
    return bye


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_closing_is_answered(server: Server, code: int) -> None:
    async with session(server) as socket:
        await socket.send_frame(CLOSE, code.to_bytes(2, "big") + b"bye")
        opcode, payload = await socket.frame()
        assert opcode == CLOSE
        assert payload[:2] == code.to_bytes(2, "big")
        assert await socket.read_to_end() == b""
    await gone(server)


async def test_closing_without_a_code(server: Server) -> None:
    async with session(server) as socket:
        await socket.send_frame(CLOSE, b"")
        assert (await socket.frame())[0] == CLOSE
    await gone(server)


@pytest.mark.parametrize("how", ["half-close", "close", "reset"])
async def test_leaving_without_a_word(server: Server, how: str) -> None:
    async with session(server) as socket:
        if how == "half-close":
            await socket.stream.send_eof()
            assert await socket.read_to_end() == b""
        elif how == "reset":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            socket.stream.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, linger)
    await gone(server)
    await server.publish("user:alice", 1)


async def test_leaving_before_hello(server: Server) -> None:
    for _ in range(20):
        async with server.socket(token=server.token()):
            pass
    async with server.socket():
        pass  # no token yet
    await gone(server)


async def test_pings_are_answered_with_what_they_carry(server: Server) -> None:
    async with session(server) as socket:
        for payload in (b"", b"12345", b"x" * 125):
            await socket.send_frame(PING, payload)
            assert await socket.frame() == (PONG, payload)
        await socket.send_frame(PONG, b"unasked")
        assert (await ask(socket, "ping"))["type"] == "pong"


# Who is silent is pinged after a second, and ended after one more.
QUICK: dict[str, Any] = {"heartbeat_interval": 0.1, "heartbeat_timeout": 1.9}


async def test_silence_is_pinged_and_then_ended(tmp_path: Path) -> None:
    async with running_server(tmp_path, **QUICK) as server:
        async with server.socket(token=server.token()) as socket:
            assert (await socket.expect("hello"))["heartbeat_s"] == 0.1
            assert await socket.frame() == (PING, b"")  # and no answer to it
            bye = await farewell(socket, 4008)
            assert bye["reconnect"] is True
        assert server.hub.counters.heartbeats_missed == 1
        await gone(server)


async def test_nobody_is_ended_unasked(server: Server) -> None:
    """A server that stood still has heard nobody: whoever answers its ping now, stays."""
    settings = server.hub.settings
    async with session(server) as socket:
        [live] = server.hub.sessions.by_id.values()
        assert isinstance(live, WebSocketSession)
        live.last_seen -= settings.heartbeat_timeout + 1
        for _ in range(2):
            live.expire()
            assert live.deadline > trio.current_time() + 1
        assert await socket.frame() == (PING, b"")
        await socket.send_frame(PONG, b"")
        await until(lambda: live.pinged is None)
        live.last_seen -= settings.heartbeat_timeout + 1
        live.expire()
        assert await socket.frame() == (PING, b"")
        live.pinged = trio.current_time() - settings.heartbeat_timeout
        live.expire()
        await farewell(socket, 4008)
    await gone(server)


async def test_what_came_while_the_loop_stood_still_is_read_first(server: Server) -> None:
    """Only then it is seen who was silent."""
    order: list[str] = []

    class Watched(Expiring):
        def expire(self) -> None:
            order.append("expired")

    async def read() -> None:
        while True:
            await trio.lowlevel.wait_readable(theirs)
            theirs.recv(1)
            order.append("read")

    ours, theirs = sockets.socketpair()
    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for _ in range(10):
                order.clear()
                await trio.testing.wait_all_tasks_blocked()
                server.hub.wheel.arm(Watched(), trio.current_time() + 0.05)
                ours.send(b"x")
                time.sleep(0.1)  # the loop stands still
                await until(lambda: len(order) == 2)
                assert order == ["read", "expired"]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("sign", ["pong", "heartbeat"])
async def test_any_sign_of_life_keeps_a_session(tmp_path: Path, sign: str) -> None:
    """Each time it is as if nothing had ever been missed."""
    slow = {"heartbeat_interval": 0.1, "heartbeat_timeout": 60.0}
    async with running_server(tmp_path, **slow) as server, session(server) as socket:
        [live] = server.hub.sessions.by_id.values()
        assert isinstance(live, WebSocketSession)
        for _ in range(3):
            live.last_seen -= 40.0  # pinged at thirty
            live.expire()
            assert await socket.frame() == (PING, b"")
            assert live.pinged is not None
            if sign == "pong":
                await socket.send_frame(PONG, b"")
            else:
                await socket.send({"type": "ping"})
                assert json.loads((await socket.frame())[1]) == {"type": "pong"}
            await until(lambda: live.pinged is None)
            assert live.last_seen > trio.current_time() - 30.0
        assert server.hub.counters.heartbeats_missed == 0


async def test_at_its_tokens_end_a_session_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is refreshed."""
    async with session(server, ttl_s=3600) as socket, session(server, ttl_s=3600) as refreshed:
        token = server.token("alice", ttl_s=9000)
        assert (await ask(refreshed, "refresh", token=token))["type"] == "refreshed"
        later = time.time() + 7200
        monkeypatch.setattr(time, "time", lambda: later)
        for live in list(server.hub.sessions.by_id.values()):
            live.expire()
        bye = await farewell(socket, 4001)
        assert (bye["reason"], bye["reconnect"]) == ("token_expired", False)
        assert (await ask(refreshed, "ping"))["type"] == "pong"


async def test_a_token_that_ends_sooner_ends_the_session_sooner(tmp_path: Path) -> None:
    """The wheel sees to it, long before it would look for a heartbeat."""
    rare = {"heartbeat_interval": 1800.0, "heartbeat_timeout": 3600.0}
    async with running_server(tmp_path, **rare) as server:
        async with session(server) as socket:
            [live] = server.hub.sessions.by_id.values()
            await socket.send({"type": "refresh", "token": server.token("alice", ttl_s=600)})
            await socket.expect("refreshed")
            assert 500 < live.deadline - trio.current_time() <= 600
            live.identity = replace(live.identity, expires=time.time() + 0.05)
            live.rearm()  # type: ignore[attr-defined]
            assert (await farewell(socket, 4001))["reason"] == "token_expired"
        await gone(server)


async def test_a_time_out_that_fails_harms_no_other(tmp_path: Path) -> None:
    class Broken(Expiring):
        def expire(self) -> None:
            raise RuntimeError("a bug")

    async with running_server(tmp_path, errors_expected=True, **QUICK) as server:
        server.hub.wheel.arm(Broken(), 0.0)
        await until(lambda: len(server.hub.wheel) == 0)
        async with session(server) as socket:
            assert await socket.frame() == (PING, b"")
            await farewell(socket, 4008)
    assert [each["event"] for each in failures(server.log)] == ["a time-out could not be handled"]


async def flood(socket: Socket, opcode: int, payload: bytes) -> None:
    """Ask and ask, and read nothing."""
    with patience():
        while True:
            await socket.send_frame(opcode, payload)


@pytest.mark.parametrize("opcode", [TEXT, PING], ids=["frames", "pings"])
async def test_who_reads_no_answers_is_cut(tmp_path: Path, opcode: int) -> None:
    payload = b'{"type":"unknown"}' if opcode == TEXT else b"x" * 125
    async with (
        running_server(tmp_path, outgoing_buffer=65536) as server,
        session(server) as socket,
        session(server, "bob") as other,
    ):
        live = await stuff(server, socket)
        if opcode == PING:  # answers to frames are bounded; for those, the library waits
            overdue(server, live)
        with pytest.raises(ConnectionLost):
            await flood(socket, opcode, payload)
        assert (await ask(other, "ping"))["type"] == "pong"
        await until(lambda: len(server.hub.sessions.by_id) == 1)


async def test_who_takes_no_hints_is_cut_at_the_deadline(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        async with session(server) as socket:
            overdue(server, await stuff(server, socket))
            number = 0
            with patience():
                while server.hub.sessions.by_id:
                    number += 1
                    server.hub.fanout.advance("user:alice", ("zzzzzzzzz", number))
                    await trio.lowlevel.checkpoint()
        await gone(server)


async def test_a_frame_at_the_limit_and_one_beyond(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_body=2048) as server, session(server) as socket:
        room = 2048 - len('{"type":"ping","pad":""}')
        assert (await ask(socket, "ping", pad="x" * room))["type"] == "pong"
        await socket.send({"type": "ping", "pad": "x" * (room + 1)})
        with pytest.raises(Closed) as closed:
            await socket.message()
        assert closed.value.code == 1009
        await gone(server)


async def test_the_end_of_the_server(server: Server) -> None:
    async with session(server) as one, session(server, "bob") as two:
        server.stopper.asked.set()
        for socket in (one, two):
            bye = await farewell(socket, 1012)
            assert bye["reconnect"] is True
            assert 0 <= bye["retry_after_ms"] <= 2000
            assert await socket.read_to_end() == b""
    await gone(server)


async def test_nothing_is_said_after_a_bye(server: Server) -> None:
    async with session(server) as socket:
        [live] = server.hub.sessions.by_id.values()
        live.bye(4009, "kicked")
        server.hub.fanout.advance("user:alice", ("zzzzzzzzz", 1))
        await socket.send({"type": "ping"})
        assert (await socket.expect("bye"))["code"] == 4009
        opcode, payload = await socket.frame()
        assert (opcode, payload) == (CLOSE, (4009).to_bytes(2, "big") + b"kicked")
        assert not socket._buffer
        await socket.send_frame(CLOSE, payload)
        assert await socket.read_to_end() == b""
    await gone(server)


async def test_nothing_is_done_after_a_bye(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a peer that takes nothing, so that the close cannot go out."""
    monkeypatch.setattr("pushd.ws.session.CLOSE_S", LONG_S)
    await server.publish("news", 1)
    async with session(server, publish=["*"]) as socket:
        live = await stuff(server, socket)
        live.bye(4009, "kicked")
        before = server.hub.counters.frames_in
        message = {"to": {"channels": ["news"]}, "message": {"data": 2}}
        await socket.send({"type": "publish", "id": "late", **message})
        await until(lambda: server.hub.counters.frames_in > before)
        assert (await server.publish("news", 3))["seq"] == 2
    await gone(server)


async def test_a_goodbye_waits_for_a_slow_peer_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.ws.session.CLOSE_S", LONG_S)
    async with running_server(tmp_path) as server:
        async with session(server) as socket:
            live = await stuff(server, socket)
            live.bye(4009, "kicked")
            assert live.out.tail_bytes, "it is kept"
            while (await socket.frame())[0] != CLOSE:
                pass
        await gone(server)
        monkeypatch.setattr("pushd.ws.session.CLOSE_S", 0.05)
        async with session(server) as socket:
            (await stuff(server, socket)).bye(4009, "kicked")
            await gone(server)
