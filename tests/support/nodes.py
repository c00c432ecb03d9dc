"""Several nodes in the test's own process, over a real Redis: an owner and its edges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.app import Server, running_server
from tests.support.redis import RedisServer

CLUSTER_KEY = "the-key-that-all-nodes-share"

LONGER = 1000.0  # times as long: see the fixture ``patient_nodes``
PATIENCE_OF_NODES = (
    "pushd.pull.STALE_TOLD_S",
    "pushd.pull.STALE_REFUSED_S",
    "pushd.cluster.edge.edgelog.REFUSED_S",
    "pushd.cluster.edge.following.FEED_S",
    "pushd.cluster.edge.forwarding.PATIENCE_S",
    "pushd.cluster.edge.lookups.ATTEMPTS_S",
    "pushd.cluster.edge.puller.PULL_S",
    "pushd.cluster.edge.reads.ATTEMPTS_S",
    "pushd.cluster.edge.upstream.ASK_S",
    "pushd.cluster.owner.rivals.LOOK_S",
)


@dataclass
class Nodes:
    """All of one cluster, ready."""

    redis: RedisServer
    owner: Server
    edges: list[Server]

    @property
    def edge(self) -> Server:
        return self.edges[0]


@asynccontextmanager
async def running_nodes(home: Path, edges: int = 1, **given: Any) -> AsyncIterator[Nodes]:
    """``given``: settings of all of them."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisServer(home / "redis"))
        common = {"redis": redis.url, "cluster_key": CLUSTER_KEY, "cluster_sync": 0.1, **given}
        owner = await stack.enter_async_context(
            running_server(home / "owner", node_id="owner", **common)
        )
        others = [
            await stack.enter_async_context(
                running_server(home / f"edge{at}", node_id=f"edge{at}", edge=True, **common)
            )
            for at in range(edges)
        ]
        yield Nodes(redis, owner, others)
