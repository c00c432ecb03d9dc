"""Sessions of nodes at the owner, through a real Redis that fails in each of its ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from pushd.cluster.bus.bus import Bus
from pushd.cluster.bus.texts import SESSIONS_STATE
from pushd.cluster.edge.registry import Registry
from pushd.cluster.owner.rollcall import RollCall
from pushd.core.permissions import Identity
from pushd.happenings import Happenings, SessionClosed, SessionOpened
from pushd.session import Session
from pushd.sessions import Sessions
from tests.cluster.test_roll import Told
from tests.support.buses import make, until
from tests.support.redis import PATIENCE, RedisServer


class Live:
    """As much of ``Sessions`` as a registry sees."""

    def __init__(self) -> None:
        self.by_id: dict[str, Session] = {}
        self.happenings = Happenings()
        self.on_changed: Any = None

    def open(self, user: str, *channels: str) -> Session:
        session = Session(Identity(user, attributes={"name": user}), "phone", "10.0.0.1")
        self.by_id[session.id] = session
        self.happenings.tell(SessionOpened(session))
        for channel in channels:
            self.follow(session, channel)
        return session

    def follow(self, session: Session, channel: str) -> None:
        session.subscriptions[channel] = cast("Any", None)
        self.on_changed(session)

    def close(self, session: Session) -> None:
        session.ends(1000, "done")
        del self.by_id[session.id]
        self.happenings.tell(SessionClosed(session))


class Edge:
    def __init__(self, url: str, name: str, **options: Any) -> None:
        self.bus = make(url, name, **options)
        self.live = Live()
        self.registry = Registry(self.bus, cast("Sessions", self.live), self.live.happenings)
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.bus.run)
                await nursery.start(self.registry.run)
                task_status.started()
        self.ended.set()


@dataclass
class Cluster:
    nursery: trio.Nursery
    redis: RedisServer
    told: Told
    call: RollCall
    bus: Bus
    options: dict[str, Any]

    async def edge(self, name: str) -> Edge:
        edge = Edge(self.redis.url, name, **self.options)
        await self.nursery.start(edge.run)
        return edge

    def lives(self, *edges: Edge) -> bool:
        """The owner knows the sessions of these, and what they follow, and no others."""
        truth = {
            id_: (edge.bus.node, session.user, sorted(session.following))
            for edge in edges
            for id_, session in edge.live.by_id.items()
        }
        seen = {
            id_: (each.node, each.user, sorted(each.channels))
            for id_, each in self.told.live.items()
        }
        return truth == seen


@asynccontextmanager
async def cluster(tmp_path: Path, settle_s: float = 0.0, **options: Any) -> AsyncIterator[Cluster]:
    """The owner hears whatever is said inside."""
    options = {"lease_s": 60.0, "renew_s": 0.2, **options}
    async with RedisServer(tmp_path / "redis") as redis, trio.open_nursery() as nursery:
        told = Told()
        bus = make(redis.url, "owner", **options)
        call = RollCall(bus, told)
        call.roll.settle_s = settle_s
        await nursery.start(bus.run)
        await nursery.start(call.run)
        await until(lambda: bus.state.connected)
        yield Cluster(nursery, redis, told, call, bus, options)
        nursery.cancel_scope.cancel()


async def test_the_owner_knows_the_sessions_of_all_edges(tmp_path: Path) -> None:
    async with cluster(tmp_path) as all_:
        a, b = await all_.edge("a"), await all_.edge("b")
        await until(lambda: all_.told.known)
        sessions = [edge.live.open(f"u{n}", "all") for n in range(450) for edge in (a, b)]
        await until(lambda: all_.lives(a, b))
        for session in sessions[::3]:
            edge = a if session.id in a.live.by_id else b
            edge.live.follow(session, "news")
        for session in sessions[::4]:
            edge = a if session.id in a.live.by_id else b
            edge.live.close(session)
        await until(lambda: all_.lives(a, b))
        assert {reason for _, reason, _ in all_.told.closed_as} == {"done"}
        [one] = [each for each in all_.told.live.values() if each.session == sessions[1].id]
        assert (one.device, one.address, one.transport) == ("phone", "10.0.0.1", "none")
        assert bytes(one.attributes) == b'{"name":"u0"}'
        assert all_.bus.state.ignored == 0


async def test_who_comes_later_reads_all_and_who_leaves_says_so(tmp_path: Path) -> None:
    async with cluster(tmp_path) as all_:
        a = await all_.edge("a")
        for n in range(1200):
            a.live.open(f"u{n}", "all")
        await until(lambda: all_.lives(a))
        later = Told()
        bus = make(all_.redis.url, "later", **all_.options)
        call = RollCall(bus, later)
        await all_.nursery.start(bus.run)
        await all_.nursery.start(call.run)
        await until(lambda: later.live.keys() == all_.told.live.keys())
        assert not later.known  # for two leases
        a.scope.cancel()
        await until(lambda: not later.live and not all_.told.live)
        assert {reason for _, reason, _ in later.closed_as} == {"node ended"}
        assert await all_.redis.run("EXISTS", "t:sessions:a") == 0


async def test_a_dead_node_is_gone_when_its_lease_is(tmp_path: Path) -> None:
    async with cluster(tmp_path) as all_:
        a, b = await all_.edge("a"), await all_.edge("b")
        a.live.open("ann")
        b.live.open("ben")
        await until(lambda: all_.lives(a, b) and all_.told.known)
        a.bus.farewells.clear()
        a.scope.cancel()
        await a.ended.wait()
        assert 0 < await all_.redis.run("PTTL", "t:sessions:a") <= 60_000
        assert all_.lives(a, b)
        await all_.redis.run("PEXPIRE", "t:sessions:a", 50)  # which is when it would end
        await until(lambda: all_.lives(b))
        assert await all_.redis.run("EXISTS", "t:sessions:a") == 0
        assert {reason for _, reason, _ in all_.told.closed_as} == {"node lost"}


@pytest.mark.parametrize("fault", ["flush", "kill", "pause", "cut"])
async def test_after_each_fault_all_are_there_again_and_nobody_left(
    tmp_path: Path, fault: str
) -> None:
    async with cluster(tmp_path, timeout_s=1.0, lease_s=20.0) as all_:
        a, b = await all_.edge("a"), await all_.edge("b")
        for n in range(250):
            a.live.open(f"a{n}", "all")
            b.live.open(f"b{n}", "all")
        await until(lambda: all_.lives(a, b) and all_.told.known)
        all_.call.roll.settle_s = 600.0
        all_.told.closed_as.clear()  # a machine that is busy may have lost Redis by itself
        if fault == "flush":
            await all_.redis.flush()
        elif fault == "kill":
            await all_.redis.kill()
        elif fault == "pause":
            all_.redis.pause()
        else:
            await all_.redis.cut_clients("pubsub")
        await until(lambda: not all_.told.known)
        stays = len(all_.told.live)
        new = a.live.open("late", "all")
        gone = next(iter(b.live.by_id.values()))
        b.live.close(gone)
        if fault == "kill":
            await all_.redis.start()
        elif fault == "pause":
            all_.redis.resume()
        await until(lambda: all_.lives(a, b))
        assert stays == 500
        assert new.id in all_.told.live
        assert [session for session, _, _ in all_.told.closed_as] == [gone.id]
        assert not all_.told.known  # for the time that was set


async def test_a_forged_session_is_not_seen(tmp_path: Path) -> None:
    async with cluster(tmp_path) as all_:
        a = await all_.edge("a")
        session = a.live.open("ann")
        await until(lambda: all_.lives(a) and all_.told.known)
        key, ignored = "t:sessions:a", all_.bus.state.ignored
        text = await all_.redis.run("HGET", key, session.id)
        await all_.redis.run("PUBLISH", "t:sessions", text)
        await until(lambda: all_.bus.state.ignored > ignored)
        state = await all_.redis.run("HGET", key, SESSIONS_STATE)
        await all_.redis.run("HSET", "t:sessions:x", "other", text, SESSIONS_STATE, state)
        ignored = all_.bus.state.ignored
        await all_.redis.run("SADD", "t:nodes", "x")
        await until(lambda: all_.bus.state.ignored > ignored)
        assert "x" in all_.call.roll.nodes()
        assert all_.lives(a)


async def test_a_hash_that_was_gone_is_written_whole(tmp_path: Path) -> None:
    async with cluster(tmp_path, 600.0, renew_s=600.0, tick_s=600.0) as all_:
        a = await all_.edge("a")
        a.live.open("ann")
        await until(lambda: all_.lives(a))
        await all_.redis.run("DEL", "t:sessions:a")
        a.live.open("ben")
        with trio.fail_after(PATIENCE):
            while await all_.redis.run("HLEN", "t:sessions:a") != 3:
                await trio.sleep(0.01)
        await until(lambda: all_.lives(a))
        assert all_.told.closed_as == []


async def test_a_lease_that_ran_out_is_taken_anew(tmp_path: Path) -> None:
    async with cluster(tmp_path) as all_:
        a = await all_.edge("a")
        a.live.open("ann")
        await until(lambda: all_.lives(a))
        await all_.redis.run("DEL", "t:sessions:a")
        with trio.fail_after(PATIENCE):
            while await all_.redis.run("HLEN", "t:sessions:a") != 2:
                await trio.sleep(0.01)
        await until(lambda: all_.lives(a))


async def test_after_a_gap_all_is_written_although_nothing_failed(tmp_path: Path) -> None:
    async with cluster(tmp_path, renew_s=600.0) as all_:
        a = await all_.edge("a")
        a.live.open("ann")
        await until(lambda: all_.lives(a) and all_.told.known and a.bus.marker)
        all_.call.roll.settle_s = 600.0  # else it may look before the edge has written
        await all_.redis.flush()
        with trio.fail_after(PATIENCE):
            while await all_.redis.run("HLEN", "t:sessions:a") != 2:
                await trio.sleep(0.01)
        await until(lambda: not all_.told.known)
        assert all_.lives(a)
        assert all_.told.closed_as == []


async def test_a_hash_that_lacks_sessions_is_not_taken_for_all(tmp_path: Path) -> None:
    async with cluster(tmp_path, renew_s=600.0) as all_:
        a = await all_.edge("a")
        for name in ("ann", "ben"):
            a.live.open(name)
        await until(lambda: all_.lives(a))
        gone = next(iter(a.live.by_id))
        await all_.redis.run("HDEL", "t:sessions:a", gone)
        reads = 0
        read = all_.call._read

        async def counted(node: str) -> None:
            nonlocal reads
            await read(node)
            reads += 1

        all_.call._read = counted  # type: ignore[method-assign]
        all_.call.roll.wanted["a"] = None
        all_.call._news.set()
        await until(lambda: reads > 2)
        assert "a" in all_.call.roll.wanted
        assert all_.lives(a)
        a.registry._gap()
        await until(lambda: not all_.call.roll.wanted)
        assert all_.lives(a)


async def test_leases_of_a_redis_that_was_emptied_say_nothing(tmp_path: Path) -> None:
    """The owner looks before it, or any node, has seen that all is gone."""
    async with cluster(tmp_path) as all_:
        a = await all_.edge("a")
        a.live.open("ann")
        await until(lambda: all_.lives(a) and all_.told.known)
        all_.call.roll.settle_s = 600.0
        a.bus.tick_s = all_.bus.tick_s = a.bus.renew_s = 600.0
        for each in (a.bus, all_.bus):  # the last look for a long time
            asked = each.state.rtt_ms
            each.hurry()
            await until(lambda each=each, asked=asked: each.state.rtt_ms != asked)
        await all_.redis.flush()
        all_.call._news.set()
        await until(lambda: all_.told.known is False)
        assert all_.told.closed_as == []
        assert all_.lives(a)


async def test_the_loop_of_the_owner_has_its_turns_while_a_great_node_comes(tmp_path: Path) -> None:
    async with cluster(tmp_path) as all_:
        a = await all_.edge("a")
        for n in range(3000):
            a.live.open(f"u{n}")
        longest = 0
        seen = len(all_.told.live)
        with trio.fail_after(PATIENCE):
            while len(all_.told.live) < 3000 or not all_.lives(a):
                await trio.lowlevel.checkpoint()
                longest = max(longest, len(all_.told.live) - seen)
                seen = len(all_.told.live)
        assert longest <= 500
