"""The network between processes of one machine: cut, slow, silent, or without Redis's messages.

A ``Link`` listens for one server. Whoever connects is known by its process, so that one address,
such as the owner's, can be cut off from one node and not from another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
_PIECE = 16384


class Line:
    """What passes between one process and the server. Change it while it runs."""

    def __init__(self) -> None:
        self.delay = 0.0  # seconds, each way
        self.thin: Callable[[bytes], bytes] = lambda data: data  # of what the server says
        self.passed = 0  # bytes
        self._accepts = True
        self._open = trio.Event()
        self._open.set()
        self._scopes: set[trio.CancelScope] = set()

    def cut(self) -> None:
        """What is connected ends at once, and nothing new is let in."""
        self._accepts = False
        for scope in self._scopes:
            scope.cancel()

    def silence(self) -> None:
        """Nothing passes, nothing ends: packets are lost, and nobody says so."""
        if self._open.is_set():
            self._open = trio.Event()

    def heal(self) -> None:
        """What was held up comes now."""
        self._accepts = True
        self.delay = 0.0
        self.thin = lambda data: data
        self._open.set()

    async def carry(self, client: trio.SocketStream, port: int) -> None:
        if not self._accepts:
            return
        with trio.CancelScope() as scope, suppress(*_GONE):
            self._scopes.add(scope)
            try:
                await self._open.wait()
                server = await trio.open_tcp_stream("127.0.0.1", port)
                async with server, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass, client, server, scope, False)
                    nursery.start_soon(self._pass, server, client, scope, True)
            finally:
                self._scopes.discard(scope)

    async def _pass(
        self,
        source: trio.SocketStream,
        target: trio.SocketStream,
        scope: trio.CancelScope,
        answers: bool,
    ) -> None:
        with suppress(*_GONE):
            while data := await source.receive_some(_PIECE):
                if self.delay:
                    await trio.sleep(self.delay)
                await self._open.wait()
                self.passed += len(data)
                if answers:
                    data = self.thin(data)
                if data:
                    await target.send_all(data)
        scope.cancel()


class Link:
    """``lines`` by the name of the process; ``pids`` says which process that is."""

    def __init__(self, target: int, names: list[str], pids: Callable[[], dict[str, int]]) -> None:
        """``target``: the server's port on the loopback."""
        self.target = target
        self.port = 0
        self.lines = {name: Line() for name in names}
        self._pids = pids

    def heal(self) -> None:
        for line in self.lines.values():
            line.heal()

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self._serve, self.port)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        name = self._who(client.socket.getpeername()[1])
        if name is not None:
            await self.lines[name].carry(client, self.target)

    def _who(self, port: int) -> str | None:
        inode = _inode(port, self.port)
        for name, pid in self._pids().items():
            if name in self.lines and inode is not None and _has(pid, inode):
                return name
        return None


def _inode(local: int, remote: int) -> str | None:
    """Of the socket from ``local`` to ``remote`` on the loopback."""
    ends = (f"0100007F:{local:04X}", f"0100007F:{remote:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if (columns[1], columns[2]) == ends:
            return columns[9]
    return None


def _has(pid: int, inode: str) -> bool:
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(file.readlink()) == f"socket:[{inode}]":
                    return True
    return False


_MESSAGE = re.compile(rb"[*>]3\r\n\$7\r\nmessage\r\n\$\d+\r\n[^\r]*\r\n\$(\d+)\r\n")


def without_messages(data: bytes) -> bytes:
    """Of what Redis says, the messages of pub/sub are lost; the rest passes."""
    kept = b""
    while found := _MESSAGE.search(data):
        kept += data[: found.start()]
        data = data[found.end() + int(found[1]) + 2 :]
    return kept + data
