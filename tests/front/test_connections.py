"""One connection, many requests: kept alive, pipelined, in pieces, and handed over."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import KEY, Server, failures, running_server, until
from tests.support.http import ConnectionLost, Peer, patience, request

PULL = request("GET", "/v1/channels/news/messages?after=0", token=KEY)
HELD = request("GET", "/v1/channels/news/messages?after=head&wait=60", token=KEY)
HEALTH = request("GET", "/healthz")
HOME = request("GET", "/")


def publish(data: object) -> bytes:
    return request("POST", "/v1/channels/news/messages", token=KEY, body={"data": data})


async def texts(peer: Peer) -> list[Any]:
    return [each["data"] for each in (await peer.answer()).json["messages"]]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost", 200), ("localhost:8080", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200)),
        *(("evil.example", 403), ("localhost.evil.example", 403), ("evil.example:80", 403)),
        *(("127.0.0.1.evil.example", 403), ("xlocalhost", 403)),
    ],
)
async def test_in_development_only_this_machine_is_served(
    tmp_path: Path, host: str, status: int
) -> None:
    """A page could give its own name the address of this machine, and all is allowed here."""
    async with running_server(tmp_path, dev=True) as server:
        answer = await server.ask("GET", "/healthz", headers={"Host": host})
        assert answer.status == status
        path = "/v1/channels/news/messages?after=0"
        answer = await server.ask("GET", path, token=KEY, headers={"Host": host})
        assert answer.status == status


async def test_many_requests_on_one_connection_and_on_fresh_ones(server: Server) -> None:
    async with server.peer() as peer:
        for number in range(1, 51):
            await peer.write(publish(number))
            assert (await peer.answer()).json["seq"] == number
            await peer.write(PULL)
            assert await texts(peer) == list(range(1, number + 1))
            assert (await server.ask("GET", "/readyz")).json["status"] == "ready"
        await until(lambda: server.hub.connections == 1)
    await until(lambda: server.hub.connections == 0)


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(PULL + publish("a") + PULL + publish("b") + PULL + HEALTH)
        assert await texts(peer) == []
        assert (await peer.answer()).status == 201
        assert await texts(peer) == ["a"]
        assert (await peer.answer()).status == 201
        assert await texts(peer) == ["a", "b"]
        assert (await peer.answer()).json == {"status": "ok"}


async def test_a_request_behind_a_held_poll_waits_its_turn(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(HELD + HEALTH)
        await until(lambda: server.hub.pulls.held)
        await peer.write(PULL + HELD)
        await server.publish("news", "now")
        assert await texts(peer) == ["now"]
        assert (await peer.answer()).json == {"status": "ok"}
        assert await texts(peer) == ["now"]
        await until(lambda: server.hub.pulls.held)
        await server.publish("news", "again")
        assert await texts(peer) == ["again"]


async def test_a_body_that_is_invited_behind_a_held_poll(server: Server) -> None:
    head, body = publish("invited")[: -len(b'{"data": "invited"}')], b'{"data": "invited"}'
    head = head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    async with server.peer() as peer:
        await peer.write(HELD)
        await until(lambda: server.hub.pulls.held)
        await peer.write(head)
        await server.publish("news", "now")
        assert await texts(peer) == ["now"]
        assert (await peer.answer()).status == 100
        await peer.write(body)
        assert (await peer.answer()).json["seq"] == 2


@pytest.mark.parametrize("first", [PULL, HELD, publish("now")], ids=["pull", "held", "publish"])
async def test_a_request_for_the_web_engine_behind_another(server: Server, first: bytes) -> None:
    async with server.peer() as peer:
        await peer.write(first + HOME + HEALTH)
        if first == HELD:
            await until(lambda: server.hub.pulls.held)
            await server.publish("news", "now")
        assert (await peer.answer()).status in (200, 201)
        page = await peer.answer()
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["connection"] == "close"
        assert await peer.is_closed(), "such a connection serves one request"


async def test_a_hand_over_behind_an_answer_that_the_socket_did_not_take(tmp_path: Path) -> None:
    def small(listener: socket.socket) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    async with running_server(tmp_path, tune=small) as server:
        for _ in range(16):
            await server.publish("news", "x" * 60_000)
        async with server.peer() as peer:
            await peer.write(PULL)
            await until(lambda: server.hub.counters.pulls)
            await peer.write(HOME)
            await until(lambda: server.hub.counters.bytes_in >= server_bytes(16))
            assert len((await peer.answer()).json["messages"]) == 16
            assert (await peer.answer()).headers["content-type"].startswith("text/html")


def server_bytes(publishes: int) -> int:
    return publishes * len(publish("x" * 60_000)) + len(PULL) + len(HOME)


async def test_answers_that_nobody_reads_stop_the_requests(tmp_path: Path) -> None:
    """A client that asks and asks and reads nothing: the server stops reading, too."""

    def small(listener: socket.socket) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

    async with running_server(tmp_path, tune=small, write_timeout=0.2) as server:
        await server.publish("news", "x" * 60_000)
        async with server.peer() as peer:
            before = server.hub.counters.bytes_in
            with pytest.raises(ConnectionLost):  # by the write deadline
                await flood(peer)
            assert server.hub.counters.bytes_in - before < 1_000_000
            await until(lambda: not server.hub.connections)


async def test_of_answers_that_nobody_reads_one_is_kept(tmp_path: Path) -> None:
    """However many were asked for in one packet; no two alike, those would count once."""
    path = "/v1/channels/news/messages?after=0&limit="
    limits = range(16, 0, -1)

    def small(listener: socket.socket) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    async with running_server(tmp_path, tune=small) as server:
        for _ in range(16):
            await server.publish("news", "x" * 60_000)
        kept = server.hub.flusher.kept
        async with server.peer() as peer:
            await peer.write(b"".join(request("GET", f"{path}{n}", token=KEY) for n in limits))
            await until(lambda: kept.size)
            assert kept.size < 16 * 61_000
            for limit in limits:
                assert len(await texts(peer)) == limit
                assert kept.size < 16 * 61_000


async def test_a_failure_of_ours_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection that serves on."""

    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    async with running_server(tmp_path, errors_expected=True) as server, server.peer() as peer:
        monkeypatch.setattr(server.hub.publisher, "submit", fail)
        await peer.write(publish(1) + HEALTH)
        answer = await peer.answer()
        assert (answer.status, answer.code) == (500, "internal")
        assert (await peer.answer()).json == {"status": "ok"}
    assert [each["event"] for each in failures(server.log)] == ["request failed"]


async def flood(peer: Peer) -> None:
    with patience():
        while True:
            await peer.write(PULL * 100)


@pytest.mark.parametrize("step", [1, 7])
async def test_in_small_pieces(server: Server, step: int) -> None:
    data = publish("small") + PULL
    async with server.peer() as peer:
        peer.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), step):
            await peer.write(data[at : at + step])
        assert (await peer.answer()).status == 201
        assert await texts(peer) == ["small"]


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_the_last_request_of_a_connection(server: Server, version: bytes) -> None:
    last = PULL.replace(b"HTTP/1.1\r\n", version + b"\r\nConnection: close\r\n")
    if version == b"HTTP/1.0":
        last = last.replace(b"Connection: close\r\n", b"").replace(b"Host: localhost\r\n", b"")
    async with server.peer() as peer:
        await peer.write(PULL + last + HEALTH)
        assert "connection" not in (await peer.answer()).headers
        assert (await peer.answer()).headers["connection"] == "close"
        assert await peer.is_closed()


async def test_a_peer_that_never_closes_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last answer it is waited for, so that the answer arrives; but not for ever."""
    monkeypatch.setattr("pushd.front.patience.LINGER_S", 0.1)
    async with running_server(tmp_path) as server, server.peer() as peer:
        answer = await peer.ask("GET", "/healthz", headers={"Connection": "close"})
        assert answer.status == 200
        await until(lambda: not server.hub.connections)


async def test_an_upgrade_that_is_not_taken_ends_the_connection(server: Server) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for path, status in [("/healthz", 400), ("/v1/channels/news/messages?after=0", 200)]:
        async with server.peer() as peer:
            await peer.write(request("GET", path, token=KEY, headers=upgrade) + HEALTH)
            answer = await peer.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert await peer.is_closed(), "the bytes behind it are in no known language"


async def test_a_peer_that_resets_harms_nobody(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(HELD)
        await until(lambda: server.hub.pulls.held)
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await until(lambda: not server.hub.pulls.held)
    assert (await server.ask("GET", "/healthz")).status == 200
