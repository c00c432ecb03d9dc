"""One HTTP/1.1 connection: a small machine that bytes and finished answers drive.

Its one task only reads the socket, so it sees the client leave while a poll is held. Answers are
written where they arise: by the handler, by fan-out, by the log's callback. Requests that are
pipelined behind an unanswered one wait their turn.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
import trio

from pushd.core.responses import CLOSE, CONTINUE, head_of, splice
from pushd.errors import Overloaded, PushdError
from pushd.front.caller import Caller
from pushd.front.greetings import Greetings
from pushd.front.lingering import read_away
from pushd.front.patience import Patience
from pushd.front.repeat import Repeats
from pushd.front.request import Request, RequestReader
from pushd.hub import Hub
from pushd.outgoing import Outgoing

READ_SIZE = 65536
TURN = 16  # requests of one connection between two checkpoints

log = structlog.get_logger("pushd.front")


class Waiting(Protocol):
    """What an unanswered request waits for."""

    def cancel(self) -> None: ...


Engine = Callable[["HttpConnection"], Awaitable[None]]


class Dispatcher(Protocol):
    def dispatch(self, connection: HttpConnection, request: Request) -> None: ...

    def reader(self) -> RequestReader: ...

    greetings: Greetings


class HttpConnection:
    """``busy`` from a request's dispatch to its answer. ``handover`` ends the HTTP life."""

    __slots__ = (
        "_dispatcher",
        "_extra",
        "_handed",
        "_last",
        "_patience",
        "_repeats",
        "_resumed",
        "address",
        "busy",
        "caller",
        "closing",
        "handover",
        "hub",
        "leftover",
        "out",
        "reader",
        "sock",
        "waiting",
    )

    def __init__(self, sock: socket.socket, address: str, hub: Hub, dispatcher: Dispatcher) -> None:
        self.sock = sock
        self.address = address
        self.hub = hub
        self.out = Outgoing(sock, hub.flusher)
        self.out.on_drained = self._drained
        self.reader = dispatcher.reader()
        self.reader.on_give_way = self._give_way
        self.busy = False
        self.closing = False
        self.waiting: Waiting | None = None
        self.caller = Caller(hub)
        self.handover: Engine | None = None
        self._handed: Request | None = None
        self.leftover = b""
        self._dispatcher = dispatcher
        self._repeats = Repeats()
        self._last = False  # close after the answer under way
        self._extra = b""
        self._resumed: trio.Event | None = None
        self._patience = Patience(self, hub, dispatcher.greetings)

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
            try:
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                continue
            except trio.ClosedResourceError:
                continue  # the socket was given up: the loop's condition says so
            except OSError:
                return
            if not data:
                return
            if not self.closing:
                self._received(data)

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
        self._invite()

    def _invite(self) -> None:
        """Tell a client that asked first that its body is welcome."""
        if self.reader.expects_continue and not self.busy:
            self.reader.expects_continue = False
            self.out.write(CONTINUE)

    # -- requests and answers --------------------------------------------------------------------

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
            self._extra = self._cors(request)
            try:
                self._dispatcher.dispatch(self, request)
            except PushdError as error:
                self.refuse(error, bodiless=request.method == b"HEAD")
            except Exception:
                log.exception("request failed", path=request.path.decode(errors="replace"))
                self.refuse(PushdError("The server failed to answer this."))

    def respond(self, answer: bytes) -> None:
        """The answer to the request under way. Nothing happens if the peer has left."""
        self.busy = False
        self.waiting = None
        if self.out.closed:
            return
        if self._extra or self._last:
            answer = splice(answer, self._extra + CLOSE if self._last else self._extra)
        self._patience.answered()
        self.out.write(answer)
        if self._last:
            self.close()
        elif self.reader.ready:
            self._resume()
        elif self.reader.expects_continue:
            self._invite()

    def stream(self, head: bytes, owner: Waiting, drained: Callable[[], None]) -> None:
        """An answer begins that ``owner`` goes on writing, until ``end_stream``. ``drained`` is
        called when the socket takes more."""

        def on_drained() -> None:
            drained()
            self._resume()  # given up: the task has to see it

        self._last = True
        self.waiting = owner
        self.out.on_drained = on_drained
        self.out.write(splice(head, self._extra + CLOSE))

    def end_stream(self, last: bytes) -> None:
        """Its last bytes; then the connection closes."""
        self.busy = False
        self.waiting = None
        self.out.on_drained = self._drained
        self._patience.answered()
        if last:
            self.out.write(last)
        self.close()

    def refuse(self, error: PushdError, *, bodiless: bool = False) -> None:
        """Answer with a problem (RFC 9457). ``bodiless``: to a HEAD request."""
        counters = self.hub.counters
        counters.errors[error.code] += 1
        if error.status == 410:
            counters.resets += 1
        answer = self.hub.responses.problem(error)
        self.respond(head_of(answer) if bodiless else answer)

    def hand_over(self, engine: Engine, request: Request) -> None:
        """From here on ``engine`` owns the connection; runs in the connection's own task."""
        self.handover = engine
        self._handed = request

    def _resume(self) -> None:
        """Let the task read on."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    @property
    def greetings(self) -> Greetings:
        return self._dispatcher.greetings

    def take_handed(self) -> Request:
        """For the engine, once: the request. What only HTTP needed is let go (3 kB)."""
        request = self._handed
        assert request is not None
        self._handed = None
        self.reader.close()
        del self.reader, self._repeats, self.caller
        return request

    def _cors(self, request: Request) -> bytes:
        origin = request.headers.get(b"origin")
        if origin is None or not self.hub.origins.allows(origin.decode("latin-1")):
            return b""
        return (
            b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n"
            b"Access-Control-Expose-Headers: Retry-After\r\n"
        ) % origin

    # -- ends ------------------------------------------------------------------------------------

    def close(self) -> None:
        """No more requests; close once the answer is out."""
        if self.closing:
            return
        self.closing = True
        self._patience.linger()
        self._resume()
        if not self.out.hold:
            self._drained()

    def _drained(self) -> None:
        """The socket took everything, or the connection was given up."""
        self._resume()
        if self.out.closed or not self.closing:
            return
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.out.abort()

    def drain(self) -> None:
        """Shutdown: close now if idle, else after the answer under way."""
        if self.busy:
            self._last = True
        else:
            self.close()

    # -- as its deadlines see it ---------------------------------------------------------------

    @property
    def occupied(self) -> bool:
        """A request is unanswered, or an answer is not out yet."""
        return not self.out.closed and (self.busy or self.out.hold)

    def reject(self, error: PushdError) -> None:
        """Answer what is not even a whole request, and close. Pages may read why, too."""
        self.busy = self._last = True
        unfinished = self.reader.unfinished
        self._extra = b"" if unfinished is None else self._cors(unfinished)
        self.refuse(error)

    def abort(self) -> None:
        self.out.abort()

    def _give_way(self) -> None:
        """The body under way takes long, and others need its room."""
        if self.closing:
            return
        if self.occupied:
            self.abort()  # an answer is owed before this one
        else:
            self.reject(Overloaded("The body took long, and others need the room.", retry_after=1))
