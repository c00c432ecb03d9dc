"""The bus over a real Redis: what is said is heard, and every loss is seen and made up for."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from pushd.cluster.bus.bus import Bus
from pushd.cluster.bus.commands import RedisAway
from pushd.cluster.bus.texts import Hint, OwnerRecord
from pushd.core.nodes import NodeRecord
from pushd.nodetokens import NodeTokens
from tests.support.buses import running, until
from tests.support.redis import PATIENCE, RedisServer

GONE = -2  # what PTTL says of a name that is not there


def owner(node: str, generation: str) -> OwnerRecord:
    return OwnerRecord(node, f"http://{node}:8080", generation, 0.0)


def record(node: str, role: str = "edge", since: float = 0.0) -> NodeRecord:
    return NodeRecord(node, role, "", "0.1", since, 1, 2, 3, 0.5, "g")


def hints(generation: str, heads: Iterable[tuple[str, str, int]], version: int = 1) -> Hint:
    return Hint(generation, version, False, list(heads))


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path / "redis") as server:
        yield server


async def test_hints_reach_all_that_listen(redis: RedisServer) -> None:
    async with running(redis.url, "a", "b", "c") as (a, b, c):
        for seq in range(1, 2001):
            a.bus.publish_hints(hints("g", [(f"c{seq % 3}", "e", seq)], seq))
        want = {"c0": ("e", 1998), "c1": ("e", 1999), "c2": ("e", 2000)}
        for node in (b, c):
            await until(lambda node=node: node.heads() == want)
            assert max(hint.version for hint in node.hints) == 2000
        assert a.bus.state.lost == 0
        assert a.bus.state.connected


async def test_only_a_newer_owner_that_signed_is_followed(redis: RedisServer) -> None:
    stranger = Bus(redis.url, "t", NodeTokens(b"the key of somebody else", "x"), "x")
    async with running(redis.url, "b") as (b,):
        signed = b.bus.sealed.write
        assert b.bus.owner() is None
        await redis.run("SET", "t:owner", signed("t:owner", owner("a", "2")))
        await until(b.bus.owner)
        for text in (
            stranger.sealed.write("t:owner", owner("x", "9")),
            signed("t:node:x", owner("x", "9")),  # of another place
            signed("t:owner", owner("x", "9"))[:-1],
            signed("t:owner", hints("9", [])),
            b"",
            b"nonsense",
            b"\xff {}",
        ):
            before = b.bus.state.ignored
            await redis.run("SET", "t:owner", text)
            await until(lambda text=text: b.bus._owner._there == text)
            assert b.bus.state.ignored > before
        for generation in ("1", "3"):
            await redis.run("SET", "t:owner", signed("t:owner", owner("y", generation)))
            there = signed("t:owner", owner("y", generation))
            await until(lambda there=there: b.bus._owner._there == there)
        await until(lambda: len(b.owners) > 1)
        assert b.bus.owner() == owner("y", "3")
        assert b.owners == [owner("a", "2"), owner("y", "3")]


async def test_the_owner_puts_its_record_right_but_yields_to_a_newer_one(
    redis: RedisServer,
) -> None:
    async with running(redis.url, "a") as (a,):
        a.bus.announce(owner("a", "2"))
        mine = a.bus.sealed.write("t:owner", owner("a", "2"))
        older = a.bus.sealed.write("t:owner", owner("y", "1"))
        for text in (b"nonsense", older, None):
            if text is not None:
                await redis.run("SET", "t:owner", text)
            else:
                await redis.run("DEL", "t:owner")
            with trio.fail_after(PATIENCE):
                while await redis.run("GET", "t:owner") != mine:
                    await trio.sleep(0.01)
        newer = a.bus.sealed.write("t:owner", owner("y", "3"))
        with capture_logs() as said:
            await redis.run("SET", "t:owner", newer)
            await until(lambda: any("another node owns" in line["event"] for line in said))
            await redis.run("SET", "t:owner", newer)
            for _ in range(3):
                a.bus.hurry()
                asked = a.bus.state.rtt_ms
                await until(lambda asked=asked: a.bus.state.rtt_ms != asked)
            assert await redis.run("GET", "t:owner") == newer
            assert a.bus.owner() == owner("a", "2")
        assert len([line for line in said if "another node owns" in line["event"]]) == 1
    assert await redis.run("GET", "t:owner") == newer


async def test_nodes_have_records_with_leases_and_take_them_away(redis: RedisServer) -> None:
    async with running(redis.url, "a") as (a,):
        a.bus.book.describe = lambda: record("a", "owner")
        a.bus.announce(owner("a", "1"))
        async with running(redis.url, "b") as (b,):
            b.bus.book.describe = lambda: record("b")
            b.bus.hurry()
            a.bus.book._fresh_s = 0.0
            found: list[NodeRecord] = []

            async def both() -> bool:
                nonlocal found
                found = await a.bus.nodes()
                return len(found) == 2

            with trio.fail_after(PATIENCE):
                while not await both():
                    await trio.sleep(0.01)
            assert found == [record("a", "owner"), record("b")]
            for key in ("t:node:b", "t:owner"):
                with trio.fail_after(PATIENCE):
                    while (left := await redis.run("PTTL", key)) == GONE:
                        await trio.sleep(0.01)
                assert 0 <= left <= 15_000
        assert await a.bus.nodes() == [record("a", "owner")]
        assert await redis.run("EXISTS", "t:node:b") == 0
        await until(lambda: a.bus._owner._there)  # else it does not know that it has to go
    assert sorted(await redis.run("KEYS", "*")) == [b"t:marker"]
    assert math.isfinite(a.bus.state.rtt_ms)


async def test_two_nodes_of_one_name_are_said_once(redis: RedisServer) -> None:
    with capture_logs() as said:
        async with running(redis.url, "a", "b", renew_s=0.05) as (a, b):
            a.bus.book.describe = lambda: record("a")
            b.bus.book.describe = lambda: record("b")
            rtts = []
            for _ in range(5):
                rtts.append(a.bus.state.rtt_ms)
                await until(lambda: a.bus.state.rtt_ms != rtts[-1])
            await redis.flush()
            await until(lambda: a.bus.state.emptied)
            assert not [line for line in said if "same node_id" in line["event"]]
            async with running(redis.url, "a", renew_s=0.05) as (double,):
                double.bus.book.describe = lambda: record("a", since=9.0)
                await until(lambda: a.bus.book._others > 5 and double.bus.book._others > 5)
    assert len([line for line in said if "same node_id" in line["event"]]) == 2


async def test_without_redis_nothing_waits_and_all_comes_back(redis: RedisServer) -> None:
    async with running(redis.url, "a", "b") as (a, b):
        a.bus.announce(owner("a", "1"))
        await until(b.bus.owner)
        await redis.kill()
        await until(lambda: a.losses and b.losses)
        assert not a.bus.state.connected
        with pytest.raises(RedisAway):
            await a.bus.ask(("PING",))
        a.bus.publish_hints(hints("g", [("c", "e", 1)]))
        assert a.bus.state.lost == 1
        assert b.bus.owner() == owner("a", "1")
        await redis.start()
        await until(lambda: a.gaps > 1 and b.gaps > 1 and a.bus.state.connected)
        await until(lambda: b.bus.state.connected)
        a.bus.publish_hints(hints("g", [("c", "e", 2)]))
        await until(lambda: b.heads() == {"c": ("e", 2)})
        with trio.fail_after(PATIENCE):
            while not await redis.run("EXISTS", "t:owner"):
                await trio.sleep(0.01)
