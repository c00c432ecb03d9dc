"""Limits of users, addresses and the loop: at the limit all is well, one beyond is told so."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pushd.errors import Overloaded, RateLimited, TooLarge
from pushd.limits import Addresses, Quota, Shares
from pushd.sessions import Session
from tests.hostile.node import serves_on
from tests.support.app import Server, Socket, running_server, until
from tests.support.http import ConnectionLost, Peer, patience, request
from tests.support.quiet import HEAD_S, now_slow
from tests.support.sessions import ask, session
from tests.support.websocket import Closed

# -- sessions and held polls of one user -------------------------------------------------------


async def hold(server: Server, stack: AsyncExitStack, user: str = "alice") -> Peer:
    peer = await stack.enter_async_context(server.peer())
    before = len(server.hub.pulls.held)
    target = "/v1/channels/news/messages?after=head&wait=600"
    await peer.write(request("GET", target, token=server.token(user)))
    await until(lambda: len(server.hub.pulls.held) > before)
    return peer


async def refused_session(server: Server, user: str = "alice") -> dict[str, Any]:
    async with server.socket(token=server.token(user)) as socket:
        bye = await socket.expect("bye")
        with pytest.raises(Closed) as closed:
            await socket.message()
        assert closed.value.code == bye["code"] == 1013
        return bye


async def refused_polls(server: Server, user: str = "alice") -> None:
    token = server.token(user)
    single = await server.pull("news", token, after="head", wait=30)
    body = {"cursors": {"news": "0"}, "mine": True, "wait": 30}
    multi = await server.ask("POST", "/v1/pull", token=token, body=body)
    for answer in (single, multi):
        assert (answer.status, answer.code) == (503, "overloaded")
        assert 1 <= int(answer.headers["retry-after"]) <= 60


@pytest.mark.parametrize("sessions", [0, 2, 3])
async def test_sessions_and_held_polls_of_one_user(tmp_path: Path, sessions: int) -> None:
    """Three in all, in any mixture; others, services, and pulls that wait for nothing go on."""
    async with (
        running_server(tmp_path, max_connections_per_user=3, max_wait=600.0) as server,
        AsyncExitStack() as stack,
    ):
        for _ in range(sessions):
            await stack.enter_async_context(session(server))
        polls = [await hold(server, stack) for _ in range(3 - sessions)]
        bye = await refused_session(server)
        assert bye["reason"] == "overloaded"
        assert bye["reconnect"] is True
        assert bye["retry_after_ms"] >= 1000
        await refused_polls(server)
        assert (await server.pull("news", server.token(), after=0)).status == 200
        await hold(server, stack, "bob")
        if polls:
            await polls[0].stream.aclose()
            await until(lambda: len(server.hub.pulls.held) == len(polls))  # bob's is one
            async with session(server):
                await refused_polls(server)
        await serves_on(server)
        await server.publish("news", "now")  # every poll is answered, and counts no more
        await until(lambda: not server.hub.pulls.held)
    assert server.hub.pulls.shares is not None
    assert server.hub.pulls.shares.of("alice") == 0


# -- new channels -------------------------------------------------------------------------------


async def test_channels_that_a_user_may_begin(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_new_channels=3) as server:
        token = server.token("alice", publish=["*"])

        async def begin(name: str, token: str = token) -> Any:
            body = {"data": 1}
            return await server.ask("POST", f"/v1/channels/{name}/messages", token=token, body=body)

        for name in "abc":
            assert (await begin(name)).status == 201
        answer = await begin("d")
        assert (answer.status, answer.code) == (429, "rate_limited")
        assert 3000 <= int(answer.headers["retry-after"]) <= 3601
        body = {"to": {"channels": ["a", "e"]}, "message": {"data": 1}}
        answer = await server.ask("POST", "/v1/publish", token=token, body=body)
        assert (answer.status, answer.code) == (429, "rate_limited")
        body["to"] = {"channels": list("efgh")}
        answer = await server.ask("POST", "/v1/publish", token=token, body=body)
        assert (answer.status, answer.code) == (413, "too_large"), "waiting would not help"
        assert server.hub.log.heads["a"].seq == 1, "all or none"
        async with session(server, "alice", publish=["*"]) as socket:
            await socket.send(
                {"type": "publish", "id": "1", "to": {"channels": ["f"]}, "message": {"data": 1}}
            )
            error = await socket.expect("error")
            assert (error["code"], error["id"]) == ("rate_limited", "1")
        assert (await begin("a")).status == 201, "what is there may be written to"
        assert (await begin("g", server.token("bob", publish=["*"]))).status == 201
        for name in "hijkl":
            await server.publish(name)  # a service begins as many as it likes
        assert (await begin("h")).status == 201, "begun by somebody else"
        assert set(server.hub.log.heads) == set("abcghijkl")


async def test_a_burst_into_one_new_channel_begins_one(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, max_new_channels=1) as server,
        session(server, "alice", publish=["*"]) as socket,
    ):
        for number in range(200):
            message = {"data": number}
            to = {"channels": ["room"]}
            await socket.send({"type": "publish", "id": str(number), "to": to, "message": message})
        seqs = [(await socket.expect("published"))["results"][0]["seq"] for _ in range(200)]
        assert seqs == list(range(1, 201))


# -- addresses ---------------------------------------------------------------------------------


async def test_connections_of_one_address(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_connections_per_address": 3, "trusted_proxies": ()}
    async with running_server(tmp_path, **limits) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(server.peer()) for _ in range(3)]
        for peer in peers:
            assert (await peer.ask("GET", "/healthz")).status == 200
        async with server.peer() as refused:
            answer = await refused.answer()
            assert (answer.status, answer.code) == (503, "overloaded")
            assert 3 <= int(answer.headers["retry-after"]) <= 10
            assert await refused.is_closed()
        await peers[0].stream.aclose()
        await until(lambda: server.hub.connections == 2)
        assert (await server.ask("GET", "/healthz")).status == 200


@pytest.mark.usefixtures("never_slow")
async def test_proxies_bring_many_clients(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_connections_per_address": 1, "max_handshakes_per_address": 1}
    limits["head_timeout"] = HEAD_S
    async with running_server(tmp_path, **limits) as server, AsyncExitStack() as stack:
        quiet = [await stack.enter_async_context(server.peer()) for _ in range(5)]
        await until(lambda: server.hub.connections == 5)
        now_slow(server)
        for peer in quiet:
            assert (await peer.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("127.0.0.1", None),
        ("127.1.2.3", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("10.1.2.3", None),
        ("11.1.2.3", "11.1.2.3"),
        ("::ffff:11.1.2.3", "11.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_who_counts_as_one_address(address: str, key: str | None) -> None:
    assert Addresses(["127.0.0.0/8", "::1/128", "10.0.0.0/8"]).key(address) == key


# -- a late loop ---------------------------------------------------------------------------------


async def test_a_late_loop_sheds_newcomers_and_serves_who_is_here(tmp_path: Path) -> None:
    # A tick so rare that the lag stays as it is set.
    rare: dict[str, Any] = {"heartbeat_check_interval": 600.0, "heartbeat_interval": 1500.0}
    rare |= {"heartbeat_timeout": 3600.0, "shed_lag": 1.0}
    async with running_server(tmp_path, **rare) as server, session(server) as here:
        async with server.peer() as kept:
            assert (await kept.ask("GET", "/healthz")).status == 200
            server.hub.lag_s = 1.0
            assert (await server.ask("GET", "/healthz")).status == 200, "at the limit"
            server.hub.lag_s = 1.01
            async with server.peer() as newcomer:
                answer = await newcomer.answer()
                assert (answer.status, answer.code) == (503, "overloaded")
                assert 3 <= int(answer.headers["retry-after"]) <= 10
            assert server.hub.counters.connections_refused == 1
            assert (await kept.ask("GET", "/healthz")).status == 200
            upgrade = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version": "13",
            }
            answer = await kept.ask("GET", "/v1/ws", headers=upgrade)
            assert (answer.status, answer.code) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 3
            assert server.hub.counters.shed == 2
        await here.send({"type": "ping"})
        await here.expect("pong")
        server.hub.lag_s = 0.0
        await serves_on(server)


async def test_the_lag_is_seen(tmp_path: Path) -> None:
    """The loop is held up once; until the next tick it counts as late."""
    async with running_server(tmp_path, shed_lag=0.01) as server:
        seen = []
        while not seen:
            time.sleep(0.05)
            await trio.lowlevel.checkpoint()
            seen = [server.hub.lag_s] if server.hub.overloaded else []
        with patience():  # a busy machine may be as late again
            while not await is_served(server):
                pass


async def is_served(server: Server) -> bool:
    """Whoever is turned away may be so before the request is out."""
    try:
        return (await server.ask("GET", "/healthz")).status == 200
    except ConnectionLost:
        return False


# -- one user cannot take the log from the others -------------------------------------------------


async def test_frames_that_wait_for_the_log_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that asks and asks has its share under way; what others ask comes in between."""
    async with running_server(tmp_path) as server, session(server) as greedy:
        waiting: list[Any] = []
        load = server.hub.log.load_marks
        monkeypatch.setattr(server.hub.log, "load_marks", lambda *given: waiting.append(given))
        for _ in range(500):
            await greedy.send({"type": "subscribe", "channels": {"news": "0"}})
        await until(lambda: len(waiting) == 64)
        for _ in range(200):
            await trio.lowlevel.checkpoint()
        assert len(waiting) == 64
        assert _of(server, "alice").last_seen
        monkeypatch.setattr(server.hub.log, "load_marks", load)
        for given_ in waiting:
            load(*given_)
        await _all_told(greedy, 500)
        await serves_on(server)


async def test_frames_that_were_answered_are_not_under_way(server: Server) -> None:
    async with session(server) as socket:
        for _ in range(100):
            await ask(socket, "subscribe", channels={"news": "0"})
        for _ in range(2):
            assert (await ask(socket, "ping"))["type"] == "pong"


def _of(server: Server, user: str) -> Session:
    [found] = server.hub.sessions.of_user(user)
    return found


async def _all_told(socket: Socket, count: int) -> None:
    for _ in range(count):
        await socket.expect("subscribed")


# -- the counters themselves -----------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(names, st.booleans())), st.integers(1, 3))
def test_shares(steps: list[tuple[str, bool]], most: int) -> None:
    shares = Shares(most, "things")
    there: list[str] = []
    for who, enters in steps:
        if enters and there.count(who) < most:
            shares.enter(who)
            there.append(who)
        elif enters:
            with pytest.raises(Overloaded):
                shares.enter(who)
        elif who in there:
            shares.leave(who)
            there.remove(who)
        assert shares.of(who) == there.count(who)
        assert set(shares._counts) == set(there), "nobody is remembered who has left"


@given(st.lists(st.tuples(names, st.sets(st.integers(0, 9)), st.floats(0, 50))))
def test_quotas(steps: list[tuple[str, set[int], float]]) -> None:
    now = 0.0
    quota = Quota(5, 100.0, "things", lambda: now)
    model: dict[str, tuple[float, set[str]]] = {}
    for who, numbers, passed in steps:
        now += passed
        began, taken = model.get(who, (now, set()))
        if now - began >= 100.0:
            began, taken = now, set()
        wanted = taken | {str(number) for number in numbers}
        if len(wanted - taken) > 5:
            with pytest.raises(TooLarge):
                quota.take(who, map(str, numbers))
        elif len(wanted) > 5:
            with pytest.raises(RateLimited) as caught:
                quota.take(who, map(str, numbers))
            assert caught.value.retry_after is not None
            assert now + caught.value.retry_after >= began + 100.0
        else:
            quota.take(who, map(str, numbers))
            model[who] = (began, wanted)


def test_a_quota_remembers_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushd.limits.REMEMBERED", 3)
    quota = Quota(1, 100.0, "things", lambda: 0.0)
    for who in "abcd":
        quota.take(who, ["x"])
    assert set(quota._taken) == set("bcd")
    with pytest.raises(RateLimited):
        quota.take("b", ["y"])


def test_no_channel_at_all_may_be_begun() -> None:
    with pytest.raises(TooLarge):
        Quota(0, 100.0, "things", lambda: 0.0).take("a", ["x"])
