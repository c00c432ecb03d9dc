"""The outgoing side of one connection: one owner of what the socket has not taken yet.

A write goes straight to the non-blocking socket. What does not fit is kept, and a flusher (a
short-lived task with a deadline) waits for the socket. Whoever has something conflatable looks
at ``hold`` first and marks instead of writing.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import deque
from collections.abc import Callable

import structlog
import trio

from pushd.kept import Kept
from pushd.metrics import Counters

log = structlog.get_logger("pushd.outgoing")


class Flusher:
    """Owns the tasks that wait for sockets to take more. Lives as a service."""

    def __init__(
        self, nursery: trio.Nursery, write_timeout: float, counters: Counters, kept: Kept
    ) -> None:
        self.nursery = nursery
        self.kept = kept
        self.write_timeout = write_timeout
        self.counters = counters


def _nothing() -> None:
    return None


class Outgoing:
    """``hold`` is true while a write would have to wait, or must not happen yet or any more."""

    __slots__ = (
        "_flusher",
        "_tail",
        "closed",
        "corked",
        "hold",
        "on_drained",
        "send",
        "sock",
        "tail_bytes",
        "vanished",
    )

    def __init__(self, sock: socket.socket, flusher: Flusher) -> None:
        self.sock = sock
        self.send = sock.send
        self.hold = False
        self.corked = False
        self.closed = False
        self.vanished = False
        self.on_drained: Callable[[], None] = _nothing
        self.tail_bytes = 0
        # What was to be written, and what is left of it. Made when first needed: most never are.
        self._tail: deque[tuple[bytes, memoryview]] | None = None
        self._flusher = flusher

    def write(self, data: bytes) -> bool:
        """Send or keep. True when the socket took everything."""
        if self.closed:
            return False
        if self._tail:
            self._keep(data, 0)
            return False
        try:
            sent = self.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.failed(error)
            self.abort()
            return False
        self._flusher.counters.bytes_out += sent
        if sent == len(data):
            return True
        self._flusher.nursery.start_soon(self._flush)
        self._keep(data, sent)
        return False

    def cork(self) -> None:
        """Hold back what is conflatable (hints) until ``uncork``; explicit writes still go out."""
        self.corked = True
        self.hold = True

    def uncork(self) -> None:
        """What was held back may go, as far as the socket takes it."""
        self.corked = False
        self.hold = self.closed or bool(self._tail)
        if not self.hold:
            self.on_drained()

    def failed(self, error: OSError) -> None:
        """What the socket said last. ``vanished``: the peer acknowledged nothing for too long."""
        if error.errno == errno.ETIMEDOUT and not self.vanished:
            self.vanished = True
            self._flusher.counters.peers_vanished += 1

    def abort(self) -> None:
        """Give the connection up: its reader sees the end and cleans up in its own task."""
        if self.closed:
            return
        self.closed = self.hold = True
        self._drop_tail()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.on_drained()  # whoever waits for the socket must learn that it is over

    def finish(self) -> None:
        """Nothing more will be written; what was sent still arrives. The owner reads the rest."""
        if self.closed:
            return
        self.closed = self.hold = True
        self._drop_tail()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.on_drained()

    def release(self) -> None:
        """The owner has ended: drop what is kept and close the socket, waking its waiters."""
        self.closed = self.hold = True
        self._drop_tail()
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()
        self.on_drained = _nothing

    def _keep(self, data: bytes, sent: int) -> None:
        if self._tail is None:
            self._tail = deque()
        self._tail.append((data, memoryview(data)[sent:]))
        self.tail_bytes += len(data) - sent
        self.hold = True
        self._flusher.kept.keep(self, data)

    def _drop_tail(self) -> None:
        if self._tail:
            kept = self._flusher.kept
            for data, _ in self._tail:
                kept.let_go(data)
            kept.done(self)
        self._tail = None
        self.tail_bytes = 0

    async def _flush(self) -> None:
        """Wait until the socket takes the tail; a stall past the deadline ends the connection."""
        while self._tail and not self.closed:
            with trio.move_on_after(self._flusher.write_timeout) as scope:
                try:
                    await trio.lowlevel.wait_writable(self.sock)
                except (OSError, trio.ClosedResourceError):
                    return
            if scope.cancelled_caught:
                self.abort()
                return
            self._send_tail()
        if not self.closed:
            self.hold = self.corked
            try:
                self.on_drained()
            except Exception:  # one connection's failure is its own
                log.exception("a connection could not go on")
                self.abort()

    def _send_tail(self) -> None:
        kept = self._flusher.kept
        while self._tail:
            data, piece = self._tail[0]
            try:
                sent = self.send(piece)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.failed(error)
                self.abort()
                return
            self._flusher.counters.bytes_out += sent
            self.tail_bytes -= sent
            kept.took(self)
            if sent < len(piece):
                self._tail[0] = (data, piece[sent:])
                return
            self._tail.popleft()
            kept.let_go(data)
        kept.done(self)
