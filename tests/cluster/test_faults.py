"""Whatever breaks between three nodes and Redis: nothing acked is lost, nothing is told wrong.

While six clients follow and three publish, spread over the nodes, one thing breaks and heals, again
and again (PUSHD_ROUNDS times, each in its own way by the number of the round). After each round all
that anybody was told is checked (tests/support/histories.py), and everybody has everything.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from tests.support.cluster import EAST, OWNER, WEST, Cluster, running_cluster
from tests.support.clusterload import Load, under_load
from tests.support.links import without_messages

ROUNDS = int(os.environ.get("PUSHD_ROUNDS", "1"))
PAUSE_S = float(os.environ.get("PUSHD_PAUSE", "1"))  # how long an edge is paused


class Round(NamedTuple):
    cluster: Cluster
    load: Load
    rng: random.Random
    home: Path

    async def a_moment(self) -> None:
        """Something goes on meanwhile, for sometimes longer than at other times."""
        await self.load.more()
        await trio.sleep(self.rng.random() * 0.5)


async def redis_down(at: Round) -> None:
    await at.cluster.redis.stop()
    await at.a_moment()
    await at.cluster.redis.start()


async def redis_killed(at: Round) -> None:
    await at.cluster.redis.kill()
    await at.a_moment()
    await at.cluster.redis.start()


async def redis_restarted(at: Round) -> None:
    """At once: nobody may have noticed that it was gone."""
    await at.cluster.redis.kill()
    await at.cluster.redis.start()
    await at.a_moment()


async def redis_emptied(at: Round) -> None:
    await at.cluster.redis.flush()
    await at.a_moment()


async def redis_slow(at: Round) -> None:
    for line in at.cluster.redis_lines:
        line.delay = at.rng.choice((0.05, 0.5, 2))
    await at.a_moment()
    for line in at.cluster.redis_lines:
        line.heal()


async def redis_hangs(at: Round) -> None:
    at.cluster.redis.pause()
    await at.a_moment()
    at.cluster.redis.resume()


async def hints_cut(at: Round) -> None:
    await at.cluster.redis.cut_clients("pubsub")
    await at.a_moment()


async def hints_lost(at: Round) -> None:
    """Connected, and silent: nobody can know that something was said."""
    for line in at.cluster.redis_lines:
        line.thin = without_messages
    await at.a_moment()
    for line in at.cluster.redis_lines:
        line.heal()


async def edge_paused(at: Round) -> None:
    edge = at.cluster.nodes[EAST]
    edge.pause()
    with trio.move_on_after(PAUSE_S):
        await trio.sleep_forever()
    await at.load.more()
    edge.go_on()


async def edge_killed(at: Round) -> None:
    edge = at.cluster.nodes[EAST]
    await edge.kill()
    await at.a_moment()
    await edge.start()


async def owner_killed(at: Round) -> None:
    await at.cluster.owner.kill()
    await trio.sleep(at.rng.random())
    await at.cluster.owner.start()
    await at.a_moment()


async def owner_stopped(at: Round) -> None:
    at.cluster.owner.terminate()
    await at.cluster.owner.ended()
    await at.cluster.owner.start()
    await at.a_moment()


async def owner_restored(at: Round) -> None:
    """Number the lives anew: what came after the backup is gone, and everybody is told."""
    backup = at.home / "backup.db"
    covers = await at.cluster.back_up(backup)
    await at.a_moment()
    await at.cluster.owner.kill()
    await at.load.without_owner()
    await at.cluster.restore(backup, covers)
    await at.cluster.owner.start()
    await at.a_moment()


async def edge_cut_from_owner(at: Round) -> None:
    line = at.cluster.to_owner(EAST)
    line.cut()
    await at.a_moment()
    line.heal()


async def edge_silent_to_owner(at: Round) -> None:
    line = at.cluster.to_owner(EAST)
    line.silence()
    await at.a_moment()
    line.heal()


async def edge_far_from_owner(at: Round) -> None:
    at.cluster.to_owner(EAST).delay = 0.3
    await at.a_moment()
    at.cluster.to_owner(EAST).heal()


async def edge_cut_from_redis(at: Round) -> None:
    line = at.cluster.to_redis(at.rng.choice((EAST, OWNER)))
    line.cut()
    await at.a_moment()
    line.heal()


async def edge_silent_to_redis(at: Round) -> None:
    line = at.cluster.to_redis(at.rng.choice((EAST, OWNER)))
    line.silence()
    await at.a_moment()
    line.heal()


async def all_at_once(at: Round) -> None:
    """The owner dies while Redis is empty and an edge hears nothing."""
    await at.cluster.redis.kill()
    at.cluster.to_owner(WEST).silence()
    await at.cluster.owner.kill()
    await at.cluster.redis.start()
    await at.cluster.owner.start()
    at.cluster.to_owner(WEST).heal()
    await at.a_moment()


# Those of one line share a cluster, one after the other: to start one costs more than a fault.
FAULTS: dict[str, list[Callable[[Round], Awaitable[None]]]] = {
    "redis is gone": [redis_down, redis_killed, redis_restarted],
    "redis is bad": [redis_emptied, redis_slow, redis_hangs],
    "hints are lost": [hints_cut, hints_lost],
    "a line to redis": [edge_cut_from_redis, edge_silent_to_redis],
    "an edge": [edge_paused, edge_killed],
    "a line to the owner": [edge_cut_from_owner, edge_silent_to_owner, edge_far_from_owner],
    "the owner is killed": [owner_killed],
    "the owner is stopped": [owner_stopped],
    "the owner is restored": [owner_restored],
    "the owner and more": [all_at_once],
}
# Whose sessions end by it; all others stay connected.
ENDS = {edge_killed: EAST} | dict.fromkeys(
    (owner_killed, owner_stopped, owner_restored, all_at_once), OWNER
)


@pytest.mark.parametrize("what", FAULTS)
async def test_nothing_is_lost_or_told_wrong(what: str, tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster, under_load(cluster) as load:
        for fault in FAULTS[what]:
            name, took = fault.__name__, []
            stay = [each for each in load.listeners if each.home.name != ENDS.get(fault)]
            for number in range(ROUNDS):
                sessions = [each.sessions for each in stay]
                rng = random.Random(f"{name} {number}")
                await fault(Round(cluster, load, rng, tmp_path))
                took.append(await load.settle())
                assert [each.sessions for each in stay] == sessions, f"{name}: who stays connected"
            print(f"{name}: {len(took)} rounds, all healed within {max(took):.2f} s")
