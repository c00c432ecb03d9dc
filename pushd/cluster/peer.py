"""Asking another node: HTTP/1.1 over a few kept connections, each request with a deadline."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httptools
import trio

from pushd import __version__
from pushd.cluster.dialing import Dialed, dial
from pushd.cluster.refusals import refusal
from pushd.errors import Overloaded, OwnerAway

CONNECTIONS: Final = 8
WAITING: Final = 10_000  # requests that wait for one of them
MOST: Final = 64 * 1024 * 1024  # bytes of an answer
READ: Final = 256 * 1024


class Answer(NamedTuple):
    """Whole, whatever its status. ``doubled``: the request may have arrived twice, and this is the
    answer to the second."""

    status: int
    body: bytes
    doubled: bool = False


class Peer:
    """One other node. ``credential`` makes what is sent as bearer token, for each request.

    A request that a kept connection loses before anything was heard is sent once more on a new
    one: so the other side may get it twice.
    """

    def __init__(
        self,
        url: str,
        credential: Callable[[], str],
        *,
        connections: int = CONNECTIONS,
        waiting: int = WAITING,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """``url``: http or https. ``context``: whom to trust; None: as the system does."""
        parts = urlsplit(url)
        self.url = url
        self._netloc = parts.netloc.rpartition("@")[2]
        self._base = parts.path.rstrip("/")
        self._credential = credential
        self._room = trio.Semaphore(connections)
        self._most_waiting = waiting
        self._waiting = 0
        self._context = context
        self._idle: list[_Connection] = []
        self._closed = False

    async def ask(self, method: str, path: str, body: bytes = b"", *, deadline: float) -> bytes:
        """The body of a good answer. Raises what the other node refuses with; see ``exchange``."""
        answer = await self.exchange(method, path, body, deadline=deadline)
        if 200 <= answer.status < 300:
            return answer.body
        raise refusal(answer.status, answer.body)

    async def exchange(
        self, method: str, path: str, body: bytes = b"", *, deadline: float
    ) -> Answer:
        """``path`` with its query; ``deadline`` on Trio's clock, also for a connection to be free.

        Raises OwnerAway, and Overloaded when too much waits already.
        """
        if self._waiting >= self._most_waiting:
            raise Overloaded("Too many requests wait for another node.", retry_after=1)
        request = self._head(method, path, len(body)) + body
        sent = False
        self._waiting += 1
        try:
            with trio.move_on_at(deadline):
                async with self._room:
                    kept = self._take()
                    if kept is not None:
                        sent = True
                        try:
                            return await self._on(kept, request)
                        except _Lost as lost:
                            if kept.heard:
                                raise _away(str(lost), sent=True) from None
                            sent = lost.maybe
                    try:
                        fresh, doubled = await self._open(), sent
                    except OwnerAway as away:
                        away.sent = sent  # what was lost before may have arrived
                        raise
                    sent = True
                    try:
                        answer = await self._on(fresh, request)
                        return answer._replace(doubled=doubled)
                    except _Lost as lost:
                        raise _away(str(lost), sent=True) from None
        finally:
            self._waiting -= 1
        raise _away("it did not answer in time", sent=sent)

    def close(self) -> None:
        """At once: nothing is kept any more, and what is under way fails when it is done."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _head(self, method: str, path: str, length: int) -> bytes:
        return (
            f"{method} {self._base}{path} HTTP/1.1\r\nHost: {self._netloc}\r\n"
            f"User-Agent: pushd/{__version__}\r\nAuthorization: Bearer {self._credential()}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def _open(self) -> _Connection:
        """Raises OwnerAway: nothing was sent."""
        try:
            return _Connection(await dial(self.url, self._context))
        except (trio.BrokenResourceError, OSError) as error:
            raise _away(_words(error.__cause__ or error), sent=False) from None

    async def _on(self, connection: _Connection, request: bytes) -> Answer:
        whole = False
        try:
            answer = await connection.exchange(request)
            whole = connection.reusable and not self._closed
        finally:
            if not whole:
                connection.close()
        if whole:
            self._idle.append(connection)
        return answer


class _Lost(Exception):
    """``maybe``: the other side may have got the request."""

    def __init__(self, why: str, *, maybe: bool = True) -> None:
        super().__init__(why)
        self.maybe = maybe


class _Connection:
    """One request after the other. ``heard``: something of an answer to the last one has come."""

    def __init__(self, dialed: Dialed) -> None:
        self.heard = False
        self.reusable = False
        self._transport, self._stream = dialed
        self._body = bytearray()
        self._complete = False
        self._parser: Any = None

    @property
    def usable(self) -> bool:
        """Not closed by the other side, as far as can be seen: of it nothing is to be read."""
        return self.reusable and not self._transport.socket.is_readable()

    async def exchange(self, request: bytes) -> Answer:
        """Raises _Lost; then it is of no more use, as after a cancellation."""
        self.heard = self.reusable = self._complete = False
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        try:
            await self._stream.send_all(request)
            while not self._complete:
                data = await self._stream.receive_some(READ)
                if not data:
                    raise _Lost("it closed the connection")
                self.heard = True
                self._parser.feed_data(data)
                if len(self._body) > MOST:
                    raise _Lost(f"its answer has more than {MOST} bytes")
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise _Lost(_words(error.__cause__ or error)) from None
        except httptools.HttpParserError:
            raise _Lost("its answer is no proper HTTP") from None
        return Answer(self._parser.get_status_code(), bytes(self._body))

    def close(self) -> None:
        """Now; waits for nothing."""
        self.reusable = False
        self._transport.socket.close()

    # -- what the parser calls

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._complete = True
        self.reusable = self._parser.should_keep_alive()  # known only here


def _away(why: str, *, sent: bool) -> OwnerAway:
    error = OwnerAway(f"The node that owns the log cannot be asked: {why}.", retry_after=1)
    error.sent = sent
    return error


def _words(error: BaseException) -> str:
    """Of the system: nothing that the other side sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    words = error.strerror if isinstance(error, OSError) else None
    return words or "the connection broke"
