"""Sockets that fall silent are closed, and those that only do what RFC 6455 asks are not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio

from tests.support.gauges import gauge_reaches
from tests.support.server import ServerProcess
from tests.support.websocket import CLOSE, PING, PONG, TEXT, Closed, WebSocket

SOON_S = 8  # the end of a token; until then a busy machine has opened a session
FAST_CHECK = {"heartbeat_check_interval": "10ms"}
# Pinged after three seconds of silence, and removed two later.
FAST = {"heartbeat_interval": "1s", "heartbeat_timeout": "5s", **FAST_CHECK}
# As much is left to answer as passes before the ping, also for a machine that is busy.
PATIENT = {"heartbeat_interval": "100ms", "heartbeat_timeout": "11s", **FAST_CHECK}
BOUND_S = 120


async def open_session(server: ServerProcess, user: str, ttl_s: float = 3600) -> WebSocket:
    """Past its hello."""
    socket = await WebSocket.open(server.address)
    await socket.upgrade("/v1/ws", token=server.token(user, ttl_s=ttl_s))
    hello = await socket.message()
    assert (hello["type"], hello["user"]) == ("hello", user)
    return socket


async def test_a_silent_socket_is_pinged_told_and_removed(tmp_path: Path) -> None:
    async with (
        ServerProcess(tmp_path, **FAST) as server,
        await open_session(server, "silent") as socket,
    ):
        with trio.fail_after(BOUND_S):
            assert (await socket.frame())[0] == PING
            opcode, bye = await socket.frame()
            assert opcode == TEXT
            assert b'"code":4008' in bye
            assert b'"reconnect":true' in bye
            opcode, close = await socket.frame()
            assert (opcode, close[:2]) == (CLOSE, (4008).to_bytes(2, "big"))
            await gauge_reaches(server, "pushd_sessions", 0)
            assert await socket.read_to_end() == b""


async def test_one_that_only_answers_pings_stays(tmp_path: Path) -> None:
    """Any WebSocket library does that by itself. More pings than a silent one would live to see."""
    async with (
        ServerProcess(tmp_path, **PATIENT) as server,
        await open_session(server, "polite") as socket,
    ):
        with trio.fail_after(BOUND_S):
            for _ in range(2):
                opcode, payload = await socket.frame()
                assert opcode == PING
                await socket.send_frame(PONG, payload)
        await gauge_reaches(server, "pushd_sessions", 1)
        await socket.send({"type": "ping"})
        assert await socket.message() == {"type": "pong"}


async def test_a_peer_that_vanished_is_removed(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        socket = await open_session(server, "vanishes")
        socket.close()
        with trio.fail_after(BOUND_S):
            await gauge_reaches(server, "pushd_sessions", 0)


async def test_the_end_of_a_token_is_the_end_of_the_session(tmp_path: Path) -> None:
    """With heartbeats as they come, so that nothing but the token can be the reason."""
    async with ServerProcess(tmp_path) as server, trio.open_nursery() as nursery:
        nursery.start_soon(expire, server)
        nursery.start_soon(refresh_for_longer, server)
        nursery.start_soon(refresh_for_shorter, server)


async def expire(server: ServerProcess) -> None:
    async with await open_session(server, "short", ttl_s=SOON_S) as socket:
        await end_by_token(socket)


async def refresh_for_longer(server: ServerProcess) -> None:
    """It outlives its first token, up to the end of the second one."""
    until = time.time() + SOON_S
    async with await open_session(server, "renewed", ttl_s=SOON_S) as socket:
        token = server.token("renewed", ttl_s=SOON_S + 1)
        await socket.send({"type": "refresh", "token": token})
        assert (await socket.message())["type"] == "refreshed"
        await end_by_token(socket)
        assert time.time() > until  # by the clock that ends tokens


async def refresh_for_shorter(server: ServerProcess) -> None:
    async with await open_session(server, "cut", ttl_s=3600) as socket:
        await socket.send({"type": "refresh", "token": server.token("cut", ttl_s=SOON_S)})
        assert (await socket.message())["type"] == "refreshed"
        await end_by_token(socket)


async def end_by_token(socket: WebSocket) -> None:
    with trio.fail_after(BOUND_S):
        bye = await socket.message()
        assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", 4001, False)
        with pytest.raises(Closed) as closed:
            await socket.message()
    assert closed.value.code == 4001


async def test_a_token_that_has_expired_already_is_told_after_the_upgrade(tmp_path: Path) -> None:
    """A browser shows no status of a refused one."""
    async with ServerProcess(tmp_path) as server, await WebSocket.open(server.address) as socket:
        await socket.upgrade("/v1/ws", token=server.token("late", ttl_s=-10))
        bye = await socket.message()
        assert (bye["code"], bye["reason"]) == (4001, "token_expired")
        with pytest.raises(Closed) as closed:
            await socket.message()
        assert closed.value.code == 4001
