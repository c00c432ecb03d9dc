"""A consumer that is slow is told before what it lacks is removed."""

from __future__ import annotations

import trio

import pushd.testing
from pushd.client import Expiring, FollowOptions, Received


async def test_a_slow_consumer_is_told() -> None:
    with trio.fail_after(180):
        async with (
            pushd.testing.server(retention_messages=10, expiring_percent=90) as node,
            node.service() as service,
            node.client("alice", device="phone") as alice,
        ):
            for number in range(10):
                await service.publish("news", number)
            page = await alice.pull("news", after="0", limit=2)
            assert page.expiring is not None
            assert page.expiring.messages == 7
            events = alice.follow("news", after="0", options=FollowOptions(limit=2))
            told: list[Expiring] = []
            got: list[int] = []
            async for event in events:
                if isinstance(event, Expiring):
                    told.append(event)
                elif isinstance(event, Received):
                    got.append(event.data)
                    if len(got) == 10:
                        break
            assert got == list(range(10))
            assert [each.messages for each in told] == [7, 5, 3, 1]
            assert {each.channel for each in told} == {"news"}
