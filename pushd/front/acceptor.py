"""Accepting connections: as many at once as wait, up to the cap, and never dying of one."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket

import structlog
import trio

from pushd.core.responses import CLOSE, splice
from pushd.errors import Overloaded
from pushd.front.connection import Dispatcher, HttpConnection
from pushd.hub import Hub
from pushd.limits import Addresses, Shares, jittered

BATCH = 64  # accepts between two checkpoints
BACKLOG = 4096
OUT_OF_FILES_S = 0.1
SILENCE_S = 10.0  # after it was logged that nothing can be accepted
RESERVED_FILES = 0.9  # a tenth of the descriptors stays for the log and the rest

log = structlog.get_logger("pushd.front")


def listen(host: str, port: int) -> socket.socket:
    """A listening, non-blocking TCP socket. Raises OSError, whose file name is the address."""
    sock = _bound(host, port, shared=False)
    sock.listen(BACKLOG)
    return sock


def reserve(host: str, port: int) -> socket.socket:
    """An address that several processes share: bound, so that it can be had, and nobody else takes
    it. Nothing arrives before it listens. Raises as ``listen``."""
    return _bound(host, port, shared=True)


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        error.filename = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
        raise
    return sock


def raise_file_limit() -> int:
    """As many descriptors as the system lets us have; returns how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return int(soft * RESERVED_FILES) if soft != resource.RLIM_INFINITY else 1 << 30


class Acceptor:
    """One listening socket. ``run`` ends when the socket is closed or by cancellation."""

    def __init__(
        self,
        sock: socket.socket,
        hub: Hub,
        dispatcher: Dispatcher,
        connections: trio.Nursery,
        most: int,
    ) -> None:
        self.live: dict[HttpConnection, None] = {}
        self._sock = sock
        self._hub = hub
        self._dispatcher = dispatcher
        self._connections = connections
        self._most = most
        settings = hub.settings
        # A peer that is gone acknowledges nothing: the kernel ends its connection then, also one
        # that we have closed. What is accepted inherits it.
        silence_ms = int(settings.heartbeat_timeout * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)
        self._key = Addresses(settings.trusted_proxies).key
        self._of_address = Shares(
            settings.max_connections_per_address, "connections of one address"
        )
        self._one_ended = trio.Event()
        self._silent_until = -SILENCE_S

    async def run(self) -> None:
        """From now on connections arrive, also at an address that was only reserved."""
        with contextlib.suppress(OSError):  # it was closed at once
            self._sock.listen(BACKLOG)
        while self._sock.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(self._sock)
            except trio.ClosedResourceError:
                return
            try:
                for _ in range(BATCH):
                    self._take(*self._sock.accept())
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except OSError as error:
                if self._sock.fileno() < 0:
                    return  # closed between its connection and our turn
                # The socket itself is at fault, or accept(2) tells of the new connection's trouble.
                if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP):
                    raise
                self._tell(error)
                await trio.sleep(OUT_OF_FILES_S)

    def _tell(self, error: OSError) -> None:
        """Once in a while, not ten times a second."""
        now = trio.current_time()
        if now >= self._silent_until:
            self._silent_until = now + SILENCE_S
            log.error("cannot accept", error=error.strerror)

    def _admit(self, address: str) -> str | None:
        """What the connection is counted under. Raises Overloaded."""
        hub = self._hub
        if hub.connections >= self._most:
            raise Overloaded(
                "This node has all the connections it may have.", retry_after=jittered()
            )
        hub.check_load()
        key = self._key(address)
        if key is not None:
            self._of_address.enter(key)
        return key

    def _turn_away(self, sock: socket.socket, error: Overloaded) -> None:
        """Say so, if the socket takes it at once: those that are refused cost next to nothing."""
        self._hub.counters.connections_refused += 1
        self._hub.counters.errors[error.code] += 1
        with sock:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.send(splice(self._hub.responses.problem(error), CLOSE))

    def close(self) -> None:
        """Stop accepting; connections go on."""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    async def one_ended(self) -> None:
        """Wait until a connection has ended."""
        self._one_ended = trio.Event()
        await self._one_ended.wait()

    def _take(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        try:
            key = self._admit(peer[0])
        except Overloaded as error:
            self._turn_away(sock, error)
            return
        self._hub.counters.connections_accepted += 1
        sock.setblocking(False)
        self._hub.connections += 1
        connection = HttpConnection(sock, peer[0], self._hub, self._dispatcher)
        self.live[connection] = None
        self._connections.start_soon(self._supervise, connection, key)

    async def _supervise(self, connection: HttpConnection, key: str | None) -> None:
        """One connection's failure is its own: logged here, felt by nobody else."""
        try:
            await connection.run()
        except Exception:
            log.exception("connection failed", address=connection.address)
        finally:
            self._hub.connections -= 1
            if key is not None:
                self._of_address.leave(key)
            self.live.pop(connection, None)
            self._one_ended.set()
