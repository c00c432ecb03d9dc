"""The answering half of one HTTP/1.1 connection: what goes back, and how it ends.

Answers are written where they arise, also by whoever finishes a held poll. A connection closes once
its last answer is out, and lingers, so that the answer arrives.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

import trio

from pushd.core.responses import CLOSE, CONTINUE, head_of, splice
from pushd.errors import Overloaded, PushdError
from pushd.front.greetings import Greetings
from pushd.front.origins import readable
from pushd.front.patience import Patience
from pushd.front.request import RequestReader
from pushd.hub import Hub
from pushd.outgoing import Outgoing


class Waiting(Protocol):
    """What an unanswered request waits for."""

    def cancel(self) -> None:
        """The connection is over."""


class Answering:
    """``busy`` from a request's dispatch to its answer; ``waiting``: what it waits for, if it does.

    ``closing``: no more requests are served.
    """

    __slots__ = (
        "_extra",
        "_last",
        "_patience",
        "_resumed",
        "_streaming",
        "address",
        "busy",
        "closing",
        "hub",
        "out",
        "reader",
        "sock",
        "waiting",
    )

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        hub: Hub,
        reader: RequestReader,
        greetings: Greetings,
    ) -> None:
        self.sock = sock
        self.address = address
        self.hub = hub
        self.out = Outgoing(sock, hub.flusher)
        self.out.on_drained = self._drained
        self.reader = reader
        self.reader.body.on_give_way = self._give_way
        self.busy = False
        self.closing = False
        self.waiting: Waiting | None = None
        self._last = False  # close after the answer under way
        self._extra = b""  # header lines of the answer under way
        self._resumed: trio.Event | None = None
        self._streaming = False
        self._patience = Patience(self, hub, greetings)

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

    def refuse(self, error: PushdError, *, bodiless: bool = False) -> None:
        """Answer with a problem (RFC 9457). ``bodiless``: to a HEAD request."""
        counters = self.hub.counters
        counters.errors[error.code] += 1
        if error.status == 410:
            counters.resets += 1
        answer = self.hub.responses.problem(error)
        self.respond(head_of(answer) if bodiless else answer)

    def reject(self, error: PushdError) -> None:
        """Answer what is not even a whole request, and close. Pages may read why, too."""
        self.busy = self._last = True
        unfinished = self.reader.unfinished
        self._extra = b"" if unfinished is None else readable(self.hub, unfinished)
        self.refuse(error)

    def stream(self, head: bytes, owner: Waiting, drained: Callable[[], None]) -> None:
        """An answer begins that ``owner`` goes on writing, until ``end_stream``. ``drained`` is
        called when the socket takes more."""

        def on_drained() -> None:
            drained()
            self._resume()  # given up: the task has to see it

        self._last = self._streaming = True
        self.waiting = owner
        self.out.on_drained = on_drained
        self.out.write(splice(head, self._extra + CLOSE))

    def end_stream(self, last: bytes) -> None:
        """Its last bytes; then the connection closes."""
        self.busy = self._streaming = False
        self.waiting = None
        self.out.on_drained = self._drained
        self._patience.answered()
        if last:
            self.out.write(last)
        self.close()

    def _invite(self) -> None:
        """Tell a client that asked first that its body is welcome."""
        if self.reader.expects_continue and not self.busy:
            self.reader.expects_continue = False
            self.out.write(CONTINUE)

    def _resume(self) -> None:
        """Let the task read on."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    # -- ends ------------------------------------------------------------------------------------

    @property
    def occupied(self) -> bool:
        """A request is unanswered, or an answer is not out yet."""
        return not self.out.closed and (self.busy or self.out.hold)

    @property
    def owing(self) -> bool:
        """A request is unanswered. A stream is its own master."""
        return self.busy and not self._streaming

    def close(self) -> None:
        """No more requests; close once the answer is out."""
        if self.closing:
            return
        self.closing = True
        self._patience.linger()
        self._resume()
        if not self.out.hold:
            self._drained()

    def drain(self) -> None:
        """Shutdown: close now if idle, else after the answer under way."""
        if self.busy:
            self._last = True
        else:
            self.close()

    def abort(self) -> None:
        """Give it up: its task sees the end."""
        self.out.abort()

    def _drained(self) -> None:
        """The socket took everything, or the connection was given up."""
        self._resume()
        if self.out.closed or not self.closing:
            return
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.out.abort()

    def _give_way(self) -> None:
        """The body under way takes long, and others need its room."""
        if self.closing:
            return
        if self.occupied:
            self.abort()  # an answer is owed before this one
        else:
            self.reject(Overloaded("The body took long, and others need the room.", retry_after=1))
