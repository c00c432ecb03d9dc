"""Several nodes of one host on one address: the parent that starts them and what dies anew.

The first one owns the log (unless all are edges), the others are edges. The kernel spreads
connections over them (SO_REUSEPORT).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from pushd.errors import CannotStart
from pushd.front.acceptor import reserve
from pushd.settings import Address, Settings
from pushd.worker import VARIABLE, Told

FIRST_PAUSE_S: Final = 0.1  # before one that died is started again; twice as long each time,
LONGEST_PAUSE_S: Final = 5.0  # until one has lived
STEADY_S: Final = 30.0  # so long
GRACE_S: Final = 20.0  # beyond their drain, for nodes that shall stop

log = structlog.get_logger("pushd.workers")


class _Node:
    """One of the nodes: what it is started with, and the process that runs now."""

    def __init__(self, name: str, environ: dict[str, str], *, owner: bool, closed: bool) -> None:
        self.name = name
        self.environ = environ
        self.owner = owner
        self.closed = closed
        self.process: trio.Process | None = None
        self.ready = trio.Event()
        self.was_ready = False
        self.ended = trio.Event()


class Workers:
    """``run`` is the parent's life. Raises CannotStart when a node cannot be started at all."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], config_file: Path | None
    ) -> None:
        """``environ``: with all that the command line said, as variables."""
        self._settings = settings
        self._command = [sys.executable, "-m", "pushd", "serve"]
        if config_file is not None:
            self._command += ["--config", str(config_file)]
        self._environ = dict(environ)
        self._stopping = trio.Event()
        self._nodes: list[_Node] = []

    async def run(self, ready: Callable[[str], None]) -> None:
        """Until SIGTERM or SIGINT: then the edges stop first, and the owner last."""
        with reserve(*self._settings.listen) as held:
            host, port = held.getsockname()[:2]
            address = Address(host, port)
            self._nodes = self._make_nodes(address)
            async with trio.open_nursery() as nursery:
                await nursery.start(self._watch_signals)
                for node in self._nodes:
                    nursery.start_soon(self._keep, node)
                await self._all_ready()
                if not self._stopping.is_set():
                    ready(f"http://{address}")
                await self._stopping.wait()
                await self._stop()
                nursery.cancel_scope.cancel()

    def _make_nodes(self, address: Address) -> list[_Node]:
        settings = self._settings
        nodes = []
        for number in range(settings.workers + 1):
            owner = number == 0 and not settings.edge
            name = settings.node_id if number == 0 else f"{settings.node_id}-{number}"
            own = {
                "PUSHD_WORKERS": "0",
                "PUSHD_LISTEN": str(address),
                "PUSHD_NODE_ID": name,
                "PUSHD_EDGE": str(not owner).lower(),
            }
            if owner:
                listen = settings.cluster_listen or Address("127.0.0.1", 0)
                own["PUSHD_CLUSTER_LISTEN"] = str(listen)
            else:
                own |= {"PUSHD_CLUSTER_LISTEN": "none", "PUSHD_ADVERTISE": "none"}
            closed = settings.admin_listen is not None
            if number:
                own["PUSHD_ADMIN_LISTEN"] = "none"
            nodes.append(_Node(name, {**self._environ, **own}, owner=owner, closed=closed))
        return nodes

    async def _all_ready(self) -> None:
        async with trio.open_nursery() as nursery:

            async def stopped() -> None:
                await self._stopping.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(stopped)
            for node in self._nodes:
                await node.ready.wait()
            nursery.cancel_scope.cancel()

    # -- one node ------------------------------------------------------------------------------

    async def _keep(self, node: _Node) -> None:
        """Start it, and again whenever it has died. Raises CannotStart at the first time."""
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            started = trio.current_time()
            code = await self._live(node)
            if self._stopping.is_set():
                break
            if not node.was_ready:
                raise CannotStart(f"node {node.name} ended with {code}; its log says why")
            if trio.current_time() - started > STEADY_S:
                pause = FIRST_PAUSE_S
            log.error("a node died: started again", node=node.name, code=code, pause_s=pause)
            with trio.move_on_after(pause):
                await self._stopping.wait()
            pause = min(pause * 2, LONGEST_PAUSE_S)
        node.ended.set()

    async def _live(self, node: _Node) -> int:
        """One life: the exit code."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                told = msgspec.json.encode(Told(theirs.fileno(), node.closed)).decode()
                node.process = await trio.lowlevel.open_process(
                    self._command,
                    env={**node.environ, VARIABLE: told},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is for the parent, which stops them in order
                )
            ours.setblocking(False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, node, ours)
                code = await node.process.wait()
                nursery.cancel_scope.cancel()
        return code

    async def _hear(self, node: _Node, lifeline: socket.socket) -> None:
        said = b""
        while not said.endswith(b"\n"):
            await trio.lowlevel.wait_readable(lifeline)
            data = lifeline.recv(4096)
            if not data:
                return
            said += data
        node.was_ready = True
        node.ready.set()
        log.info("node ready", node=node.name, owner=node.owner, pid=_pid(node))

    # -- the end -------------------------------------------------------------------------------

    async def _watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    self._tell(self._nodes, number)
                elif self._stopping.is_set():
                    self._tell(self._nodes, number)  # the second one is impatient
                else:
                    self._stopping.set()

    async def _stop(self) -> None:
        """Edges first: what their clients publish meanwhile still has an owner."""
        edges = [node for node in self._nodes if not node.owner]
        for nodes in (edges, [node for node in self._nodes if node.owner]):
            self._tell(nodes, signal.SIGTERM)
            with trio.move_on_after(self._settings.drain + GRACE_S):
                for node in nodes:
                    await node.ended.wait()
            self._tell(nodes, signal.SIGKILL)

    def _tell(self, nodes: list[_Node], number: int) -> None:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.send_signal(number)


def _pid(node: _Node) -> int | None:
    return None if node.process is None else node.process.pid


def environment_of(texts: Mapping[str, str], secrets: Mapping[str, str | None]) -> dict[str, str]:
    """The parent's variables, with what its command line says and the keys it has made up."""
    environ = dict(os.environ)
    environ.update({f"PUSHD_{name.upper()}": text for name, text in texts.items()})
    environ.update({f"PUSHD_{name.upper()}": text for name, text in secrets.items() if text})
    return environ
