"""Three real nodes over a real Redis, owner, east and west, and lines that can be cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.support.histories import Event, Restored
from tests.support.links import Line, Link
from tests.support.redis import RedisServer
from tests.support.server import ROOT, ServerProcess, free_port

OWNER, EAST, WEST = NAMES = ("owner", "east", "west")
EDGES = (EAST, WEST)
CLUSTER_KEY = "the-key-that-all-nodes-share-0123456789"


class Node(ServerProcess):
    """One of them. ``kill`` and ``start`` are SIGKILL and a start in place."""

    def __init__(self, home: Path, name: str, **settings: str) -> None:
        super().__init__(home / name, node_id=name, **settings)
        self.name = name
        self.environ["PUSHD_CLUSTER_KEY"] = CLUSTER_KEY
        self.secrets.append(CLUSTER_KEY)
        self.may_fail = True  # it says what it cannot reach; tracebacks are looked for below

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        return super().log() if self.log_path.exists() else ""

    def check_log(self) -> None:
        super().check_log()
        text = self.log()
        assert "Traceback" not in text, text[-6000:]

    async def offline(self, command: str, *arguments: object) -> None:
        """``pushctl`` with its data directory. CalledProcessError when it fails."""
        line = [sys.executable, "-m", "pushd", command, *map(str, arguments)]
        await trio.run_process(
            [*line, "--data", str(self.data)],
            cwd=ROOT,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
        )


class Cluster:
    """``nodes`` by name; ``to_owner`` and ``to_redis`` are the lines of the nodes to those."""

    def __init__(self, home: Path, redis: RedisServer, **settings: str) -> None:
        self.home = home
        self.redis = redis
        self.history: list[Event] = []
        port = free_port()
        self._to_owner = Link(port, [EAST, WEST], self._pids)
        self._to_redis = Link(redis.port, list(NAMES), self._pids)
        self._settings = {"cluster_sync": "200ms", **settings}
        self._inner = f"127.0.0.1:{port}"
        self.nodes: dict[str, Node] = {}

    def _pids(self) -> dict[str, int]:
        nodes = self.nodes.values()
        return {node.name: node.process.pid for node in nodes if node.process is not None}

    @property
    def owner(self) -> Node:
        return self.nodes[OWNER]

    def to_owner(self, name: str) -> Line:
        return self._to_owner.lines[name]

    def to_redis(self, name: str) -> Line:
        return self._to_redis.lines[name]

    @property
    def redis_lines(self) -> list[Line]:
        return list(self._to_redis.lines.values())

    async def open(self, nursery: trio.Nursery) -> None:
        await nursery.start(self._to_owner.serve)
        await nursery.start(self._to_redis.serve)
        common = {**self._settings, "redis": f"redis://127.0.0.1:{self._to_redis.port}"}
        inner = {
            "cluster_listen": self._inner,
            "advertise": f"http://127.0.0.1:{self._to_owner.port}",
        }
        self.nodes[OWNER] = Node(self.home, OWNER, **common, **inner)
        for name in EDGES:
            self.nodes[name] = Node(self.home, name, **common, edge="true")
        await self.owner.start()
        async with trio.open_nursery() as starting:
            for name in EDGES:
                starting.start_soon(self.nodes[name].start)

    async def close(self) -> None:
        for node in self.nodes.values():
            if node.process is not None and node.process.returncode is None:
                await node.kill()

    # -- what an operator does ---------------------------------------------------------------------

    async def back_up(self, file: Path) -> int:
        """How many events the history had when it began."""
        covers = len(self.history)
        await self.owner.offline("backup", file, "--force")
        return covers

    async def restore(self, file: Path, covers: int) -> None:
        """Of an owner that was killed, and whose last acks have come."""
        await self.owner.offline("restore", file, "--force")
        self.history.append(Restored(covers))


@asynccontextmanager
async def running_cluster(home: Path, **settings: str) -> AsyncIterator[Cluster]:
    """All nodes are ready inside. A failing test shows their logs."""
    async with RedisServer(home / "redis") as redis, trio.open_nursery() as nursery:
        cluster = Cluster(home, redis, **settings)
        try:
            await cluster.open(nursery)
            yield cluster
        except BaseException as error:
            for node in cluster.nodes.values():
                error.add_note(f"-- {node.name} ends with:\n{node.log()[-3000:]}")
            raise
        finally:
            with trio.CancelScope(shield=True):
                await cluster.close()
        for node in cluster.nodes.values():
            node.check_log()
        nursery.cancel_scope.cancel()
