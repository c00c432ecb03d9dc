"""Peers that vanish without a FIN: the server notices, each way in its time, and keeps nothing.

``vanish`` is a machine without power: nobody acknowledges anything. ``freeze`` is a peer, or a box
in between, whose kernel still takes bytes and whose program does nothing with them.
"""

from __future__ import annotations

import socket as sockets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import trio

from pushd.happenings import SessionClosed
from pushd.live import LiveSession
from pushd.sse.session import HEARTBEAT
from tests.client.proxies import Proxy, proxied
from tests.support.app import KEY, Server, Socket, running_server, until
from tests.support.events import listening
from tests.support.http import Peer, request
from tests.support.vanishing import vanish

How = Literal["vanish", "freeze"]
HOWS = pytest.mark.parametrize("how", ["vanish", "freeze"])
FAST: dict[str, Any] = {
    "heartbeat_interval": 0.1,
    "heartbeat_timeout": 60.0,  # until the peer is gone: see ``silence_counts``
    "sse_heartbeat": 0.1,
    "idle_timeout": 0.5,
    "poll_grace": 0.2,
    "presence_grace": 0.1,
    "write_timeout": 0.3,
    "auth_timeout": 0.5,
    "head_timeout": 0.5,
    "body_timeout": 0.5,
}
SILENT_S = 1.0


@pytest.fixture(autouse=True)
def short_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushd.ws.session.CLOSE_S", 0.1)
    monkeypatch.setattr("pushd.ws.handshake.CLOSE_S", 0.1)
    monkeypatch.setattr("pushd.front.patience.LINGER_S", 0.1)
    monkeypatch.setattr("pushd.front.lingering.LINGER_S", 0.1)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, **FAST) as server:
        yield server


async def nothing_left(server: Server) -> None:
    """No connection, no record, no timer, no share of anything."""
    hub = server.hub
    await until(lambda: not hub.connections)
    await until(lambda: len(hub.wheel) == 0)  # the grace times are over, too
    assert not hub.presence.is_online("alice")
    assert not hub.sessions.by_id
    assert not hub.sessions.by_user
    assert not hub.pulls.held
    assert not hub.fanout.topics
    assert hub.pulls.shares is not None
    assert hub.pulls.shares.of("alice") == 0
    assert hub.bodies.used == 0


def silence_counts(server: Server) -> None:
    """From here on whoever is silent is soon gone; on a busy machine none was before."""
    server.hub.settings = replace(server.hub.settings, heartbeat_timeout=SILENT_S)
    for session in server.hub.sessions.by_id.values():
        assert isinstance(session, LiveSession)
        # As the acceptor does it, of what it accepts.
        after_ms = int(SILENT_S * 1000)
        session.out.sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT, after_ms)
        session.rearm()


def reasons(server: Server) -> list[tuple[int, str]]:
    """Fills with why sessions end."""
    ends: list[tuple[int, str]] = []
    server.hub.happenings.listen(
        SessionClosed,
        lambda event: ends.append((event.session.end_code, event.session.end_reason)),
    )
    return ends


class Gone:
    """Lets one peer of the server go, in one of the two ways."""

    def __init__(self, proxy: Proxy, how: How) -> None:
        self._proxy = proxy
        self._how = how
        self.address = ("127.0.0.1", proxy.port)

    def go(self) -> None:
        if self._how == "vanish":
            self._proxy.vanish()
        else:
            self._proxy.freeze()


@asynccontextmanager
async def leaving(server: Server, how: How) -> AsyncIterator[Gone]:
    async with proxied(server.port) as proxy:
        yield Gone(proxy, how)


@HOWS
@pytest.mark.parametrize("told", [False, True], ids=["idle", "hinted"])
async def test_a_websocket(server: Server, how: How, told: bool) -> None:
    """Also while hints are written that nobody acknowledges."""
    ends = reasons(server)
    async with leaving(server, how) as gone, await Socket.open(gone.address) as socket:
        await socket.upgrade("/v1/ws", token=server.token())
        await socket.expect("hello")
        gone.go()
        assert server.hub.sessions.by_id
        silence_counts(server)
        while told and server.hub.sessions.by_id:
            await server.publish("user:alice", 1)
            await trio.sleep(0.05)  # few enough for the system's buffers
        await nothing_left(server)
    assert ends == [(4008, "heartbeat missed")]
    counters = server.hub.counters
    assert counters.heartbeats_missed + counters.peers_vanished >= 1


async def test_a_websocket_before_its_token(server: Server) -> None:
    async with await Socket.open(("127.0.0.1", server.port)) as socket:
        await socket.upgrade("/v1/ws")
        vanish(socket.stream.socket)
        await nothing_left(server)


async def test_an_event_stream(server: Server) -> None:
    """Nothing comes from a listener: it is the kernel that misses acknowledgements."""
    ends = reasons(server)
    async with listening(server, token=server.token()) as stream:
        await stream.expect("hello")
        assert (await stream.event()).type == "heartbeat"
        [session] = server.hub.sessions.of_user("alice")
        before = session.last_seen
        assert (await stream.event()).type == "heartbeat"
        await until(lambda: session.last_seen > before)
        vanish(stream.peer.stream.socket)
        await trio.lowlevel.checkpoint()
        assert server.hub.sessions.by_id
        silence_counts(server)
        await nothing_left(server)
    assert server.hub.counters.peers_vanished == 1
    assert ends == [(4008, "heartbeat missed")]


async def test_when_an_event_stream_was_last_heard_of(server: Server) -> None:
    """When its kernel acknowledged something, not when something was said to it."""
    async with listening(server, token=server.token()) as stream:
        await stream.expect("hello")
        assert (await stream.event()).type == "heartbeat"
        [session] = server.hub.sessions.of_user("alice")

        async def five_heartbeats() -> None:
            """Said, a tenth of a second after each other."""
            enough = server.hub.counters.bytes_out + 5 * len(HEARTBEAT)
            await until(lambda: server.hub.counters.bytes_out >= enough)

        vanish(stream.peer.stream.socket)
        await five_heartbeats()  # a system may acknowledge a little later
        heard = session.last_seen
        await five_heartbeats()
        assert session.last_seen < heard + 0.2, "a system tells it in whole ticks"
        session.out.abort()


def poll(server: Server, *, many: bool, wait: float) -> bytes:
    if many:
        body = {"cursors": {"news": "0"}, "wait": wait}
        return request("POST", "/v1/pull", token=server.token(), body=body)
    target = f"/v1/channels/news/messages?after=0&wait={wait}"
    return request("GET", target, token=server.token())


@HOWS
@pytest.mark.parametrize("many", [False, True], ids=["single", "many"])
async def test_a_held_poll_whose_time_runs_out(server: Server, how: How, many: bool) -> None:
    async with leaving(server, how) as gone, await Peer.open(gone.address) as peer:
        await peer.write(poll(server, many=many, wait=0.5))
        await until(lambda: server.hub.pulls.held)
        gone.go()
        await until(lambda: not server.hub.pulls.held)
        await nothing_left(server)


@HOWS
async def test_a_held_poll_that_is_answered(server: Server, how: How) -> None:
    """Nobody waits for the answer to be taken; the connection goes when it was idle for long."""
    async with leaving(server, how) as gone, await Peer.open(gone.address) as peer:
        await peer.write(poll(server, many=False, wait=60))
        await until(lambda: server.hub.pulls.held)
        gone.go()
        await server.publish("news", 1)
        await nothing_left(server)


def small_buffers(listener: sockets.socket) -> None:
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)


@HOWS
async def test_an_answer_that_no_buffer_takes(tmp_path: Path, how: How) -> None:
    """A write that nobody acknowledges: only its own time-out is short here."""
    slow = {**FAST, "idle_timeout": 60.0, "body_timeout": 60.0, "max_body": 1 << 20}
    async with (
        running_server(tmp_path, tune=small_buffers, **slow) as server,
        leaving(server, how) as gone,
        await Peer.open(gone.address) as peer,
    ):
        await peer.write(poll(server, many=False, wait=60))
        await until(lambda: server.hub.pulls.held)
        gone.go()
        await server.publish("news", "x" * 1_000_000)
        await nothing_left(server)


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /v1/chan", b"POST /v1/ack HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"],
    ids=["nothing", "head", "body"],
)
async def test_a_request_that_is_never_finished(server: Server, begun: bytes) -> None:
    async with server.peer() as peer:
        await peer.write(begun)
        await until(lambda: server.hub.counters.connections_accepted)
        vanish(peer.stream.socket)
        await nothing_left(server)


async def test_a_publisher_that_does_not_see_its_ack(server: Server) -> None:
    """What it sent is stored; the connection goes when it has been idle for long enough."""
    async with server.peer() as peer:
        assert (await peer.ask("GET", "/healthz")).status == 200
        vanish(peer.stream.socket)
        body = {"data": 1, "id": "x"}
        await peer.write(request("POST", "/v1/channels/a/messages", token=KEY, body=body))
        await until(lambda: "a" in server.hub.log.heads)
        await nothing_left(server)


async def test_the_check_counts_what_it_has_ended(server: Server) -> None:
    """Each once, though nobody is there to answer the goodbye; and the user is offline at once."""
    async with AsyncExitStack() as stack:
        for user in ("alice", "alice", "bob"):
            socket = await stack.enter_async_context(server.socket(token=server.token(user)))
            await socket.expect("hello")
            vanish(socket.stream.socket)
        for session in server.hub.sessions.of_user("alice"):
            session.last_seen -= 61
        for checked, reaped in ((3, 2), (1, 0)):
            answer = await server.ask("POST", "/v1/heartbeat/check", token=KEY)
            assert answer.json == {"checked": checked, "reaped": reaped}
        assert not server.hub.sessions.by_user.get("alice")
        assert server.hub.counters.heartbeats_missed == 2
