"""Pulls of an edge for all that has moved: one at a time, and who waits for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.claims import Claims
from pushd.cluster.edge.mirror import Mirror
from pushd.cluster.edge.puller import Puller
from pushd.cluster.edge.upstream import Upstream
from pushd.core.topics import Mark
from pushd.errors import PushdError
from pushd.log.live import Live
from pushd.nodetokens import NodeTokens
from tests.support.app import until
from tests.support.fakeowner import fake_owner

EPOCH = "000000001"


class World:
    """An owner with ``heads``, which gives ``room`` messages of all channels in one answer."""

    def __init__(self) -> None:
        self.heads = {"news": 5, "other": 3}
        self.room = 1000
        self.pulled: list[dict[str, str]] = []
        self.told: list[tuple[str, int, int]] = []
        self.gate = trio.Event()
        self.gate.set()
        self.live = Live()
        self.mirror = Mirror(self.live, lambda channel: True)
        self.claims = Claims(self.mirror.mark)
        self.upstream = Upstream("edge", NodeTokens(b"the key of this test", "edge"))
        self.puller = Puller(self.upstream, self.mirror, self.claims, self.hear, most=2)

    def hear(self, applied: Applied) -> None:
        self.told += [
            (each.head.channel, each.start, len(each.messages))
            for each in applied.advances
            if each.messages
        ]

    async def answer(self, path: str, body: Any) -> tuple[int, object]:
        self.pulled.append(body["cursors"])
        room, channels = self.room, {}
        for channel, cursor in body["cursors"].items():
            head = self.heads.get(channel, 0)
            after = head if cursor == "head" else int(cursor.rpartition(".")[2])
            messages = [{"seq": seq} for seq in range(after + 1, head + 1)][:room]
            room -= len(messages)
            newest = after + len(messages)
            channels[channel] = {
                "epoch": EPOCH,
                "first": 1,
                "head": head,
                "next": f"{EPOCH}.{newest}",
                "more": newest < head,
                "messages": messages,
            }
        await self.gate.wait()
        return 200, {"channels": channels, "notices": []}

    def want(self, channel: str, mark: Mark) -> None:
        self.claims.want(channel, mark)
        self.puller.wake()

    def seq(self, channel: str) -> int:
        return self.mirror.mark(channel)[1]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    it = World()
    async with fake_owner(it.answer) as owner, trio.open_nursery() as nursery:
        it.upstream.turn_to(owner.record())
        it.puller.start()
        nursery.start_soon(it.puller.run)
        yield it
        nursery.cancel_scope.cancel()
        it.upstream.close()


async def test_who_waits_goes_on_when_all_that_the_owner_had_is_here() -> None:
    """Not before: a position that the owner knows would be taken for one that nobody knows."""
    async with world() as it:
        it.room = 2
        seen: list[tuple[PushdError | None, int]] = []
        it.puller.ask(["news"], lambda error: seen.append((error, it.seq("news"))))
        await until(lambda: seen)
        assert seen == [(None, 5)]
        assert it.told == [("news", 1, 2), ("news", 3, 2), ("news", 5, 1)]
        # All room goes to the first: the second has not moved at all by the first answer.
        it.heads = {"news": 8, "other": 3}
        it.room = 3
        it.puller.ask(["news", "other"], lambda error: seen.append((error, it.seq("other"))))
        await until(lambda: len(seen) == 2)
        assert seen[1] == (None, 3)


async def test_a_channel_that_rises_without_end_holds_nobody_up() -> None:
    async with world() as it:
        it.room = 2
        seen: list[int] = []

        async def rising(path: str, body: Any) -> tuple[int, object]:
            result = await World.answer(it, path, body)
            it.heads["news"] += 3
            return result

        async with fake_owner(rising) as owner:
            it.upstream.turn_to(owner.record("g2"))
            it.puller.ask(["news"], lambda error: seen.append(it.seq("news")))
            await until(lambda: seen)
            assert seen == [6]  # the first that has all of what there was when it was asked: 5


async def test_claims_of_one_turn_are_one_pull_and_what_comes_meanwhile_the_next() -> None:
    async with world() as it:
        it.gate = trio.Event()
        it.want("news", (EPOCH, 5))
        await until(lambda: it.pulled)
        for seq in range(6, 10):
            it.heads["news"] = seq
            it.want("news", (EPOCH, seq))
        it.want("other", (EPOCH, 3))
        it.gate.set()
        await until(lambda: it.seq("news") == 9 and it.seq("other") == 3)
        assert it.pulled == [{"news": "0"}, {"news": f"{EPOCH}.5", "other": "0"}]


async def test_no_more_channels_in_one_pull_than_the_owner_takes() -> None:
    async with world() as it:
        it.heads = {f"c{number}": 1 for number in range(7)}
        for channel in it.heads:
            it.want(channel, (EPOCH, 1))
        await until(lambda: all(it.seq(channel) for channel in it.heads))
        assert [len(cursors) for cursors in it.pulled] == [2, 2, 2, 1]


async def test_what_is_far_ahead_is_only_looked_at() -> None:
    async with world() as it:
        it.heads["news"] = 1_000_000
        it.want("news", (EPOCH, 1_000_000))
        await until(lambda: it.seq("news") == 1_000_000)
        assert it.pulled == [{"news": "head"}]
        assert it.told == []


async def test_a_claim_that_is_not_true_is_forgotten() -> None:
    async with world() as it:
        it.want("news", (EPOCH, 99))
        await until(lambda: it.seq("news") == 5 and not it.claims)
        assert it.claims.of("news") == ("", 0)
        assert msgspec.json.encode(it.pulled) == b'[{"news":"0"}]'
