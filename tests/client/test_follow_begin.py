"""Where following begins, what is the user's own, and how an iterator that is left ends."""

from __future__ import annotations

import gc
import random

import pytest
import trio
from trio.testing import MockClock

from pushd.client import Client
from pushd.client.answers import Frame, Refusal
from pushd.client.credential import Credential
from pushd.client.events import Dropped, Placed, ReadElsewhere, Received, Reset, Status
from pushd.client.follow import Follow, Following, Plan
from pushd.client.ladder import TransportKind
from pushd.client.link import LinkLost
from pushd.client.problems import Unreachable
from pushd.errors import BadRequest, Unauthorized
from tests.client.fakes import EPOCH, FakeServer, data, following, take


@pytest.fixture
async def server() -> FakeServer:
    return FakeServer()


async def test_the_server_says_where(autojump_clock: MockClock, server: FakeServer) -> None:
    server.publish("known", 1, 2)
    server.publish("news", 3)
    server.publish("user:alice", 4)
    server.publish("gone", 5, 6)
    server.first["gone"] = 2
    server.delivered = {"known": f"{EPOCH}.1", "gone": f"{EPOCH}.0"}
    server.refused["secret"] = Refusal("forbidden", "no")
    names = ["known", "news", "user:alice", "gone", "secret"]
    async with following(server, names) as events:
        found = [await anext(events) for _ in range(9)]
        assert set(found) >= {
            Placed("known", f"{EPOCH}.1"),
            Placed("news", f"{EPOCH}.1"),
            Placed("user:alice", f"{EPOCH}.0"),
            Reset("gone", f"{EPOCH}.1", "expired", 1, ""),
            Dropped("secret", "forbidden", "no"),
        }
        assert sorted(e.data for e in found if isinstance(e, Received)) == [2, 4, 6]


async def test_a_server_that_is_away_at_the_start(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.errors = [Unreachable("down")] * 3
    async with following(server, ["a"]) as events:
        kinds = [event.kind for event in await take(events, 2, Status)]
        assert kinds == ["retrying", "recovered"]


async def test_a_refusal_at_the_start_comes_out(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.errors = [Unauthorized("who are you")]
    async with following(server, ["a"]) as events:
        with pytest.raises(Unauthorized, match="who are you"):
            await anext(events)


async def test_mine_is_followed_also_what_is_new(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.own = ["all", "user:alice"]
    server.publish("all", "old")
    server.publish("user:alice", 1)
    async with following(server, [], mine=True) as events:
        assert await data(events, 1) == [1]
        server.publish("all", "new")
        assert await data(events, 1) == ["new"]
        # An inbox whose 'subscribed' frame was lost: the interval finds it.
        server.own.append("user:alice:jobs")
        server.publish("user:alice:jobs", 2, hint=False)
        assert await data(events, 1) == [2]
        server.links[-1].send_frame(type="read", channel="all", cursor=f"{EPOCH}.2")
        assert await take(events, 1, ReadElsewhere) == [ReadElsewhere("all", f"{EPOCH}.2")]


@pytest.mark.parametrize("kinds", [("websocket",), ()], ids=["hints", "polls"])
async def test_more_of_ones_own_than_can_be_followed_is_not_left_out_silently(
    autojump_clock: MockClock, server: FakeServer, kinds: tuple[TransportKind, ...]
) -> None:
    server.own = [f"user:alice:{number:03}" for number in range(130)]
    for name in server.own:
        server.publish(name, name)
    found: list[object] = []
    async with following(server, [], mine=True, transports=kinds) as events:
        with trio.move_on_after(100):
            while True:
                found.append(await anext(events))
    received = [event.channel for event in found if isinstance(event, Received)]
    dropped = [(event.channel, event.code) for event in found if isinstance(event, Dropped)]
    assert received == server.own[:128]
    assert dropped == [(name, "too_large") for name in server.own[128:]], "each is told once"


async def test_mine_by_polls_alone_brings_read_marks(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.own = ["user:alice"]
    server.notices = [Frame("read", channel="user:alice", cursor=f"{EPOCH}.1")]
    async with following(server, [], mine=True, transports=()) as events:
        (mark,) = await take(events, 1, ReadElsewhere)
        assert mark.channel == "user:alice"
        server.publish("user:alice", 1)
        assert await data(events, 1) == [1]
    assert server.connects == []


async def test_hints_go_along_with_their_pull(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1)
    async with following(server, {"a": f"{EPOCH}.1"}) as events:
        await take(events, 1, Status)
        server.publish("a", 2, 3)
        await data(events, 2)
    assert {"a": 3} in server.atleast


async def test_an_event_stream_that_falls_silent(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.broken = {"websocket": LinkLost("blocked", blocked=True)}
    async with following(server, {"a": "0"}, transports=("sse",)) as events:
        await take(events, 1, Status)
        (lost,) = await take(events, 1, Status)
        assert (lost.kind, trio.current_time()) == ("lost", 60)
        assert server.links[0].sent == [], "a stream goes one way"


async def test_it_climbs_back_to_the_websocket(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.broken = {"websocket": LinkLost("blocked", blocked=True)}
    server.hello["heartbeat_s"] = 200
    async with following(server, {"a": "0"}) as events:
        (live,) = await take(events, 1, Status)
        assert "event stream" in live.detail
        with trio.move_on_after(100):
            await anext(events)
        server.broken = {}
        found = await take(events, 2, Status)
        assert [each.kind for each in found] == ["lost", "live"]
        assert "WebSocket" in found[1].detail
    assert trio.current_time() < 300
    assert [kind for _, kind, _ in server.attempts][:2] == ["websocket", "sse"]


async def test_a_stale_token_is_renewed_once(autojump_clock: MockClock, server: FakeServer) -> None:
    asked = 0

    async def function() -> str:
        nonlocal asked
        asked += 1
        return f"token{asked}"

    server.credential = Credential(function)
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        server.links[0].close(4001, "token expired")
        assert [each.kind for each in await take(events, 2, Status)] == ["lost", "live"]
        assert asked == 2
        server.broken["websocket"] = LinkLost("bad token", 4001)
        server.links[-1].close(1012)
        with pytest.raises(Unauthorized, match="bad token"):
            await take(events, 9, Status)
    assert asked == 3, "a new one is no better: no end of asking"


async def test_an_iterator_that_is_left_ends_and_acks(server: FakeServer) -> None:
    server.publish("a", 1, 2)
    plan = Plan(("a",), {"a": "0"}, has_device=True)
    async with trio.open_nursery() as nursery:
        background = Following(server, plan, random.Random(1))
        async for event in Follow(background, lambda: nursery):
            if isinstance(event, Received) and event.data == 2:
                break
        gc.collect()
        with trio.fail_after(180):
            await background.ended.wait()
    assert [cursors for _, cursors in server.acks] == [{"a": f"{EPOCH}.1"}]


async def test_a_client_has_to_be_entered_and_channels_named() -> None:
    client = Client("http://x", "t")
    with pytest.raises(RuntimeError, match="async with"):
        await anext(client.follow("a"))
    with pytest.raises(BadRequest):
        client.follow()
    with pytest.raises(BadRequest):
        client.follow(*(f"c{n}" for n in range(129)))
