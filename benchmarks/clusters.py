"""Starts a Redis, an owner and edges afresh, each a process of its own."""

from __future__ import annotations

import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from benchmarks.generator import BenchmarkError
from benchmarks.servers import Server


@dataclass
class Cluster:
    owner: Server
    edges: list[Server]


@contextmanager
def redis(scratch: Path) -> Iterator[str]:
    """Its address. Nothing is kept on disk."""
    port = servers.free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    scratch.mkdir()
    with servers.process([*command, "--dir", str(scratch)], scratch, {}):
        end = time.monotonic() + servers.READY_S
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if time.monotonic() > end:
                raise BenchmarkError("redis-server does not listen")
            time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def cluster(scratch: Path, edges: int, *, shared: bool = False) -> Iterator[Cluster]:
    """``shared``: all edges have one port, and are one of ``edges`` that is yielded."""
    key, secret = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    with ExitStack() as stack:
        common = {
            "PUSHD_REDIS": stack.enter_context(redis(scratch / "redis")),
            "PUSHD_CLUSTER_KEY": secrets.token_urlsafe(32),
        }
        owner = stack.enter_context(_node(scratch / "owner", key, secret, common))
        started = []
        for number in range(1 if shared else edges):
            own = {"PUSHD_EDGE": "true"} | ({"PUSHD_WORKERS": str(edges - 1)} if shared else {})
            node = _node(scratch / f"edge-{number}", key, secret, common | own)
            started.append(stack.enter_context(node))
        yield Cluster(owner, started)


@contextmanager
def _node(home: Path, key: str, secret: str, environ: dict[str, str]) -> Iterator[Server]:
    home.mkdir()
    port = servers.free_port()
    environ = {**servers.NO_LIMITS, "PUSHD_API_KEY": key, "PUSHD_JWT_SECRET": secret, **environ}
    environ["PUSHD_NODE_ID"] = home.name
    command = [sys.executable, "-m", "pushd", "serve"]
    command += ["--listen", f"127.0.0.1:{port}", "--data", str(home / "data")]
    began = time.monotonic()
    with servers.process(command, home, environ) as started:
        servers.await_readyz(started, port)
        options = servers.options(port, started.pid, key, secret)
        yield Server(started.pid, port, time.monotonic() - began, options, key, secret)
