"""One HTTP/1.1 connection to an address that the settings name.

Deliberately little: one request after the other, plain answers. No redirect leads elsewhere, no
proxy and no credential is taken from wherever the process runs, nothing is unpacked, and nothing
becomes larger than it may. How long it takes is the caller's to bound.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

import h11
import trio

from pushd import __version__

MAX_HEAD = 16 * 1024
READ_SIZE = 16 * 1024

Headers = list[tuple[str, str]]


class NoAnswer(Exception):
    """No usable answer came. ``reason``: for a log; nothing that the other side sent.

    ``status``: of the answer, if it was one that says to come again.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Answer(NamedTuple):
    """``retry_after_s``: as its header says, if it is a number."""

    status: int
    body: bytes
    retry_after_s: float | None = None


class Place:
    """Where requests go: an http or https address, checked before."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        self.netloc = parts.netloc
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    async def connect(self) -> trio.abc.Stream:
        """Raises OSError."""
        if not self.secure:
            return await trio.open_tcp_stream(self.host, self.port)
        context = await trio.to_thread.run_sync(_context)
        # The handshake comes with the first bytes sent.
        return await trio.open_ssl_over_tcp_stream(
            self.host, self.port, https_compatible=True, ssl_context=context
        )


class Connection:
    """``heard``: something of an answer to the last request has come."""

    def __init__(self, stream: trio.abc.Stream, place: Place, max_answer: int) -> None:
        self.heard = False
        self._stream = stream
        self._place = place
        self._max_answer = max_answer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)

    @classmethod
    async def open(cls, place: Place, max_answer: int) -> Connection:
        """Raises NoAnswer."""
        try:
            return cls(await place.connect(), place, max_answer)
        except (OSError, ssl.SSLError) as error:
            raise NoAnswer(_describe(error)) from error

    async def exchange(self, method: str, headers: Headers, body: bytes = b"") -> Answer:
        """Ask once. Raises NoAnswer; the connection is of no more use then."""
        self.heard = False
        try:
            await self._stream.send_all(self._request(method, headers, body))
            return await self._answer()
        except h11.RemoteProtocolError as error:
            raise NoAnswer("the answer is no proper HTTP") from error
        except trio.BrokenResourceError as error:
            raise NoAnswer(_describe(error.__cause__ or error)) from error
        except (OSError, ssl.SSLError) as error:
            raise NoAnswer(_describe(error)) from error

    def renew(self) -> bool:
        """Make it fit for one more request; whether it is."""
        http = self._http
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            return False
        if http.trailing_data[0]:
            return False  # an answer to nothing that was asked
        http.start_next_cycle()
        return True

    async def close(self) -> None:
        """At once: nothing is on its way any more."""
        await trio.aclose_forcefully(self._stream)

    def _request(self, method: str, headers: Headers, body: bytes) -> bytes:
        lines = [
            ("Host", self._place.netloc),
            ("Accept-Encoding", "identity"),
            ("User-Agent", f"pushd/{__version__}"),
            *headers,
        ]
        if method != "GET":
            lines.append(("Content-Length", str(len(body))))
        event = h11.Request(method=method, target=self._place.target, headers=lines)
        data = self._http.send(event) or b""
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        return data + (self._http.send(h11.EndOfMessage()) or b"")

    async def _answer(self) -> Answer:
        head: h11.Response | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = bytes(await self._stream.receive_some(READ_SIZE))
                self.heard = self.heard or bool(data)
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                _check_plain(event)
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._max_answer:
                    raise NoAnswer(f"more than {self._max_answer} bytes")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return Answer(head.status_code, bytes(body), _retry_after(head))
            elif isinstance(event, h11.ConnectionClosed):
                raise NoAnswer("no answer")


def _check_plain(response: h11.Response) -> None:
    for name, value in response.headers:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise NoAnswer("the answer is compressed")


def _retry_after(response: h11.Response) -> float | None:
    for name, value in response.headers:
        if name == b"retry-after" and value.isdigit() and len(value) < 10:
            return float(value)
    return None


def _describe(error: BaseException) -> str:
    """Why a connection failed, in the words of the system: nothing that the other side sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    words = error.strerror if isinstance(error, OSError) else None
    return words or "cannot be reached"


@cache
def _context() -> ssl.SSLContext:
    """The certificates of the system, so that an organisation's own are known here as elsewhere.

    Made in a thread: it reads all of them.
    """
    return ssl.create_default_context()
