"""The real program with workers: its parent, its nodes, and the Redis that joins them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
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
    for pid in _children(server.process.pid):
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        for variable in variables:
            name, _, value = variable.partition(b"=")
            if name == b"PUSHD_NODE_ID":
                found[value.decode()] = pid
    return found


def _children(of: int) -> set[int]:
    """Of all its threads: any of them starts processes, and may end while it is looked."""
    found: set[int] = set()
    for thread in Path(f"/proc/{of}/task").iterdir():
        with suppress(OSError):
            found.update(map(int, (thread / "children").read_text().split()))
    return found


async def until(happens: Callable[[], bool]) -> None:
    """Waits; it is looked often."""
    with trio.fail_after(PATIENCE_S):
        while not happens():
            await trio.sleep(0.02)
