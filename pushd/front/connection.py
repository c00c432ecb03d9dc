"""One HTTP/1.1 connection: a small machine that bytes and finished answers drive.

Its one task only reads the socket, so it sees the client leave while a poll is held. Requests that
are pipelined behind an unanswered one wait their turn. Answers are in ``answering``.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
import trio

from pushd.errors import PushdError
from pushd.front.answering import Answering
from pushd.front.asking import Asking
from pushd.front.caller import Caller
from pushd.front.greetings import Greetings
from pushd.front.lingering import read_away
from pushd.front.origins import readable
from pushd.front.repeat import Repeats
from pushd.front.request import Request, RequestReader
from pushd.hook import Question, Unasked
from pushd.hub import Hub

READ_SIZE = 65536
TURN = 16  # requests of one connection between two checkpoints

log = structlog.get_logger("pushd.front")

Engine = Callable[["HttpConnection"], Awaitable[None]]


class Dispatcher(Protocol):
    """Which request goes where."""

    greetings: Greetings

    def dispatch(self, connection: HttpConnection, request: Request) -> None:
        """Serve it, or hand the connection over. Raises PushdError."""

    def reader(self, caller: Caller) -> RequestReader:
        """One for a new connection, with the limits of the routes."""
        ...


class HttpConnection(Answering):
    """Reads requests and has them served, until ``handover`` ends the HTTP life."""

    __slots__ = (
        "_dispatcher",
        "_handed",
        "_repeats",
        "caller",
        "handover",
        "leftover",
    )

    def __init__(self, sock: socket.socket, address: str, hub: Hub, dispatcher: Dispatcher) -> None:
        self.caller = Caller(hub, address)
        reader = dispatcher.reader(self.caller)
        super().__init__(sock, address, hub, reader, dispatcher.greetings)
        self.handover: Engine | None = None
        self._handed: Request | None = None
        self.leftover = b""
        self._dispatcher = dispatcher
        self._repeats = Repeats()

    # -- the task ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read until the peer leaves or the connection is handed over."""
        try:
            await self._read_socket()
            self._patience.end()
            if self.handover is not None and not self.out.closed:
                await self.handover(self)
                self.out.finish()
                await read_away(self.sock)
        finally:
            self._patience.end()
            if self.waiting is not None:
                self.waiting.cancel()
            if self.handover is None:
                self.reader.close()
            self.out.release()

    async def _read_socket(self) -> None:
        sock = self.sock
        while self.handover is None and not self.out.closed:
            if self.reader.ready and not self.closing:
                await self._serve_on()
                continue
            if self.caller.gate is not None:
                await self._wait_at(self.caller.gate)
                continue
            try:
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                continue
            except trio.ClosedResourceError:
                continue  # the socket was given up: the loop's condition says so
            except OSError as error:
                self.out.failed(error)
                return
            if not data:
                return
            if not self.closing:
                self._received(data)

    async def _wait_at(self, gate: Question) -> None:
        """A large body is read on only for those who may send something at all."""
        self.caller.gate = None
        try:
            await gate.answered()
        except PushdError as error:
            # Whatever is in front of it has its answer first; then it is told, and closed.
            self.reader.ready.append(error.again())
        else:
            self._invite()

    async def _serve_on(self) -> None:
        """Pipelined requests: a few a turn, and none before the answer in front of it is out."""
        if self.busy or self.out.hold:
            self._resumed = trio.Event()
            await self._resumed.wait()
        else:
            await trio.lowlevel.checkpoint()
            self._process()

    def _received(self, data: bytes) -> None:
        reader = self.reader
        self.hub.counters.bytes_in += len(data)
        fresh = not (self.busy or reader.ready or self._patience.phase)
        repeated = self._repeats.match(data) if fresh else None
        if repeated is not None and reader.admits(repeated):
            reader.ready.append(repeated)
            self._process()
            return
        try:
            self.leftover = reader.feed(data)
        except PushdError as error:
            reader.ready.append(error)
        else:
            if fresh and len(reader.ready) == 1 and reader.partial is None:
                only = reader.ready[0]
                if isinstance(only, Request):
                    self._repeats.learn(data, only)
        if reader.ready and not self.busy:
            self._process()
        if reader.partial != self._patience.phase:
            self._patience.enter(reader.partial)
        if self.caller.gate is None:
            self._invite()
        elif reader.partial != "body":
            self.caller.gate = None  # it is whole: it waits like others

    # -- requests --------------------------------------------------------------------------------

    def _process(self) -> None:
        """Serve what is complete, in order, until something has to wait. In its own task only."""
        ready = self.reader.ready
        for _ in range(TURN):
            if not ready or self.busy or self.closing or self.out.hold or self.handover:
                break
            request = self.reader.next()
            self.busy = True
            self._patience.greeted()
            self.hub.counters.requests += 1
            if isinstance(request, PushdError):
                self.reject(request)
                break
            self._last = not request.keep_alive
            self._extra = readable(self.hub, request)
            self.serve(request)

    def serve(self, request: Request) -> None:
        """Have it answered; also once more, when the application has said whose it is."""
        try:
            try:
                self._dispatcher.dispatch(self, request)
            except Unasked as unasked:
                Asking(self, request, unasked.question)
        except PushdError as error:
            self.refuse(error, bodiless=request.method == b"HEAD")
        except Exception:
            log.exception("request failed", path=request.path.decode(errors="replace"))
            self.refuse(PushdError("The server failed to answer this."))

    def hand_over(self, engine: Engine, request: Request) -> None:
        """From here on ``engine`` owns the connection; runs in the connection's own task."""
        self.handover = engine
        self._handed = request

    @property
    def handed_path(self) -> bytes:
        """Of the request that an engine is about to take."""
        assert self._handed is not None
        return self._handed.path

    @property
    def greetings(self) -> Greetings:
        """Where connections are counted that keep quiet."""
        return self._dispatcher.greetings

    def take_handed(self) -> Request:
        """For the engine, once: the request. What only HTTP needed is let go (3 kB)."""
        request = self._handed
        assert request is not None
        self._handed = None
        self.reader.close()
        del self.reader, self._repeats, self.caller
        return request
