"""How event streams live and end: heartbeats, slowness, goodbyes, leaving, expiry, the limits."""

from __future__ import annotations

import socket as sockets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.events import said
from pushd.sessions import Session
from pushd.sse.session import EventSession
from tests.support.app import Server, running_server, until
from tests.support.events import Event, EventStream, listening
from tests.support.http import ConnectionLost


async def gone(server: Server) -> None:
    """Nothing is left behind of any session."""
    await until(lambda: not server.hub.sessions.by_id)
    await until(lambda: not server.hub.connections)
    assert server.hub.sessions.by_user == {}
    assert server.hub.fanout.topics == {}
    assert len(server.hub.wheel) == 0


async def farewell(stream: EventStream, code: int) -> Event:
    """A bye, the proper end of the answer, and the end of the connection."""
    bye = await stream.expect("bye")
    assert bye.data["code"] == code
    with pytest.raises(EOFError):
        await stream.event()
    assert await stream.peer.is_closed()
    return bye


def stuff(session: Session) -> None:
    """More than the buffers of the system take from one who does not read."""
    session.link.write(said("stuffing", text="x" * (1 << 20)))
    assert session.out.hold


async def test_heartbeats(tmp_path: Path) -> None:
    async with running_server(tmp_path, sse_heartbeat=0.1) as server:
        async with listening(server, token=server.token()) as stream:
            assert (await stream.event()).data["heartbeat_s"] == 0.1
            for _ in range(3):
                event = await stream.event()
                assert (event.type, event.data, event.id) == (
                    "heartbeat",
                    {"type": "heartbeat"},
                    None,
                )
        await gone(server)


async def test_nothing_is_said_before_hello(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its marks take long to load; heartbeats are due meanwhile."""
    async with running_server(tmp_path, sse_heartbeat=0.05) as server:
        load = server.hub.log.load_marks

        async def load_late(*arguments: Any) -> None:
            [opening] = server.hub.sessions.by_id.values()
            assert isinstance(opening, EventSession)
            first = opening._beat
            await until(lambda: opening._beat > first)
            load(*arguments)

        monkeypatch.setattr(
            server.hub.log, "load_marks", lambda *given: server.hub.start_job(load_late, *given)
        )
        async with listening(server, token=server.token()) as stream:
            assert (await stream.event()).type == "hello"
            assert (await stream.event()).type == "heartbeat"


@pytest.mark.parametrize("how", ["half-close", "close", "reset"])
async def test_leaving(server: Server, how: str) -> None:
    async with listening(server, "channels=news", token=server.token()) as stream:
        await stream.expect("hello")
        if how == "half-close":
            await stream.peer.stream.send_eof()
            await gone(server)
        elif how == "reset":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            stream.peer.stream.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, linger)
    await gone(server)
    await server.publish("news", 1)


async def test_leaving_before_hello(server: Server) -> None:
    for _ in range(20):
        async with listening(server, token=server.token()):
            pass
    await gone(server)


async def test_a_goodbye_says_when_to_come_again(server: Server) -> None:
    async with listening(server, "channels=news", token=server.token()) as stream:
        await stream.expect("hello")
        [session] = server.hub.sessions.of_user("alice")
        session.bye(4009, "kicked", 1500)
        session.bye(1012, "restart")  # once is enough
        await server.publish("news", 1)
        bye = await farewell(stream, 4009)
        assert (bye.data["reconnect"], bye.data["reason"], bye.retry_ms) == (False, "kicked", 1500)
    await gone(server)


async def test_at_the_end_of_the_server(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        listening(server, token=server.token()) as stream,
        listening(server, f"token={server.token('bob')}", version="1.0") as old,
    ):
        await stream.expect("hello")
        await old.expect("hello")
        server.stopper.asked.set()
        assert (await farewell(stream, 1012)).data["reconnect"] is True
        assert (await old.expect("bye")).data["code"] == 1012
        assert await old.peer.is_closed()


async def test_a_token_that_runs_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(server, token=server.token(ttl_s=3600)) as stream:
        await stream.expect("hello")
        [session] = server.hub.sessions.of_user("alice")
        later = time.time() + 7200
        monkeypatch.setattr(time, "time", lambda: later)
        session.expire()
        assert (await farewell(stream, 4001)).data["reason"] == "token_expired"
    await gone(server)


async def test_a_token_that_runs_out_soon(tmp_path: Path) -> None:
    """The wheel sees to it, long before the next heartbeat."""
    async with (
        running_server(tmp_path, sse_heartbeat=600) as server,
        listening(server, token=server.token(ttl_s=300)) as stream,
    ):
        await stream.expect("hello")
        [session] = server.hub.sessions.of_user("alice")
        assert session.deadline <= trio.current_time() + 300
        session.identity = replace(session.identity, expires=time.time() + 0.1)
        assert isinstance(session, EventSession)
        session.rearm()
        await farewell(stream, 4001)


async def test_too_many_sessions_of_a_user_come_again(tmp_path: Path) -> None:
    """Told within the stream: after a 503 an EventSource would give up for good."""
    async with running_server(tmp_path, max_connections_per_user=1) as server:
        async with listening(server, token=server.token()) as first:
            await first.expect("hello")
            async with listening(server, token=server.token()) as second:
                bye = await farewell(second, 1013)
                assert (bye.data["reason"], bye.data["reconnect"]) == ("overloaded", True)
                assert bye.retry_ms == bye.data["retry_after_ms"] >= 1000
            assert len(server.hub.sessions.by_id) == 1
        await gone(server)


async def test_a_slow_listener_gets_the_newest_and_little_else(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, write_timeout=60) as server,
        listening(server, "channels=a,b", token=server.token()) as stream,
    ):
        await stream.expect("hello")
        [slow] = server.hub.sessions.of_user("alice")
        stuff(slow)
        tail, sent = slow.out.tail_bytes, server.hub.counters.hints_sent
        for number in range(1, 501):
            for channel in "ab":
                server.hub.fanout.advance(channel, ("zzzzzzzzz", number))
            await trio.lowlevel.checkpoint()
        assert slow.out.tail_bytes <= tail, "not a byte for a hint"
        assert server.hub.counters.hints_sent == sent
        assert len(slow.pending) == 2
        hints: list[tuple[str, int]] = []
        while len(hints) < 2:
            event = await stream.event()
            if event.type == "hint":
                hints.append((event.data["channel"], event.data["seq"]))
        assert sorted(hints) == [("a", 500), ("b", 500)]


async def test_one_that_takes_nothing_is_cut(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, write_timeout=0.1) as server,
        listening(server, token=server.token()) as stream,
    ):
        await stream.expect("hello")
        [slow] = server.hub.sessions.of_user("alice")
        stuff(slow)
        await gone(server)


async def test_a_request_behind_the_stream_gets_no_answer_and_keeps_nothing(
    server: Server,
) -> None:
    async with listening(server, token=server.token()) as stream:
        await stream.expect("hello")
        await stream.peer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        await server.publish("user:alice", 1)
        assert await stream.hint() == ("user:alice", 1)
        [session] = server.hub.sessions.of_user("alice")
        session.bye(1012, "restart")
        await farewell(stream, 1012)
    await gone(server)


async def test_given_up_with_a_request_behind_it(server: Server) -> None:
    """The connection's task waits for its turn then, not for the socket."""
    async with listening(server, token=server.token()) as stream:
        await stream.expect("hello")
        received = server.hub.counters.bytes_in
        await stream.peer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: server.hub.counters.bytes_in > received)
        [session] = server.hub.sessions.of_user("alice")
        session.out.abort()
        await gone(server)


async def test_the_kernel_looks_for_peers_that_are_gone(server: Server) -> None:
    """Nothing comes from a listener: only unacknowledged heartbeats tell."""
    async with listening(server, token=server.token()) as stream:
        await stream.expect("hello")
        [session] = server.hub.sessions.of_user("alice")
        option = (sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT)
        assert session.out.sock.getsockopt(*option) == 60_000


async def test_a_session_that_is_given_up(server: Server) -> None:
    """By fan-out, in the middle of a write: its own task cleans up."""
    async with listening(server, "channels=news", token=server.token()) as stream:
        await stream.expect("hello")
        [session] = server.hub.sessions.of_user("alice")
        session.out.abort()
        with pytest.raises(ConnectionLost):
            await stream.event()
    await gone(server)


async def test_another_identity_of_the_session_ends_sooner(server: Server) -> None:
    async with listening(server, token=server.token()) as stream:
        await stream.expect("hello")
        [session] = server.hub.sessions.of_user("alice")
        session.identity = replace(session.identity, expires=time.time())
        server.hub.wheel.arm(session, trio.current_time())
        await farewell(stream, 4001)
