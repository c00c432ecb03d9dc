"""Clients of the web engine that leave or stall: their connection ends, and nothing else does."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from pushd.front import lingering
from tests.support.app import KEY, Server, running_server, until
from tests.support.http import Peer, patience, request

LONG = request("GET", "/v1/channels?limit=1000", token=KEY)


def small(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """With a list of channels that no socket takes at once."""
    async with running_server(tmp_path, tune=small, write_timeout=60.0) as running:
        for start in range(0, 3000, 1000):
            channels = [f"{number:0240}" for number in range(start, start + 1000)]
            body = {"to": {"channels": channels}, "message": {"data": 1}}
            answer = await running.ask("POST", "/v1/publish", token=KEY, body=body)
            assert answer.status == 200
        yield running


def impatient(server: Server) -> None:
    """From now on whoever takes nothing is cut soon."""
    server.hub.flusher.write_timeout = 0.5


async def alone(server: Server) -> None:
    await until(lambda: not server.hub.connections)
    assert (await server.ask("GET", "/healthz")).status == 200


async def test_a_large_answer_arrives_whole(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(LONG)
        await until(lambda: server.hub.counters.handovers)
        assert len((await peer.answer()).json["items"]) == 1000
        assert await peer.is_closed()
    await alone(server)


async def test_a_reader_that_stalls_is_cut_at_the_deadline(server: Server) -> None:
    impatient(server)
    async with server.peer() as peer:
        await peer.write(LONG)
        await alone(server)
        rest = await peer.read_to_end()
        assert rest.startswith(b"HTTP/1.1 200")
        assert len(rest) < 280_000, "it got a part"


@pytest.mark.parametrize("when", ["at once", "after a part"])
@pytest.mark.parametrize("how", ["closes", "half-closes", "resets"])
async def test_a_client_that_leaves(server: Server, when: str, how: str) -> None:
    async with server.peer() as peer:
        await peer.write(LONG)
        if when == "after a part":
            await peer.read_exactly(1000)
        await leave(peer, how)
        await alone(server)


async def leave(peer: Peer, how: str) -> None:
    if how == "half-closes":
        await peer.stream.send_eof()
        return
    if how == "resets":
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await peer.stream.aclose()


async def test_a_client_that_never_closes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGER_S", 0.05)
    async with server.peer() as peer:
        assert (await peer.ask("GET", "/v1/nodes", token=KEY)).status == 200
        await alone(server)
        assert await peer.is_closed()


async def test_many_at_once(server: Server) -> None:
    lengths: list[int] = []

    async def one() -> None:
        answer = await server.ask("GET", "/v1/channels?limit=1000", token=KEY)
        lengths.append(len(answer.json["items"]))

    with patience():
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
    assert lengths == [1000] * 20
    await alone(server)


async def test_the_server_ends_while_a_client_stalls(server: Server) -> None:
    impatient(server)
    async with server.peer() as peer:
        await peer.write(LONG)
        await until(lambda: server.hub.counters.handovers)
        server.stopper.asked.set()
        await until(lambda: not server.hub.ready)
        await until(lambda: not server.hub.connections)
