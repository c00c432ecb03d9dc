"""Groups among the user's own: joined and left while followed, over every transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import pushd.testing
from pushd.client import Client, Dropped, Follow, FollowOptions, MemoryCursors, Received
from pushd.client.ladder import TransportKind
from pushd.errors import Forbidden

WAYS: dict[str, tuple[TransportKind, ...]] = {
    "websocket": ("websocket",),
    "sse": ("sse",),
    "polls": (),
}
each_way = pytest.mark.parametrize("way", WAYS)


@asynccontextmanager
async def both(device: str | None = "phone") -> AsyncIterator[tuple[Client, Client]]:
    """Alice and a service."""
    with trio.fail_after(180):
        async with (
            pushd.testing.server() as node,
            node.service() as service,
            node.client("alice", device=device) as alice,
        ):
            yield alice, service


def following(alice: Client, way: str, *channels: str, **members: Any) -> Follow:
    # What sessions are told has to do: no pull finds it out before the test is over.
    options = FollowOptions(transports=WAYS[way], wait_s=1.0, interval_s=300.0)
    return alice.follow(*channels, mine=not channels, options=options, **members)


async def received(events: Follow, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        event = await anext(events)
        if isinstance(event, Received):
            found.append(event.data)
    return found


async def dropped(events: Follow) -> Dropped:
    while True:
        event = await anext(events)
        if isinstance(event, Dropped):
            return event


async def settled(events: Follow, service: Client) -> None:
    """It hears of what happens from now on."""
    await service.publish("user:alice", "settled")
    assert await received(events, 1) == ["settled"]


@each_way
async def test_what_came_since_joining(way: str) -> None:
    """Joined while away: from there on, and nothing of before."""
    async with both() as (alice, service):
        await service.publish("group:staff", "before")
        await service.groups.add("staff", ["alice"])
        for number in range(3):
            await service.publish("group:staff", number)
        async with following(alice, way) as events:
            assert await received(events, 3) == [0, 1, 2]
            await service.publish("group:staff", 3)
            assert await received(events, 1) == [3]


@each_way
async def test_joined_and_left_while_it_follows(way: str) -> None:
    async with both() as (alice, service):
        await service.publish("group:staff", "before")
        async with following(alice, way) as events:
            await settled(events, service)
            await service.groups.add("staff", ["alice"])
            await service.publish("group:staff", "one")
            assert await received(events, 1) == ["one"]
            await service.groups.remove("staff", ["alice"])
            gone = await dropped(events)
            assert (gone.channel, gone.code) == ("group:staff", "forbidden")
            await service.publish("group:staff", "missed")
            await service.groups.add("staff", ["alice"])
            await service.publish("group:staff", "two")
            assert "two" in await received(events, 1)


@each_way
async def test_where_the_store_left_it(way: str) -> None:
    """The store's cursor counts more than where the user has joined."""
    async with both(device=None) as (alice, service):
        await service.groups.add("staff", ["alice"])
        stored = [await service.publish("group:staff", number) for number in range(4)]
        store = MemoryCursors()
        await store.save({"group:staff": f"{stored[1].epoch}.{stored[1].seq}"})
        async with following(alice, way, store=store) as events:
            assert await received(events, 2) == [2, 3]


@each_way
async def test_a_group_that_was_named_ends_the_following(way: str) -> None:
    async with both() as (alice, service):
        await service.groups.add("staff", ["alice"])
        async with following(alice, way, "group:staff") as events:
            await service.publish("group:staff", 1)
            assert await received(events, 1) == [1]
            await service.groups.remove("staff", ["alice"])
            assert (await dropped(events)).channel == "group:staff"
            with pytest.raises(Forbidden):
                await anext(events)


async def test_many_messages_while_it_joins() -> None:
    """Hints that come before the pull that brings the group are not lost for the interval."""
    async with both() as (alice, service):
        options = FollowOptions(transports=("websocket",), interval_s=300.0)
        async with alice.follow(mine=True, options=options) as events:
            await settled(events, service)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.groups.add, "staff", ["alice"])
                for number in range(50):
                    await service.publish("group:staff", number)
            found = await received(events, 1)
            while found[-1] != 49:
                found += await received(events, 1)
            assert found == list(range(found[0], 50))


async def test_a_session_of_its_own_ends_without_a_word() -> None:
    async with both() as (alice, service), following(alice, "websocket") as events:
        await settled(events, service)
        [session] = await service.sessions.list(user="alice").all()
        await service.publish_to("only here", sessions=[session.session])
        assert await received(events, 1) == ["only here"]
        assert await service.sessions.kick(session.session, reconnect=True)
        while not await service.sessions.list(user="alice").all():
            await trio.sleep(0.01)
        await service.publish("user:alice", "after")
        while True:
            event = await anext(events)
            assert not isinstance(event, Dropped)
            if isinstance(event, Received):
                assert event.data == "after"
                break
