"""The real program with workers: its parent, its nodes, and the Redis that joins them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.support.redis import RedisServer
from tests.support.server import ServerProcess

WORKERS = 2
PATIENCE_S = 60.0
CLUSTER_KEY = "a-key-that-all-nodes-share"


@asynccontextmanager
async def workers(home: Path, **given: str) -> AsyncIterator[tuple[ServerProcess, RedisServer]]:
    """Ready: the owner ``n``, the edges ``n-1`` and ``n-2``. ``given``: settings as texts."""
    async with RedisServer(home / "redis") as redis:
        settings = {"redis": redis.url, "workers": str(WORKERS), "node_id": "n", "drain": "2s"}
        settings |= given
        server = ServerProcess(home, **settings)
        server.environ["PUSHD_CLUSTER_KEY"] = CLUSTER_KEY
        server.secrets.append(CLUSTER_KEY)
        server.may_fail = True  # who is killed is told of as an error
        async with server:
            yield server, redis


def processes(server: ServerProcess) -> dict[str, int]:
    """The nodes that run: their process ids by their names."""
    assert server.process is not None
    found = {}
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")  # threads start processes
    for pid in {int(pid) for children in tasks for pid in children.read_text().split()}:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        for variable in variables:
            name, _, value = variable.partition(b"=")
            if name == b"PUSHD_NODE_ID":
                found[value.decode()] = pid
    return found


async def until(happens: Callable[[], bool]) -> None:
    """Waits; it is looked often."""
    with trio.fail_after(PATIENCE_S):
        while not happens():
            await trio.sleep(0.02)
