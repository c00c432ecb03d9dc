"""An edge without its owner: what it says meanwhile, and that it finds back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.cluster.edge import edgelog
from pushd.settings.namespaces import Namespace
from tests.support.app import KEY, Server, running_server, until
from tests.support.cluster import running_cluster
from tests.support.clusterload import under_load
from tests.support.nodes import LONGER
from tests.support.redis import RedisServer

CLUSTER_KEY = "the key of this test's cluster"

pytestmark = pytest.mark.usefixtures("patient_nodes")


class Nodes:
    """``edge`` runs all the time, the owner is started and cut off."""

    edge: Server
    owner: Server

    def __init__(self, nursery: trio.Nursery, home: Path, common: dict[str, Any]) -> None:
        self._nursery = nursery
        self._home = home
        self._common = common
        self._cut = trio.Event()
        self._over = trio.Event()

    async def start_owner(self) -> Server:
        self._cut, self._over = trio.Event(), trio.Event()
        self.owner = await self._nursery.start(self._run_owner)
        return self.owner

    async def _run_owner(self, task_status: trio.TaskStatus[Server]) -> None:
        home = self._home / "owner"
        async with running_server(home, node_id="owner", **self._common) as owner:
            task_status.started(owner)
            await self._cut.wait()
        self._over.set()

    async def cut_owner_off(self) -> None:
        self._cut.set()
        await self._over.wait()


@asynccontextmanager
async def nodes(home: Path, **settings: Any) -> AsyncIterator[Nodes]:
    """Both run inside."""
    async with RedisServer(home / "redis") as redis, trio.open_nursery() as nursery:
        common = {"redis": redis.url, "cluster_key": CLUSTER_KEY, **settings}
        them = Nodes(nursery, home, common)
        await them.start_owner()
        async with running_server(home / "edge", node_id="edge", edge=True, **common) as edge:
            them.edge = edge
            yield them
        await them.cut_owner_off()


def stale(edge: Server, seconds: float) -> None:
    """So much time has passed for the edge, times ``LONGER``: its clock, nobody waits."""
    log = edge.hub.log
    assert isinstance(log, edgelog.EdgeLog)
    log.heard = min(log.heard, trio.current_time() - seconds * LONGER)
    log.upstream.reached = min(log.upstream.reached, log.heard)


async def test_answers_that_may_be_old_say_so_and_then_cease(tmp_path: Path) -> None:
    async with nodes(tmp_path, namespaces={"open": Namespace(public=True)}) as them:
        edge = them.edge
        for channel in ("news", "open:1"):
            stored = await edge.publish(channel, "one")
            assert (await edge.pull(channel, after="0", atleast=stored["seq"])).status == 200
        await them.cut_owner_off()
        await until(lambda: edge.hub.log.stale > 0)
        stale(edge, 3)
        answer = await edge.pull("news", after="0")
        assert [each["data"] for each in answer.json["messages"]] == ["one"]
        assert answer.json["stale"] >= 3000 * LONGER
        stale(edge, 6)
        answer = await edge.pull("news", after="0")
        assert answer.code == "not_ready"
        assert "retry-after" in answer.headers
        assert (await edge.pull("open:1", after="0")).json["stale"] >= 6000 * LONGER
        body = {"cursors": {"news": "0", "open:1": "0"}}
        both = (await edge.ask("POST", "/v1/pull", token=KEY, body=body)).json["channels"]
        assert both["news"]["error"]["code"] == "not_ready"
        assert both["open:1"]["stale"] >= 6000 * LONGER
        body = {"data": 1}
        answer = await edge.ask("POST", "/v1/channels/news/messages", token=KEY, body=body)
        assert answer.code == "not_ready"
        assert "nothing of this was stored" in answer.json["detail"]
        await them.start_owner()
        await until(lambda: edge.hub.log.stale < 1)
        answer = await edge.pull("news", after="0")
        assert "stale" not in answer.json
        assert [each["data"] for each in answer.json["messages"]] == ["one"]


async def test_a_publish_waits_for_the_next_owner(tmp_path: Path) -> None:
    async with nodes(tmp_path) as them:
        await them.edge.publish("news", "before")
        await them.cut_owner_off()
        async with trio.open_nursery() as nursery:
            stored: list[Any] = []

            async def publish() -> None:
                stored.append(await them.edge.publish("news", "between", id="b"))

            nursery.start_soon(publish)
            await until(lambda: them.edge.hub.log.statistics().backlog_bytes)
            await them.start_owner()
        assert stored[0]["seq"] == 2
        answer = await them.owner.pull("news", after="0")
        assert [each["data"] for each in answer.json["messages"]] == ["before", "between"]


async def test_what_changed_without_the_edge_is_so_afterwards(tmp_path: Path) -> None:
    async with nodes(tmp_path) as them:
        edge = them.edge
        await edge.publish("kept", 1)
        old = await edge.publish("gone", 1)
        again = await edge.publish("again", 1)
        token = edge.token(subscribe=["*"])
        async with edge.socket("/v1/ws?channels=kept,gone,again", token=token) as socket:
            await socket.expect("hello")
            generation = edge.hub.nodes.generation()
            await them.cut_owner_off()
            # Another life of the owner, of which the edge hears nothing while it is like this.
            owner = await them.start_owner()
            for channel in ("gone", "again"):
                path = f"/v1/channels/{channel}"
                assert (await owner.ask("DELETE", path, token=KEY)).status == 204
            await owner.publish("again", 2)
            await owner.publish("kept", 2)
            hints: dict[str, Any] = {}
            while hints.get("kept") != 2 or hints.get("again", "") <= again["epoch"]:
                hint = await socket.expect("hint")
                name = hint["channel"]
                hints[name] = hint["seq"] if name == "kept" else hint["epoch"]
            await until(lambda: "gone" not in edge.hub.log.heads)
            assert edge.hub.nodes.generation() > generation
            cursor = f"{old['epoch']}.{old['seq']}"
            assert (await edge.pull("gone", after=cursor)).code == "epoch_changed"
            answer = await edge.pull("kept", after="0")
            assert [each["data"] for each in answer.json["messages"]] == [1, 2]


async def test_an_owner_that_has_begun_anew_is_known_without_redis(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster, under_load(cluster) as load:
        await cluster.redis.kill()
        await cluster.owner.kill()
        await cluster.owner.start()
        await load.more()
        await load.settle()
