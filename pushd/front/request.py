"""Reading HTTP/1.1 requests: llhttp (httptools) plus the checks that it leaves out.

No socket in here: bytes in, requests out. What llhttp accepts and we refuse: a missing or doubled
Host, ambiguous or layered Transfer-Encoding, CONNECT, absolute-form targets, h2c and other
upgrades, an Upgrade with a body, heads without end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from pushd.allowance import Allowance
from pushd.errors import BadRequest, HeadTooLarge, PushdError, TooLarge

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_TARGET = re.compile(rb"/[\x21-\x7e]*")
# Said twice, these have two readings: refuse both.
_SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"origin", b"upgrade"}
)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """In bytes, except ``max_headers``."""

    max_head: int = 16 * 1024
    max_headers: int = 100


class Request:
    """One request. ``headers`` may be shared by requests whose heads were the same bytes."""

    __slots__ = ("body", "counted", "headers", "keep_alive", "method", "target", "upgrade")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.headers: dict[bytes, bytes] = {}  # names in lower case
        self.body: bytes = b""
        self.counted = 0  # bytes of the body that count against the node's allowance
        self.keep_alive = True
        self.upgrade = False

    def again(self, target: bytes, body: bytes) -> Request:
        """The same request for another target, with another body."""
        request = Request.__new__(Request)
        request.method = self.method
        request.target = target
        request.headers = self.headers
        request.body = body
        request.counted = 0
        request.keep_alive = self.keep_alive
        request.upgrade = False
        return request

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        return self.target.partition(b"?")[2]


class RequestReader:
    """Feed it bytes; take requests from ``ready`` in order.

    ``body_limit`` is asked once per head that announces a body, and may raise to refuse it.
    """

    def __init__(
        self,
        limits: RequestLimits,
        body_limit: Callable[[Request], int],
        allowance: Allowance,
    ) -> None:
        self.ready: deque[Request | PushdError] = deque()
        self.expects_continue = False
        self._limits = limits
        self._body_limit = body_limit
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        self._head_done = False
        self._head_bytes = 0
        self._headers = 0
        self._told = 0
        self._silent = 0
        self._most = 0
        self._allowance = allowance
        self._body: bytes | bytearray = b""
        self._size = 0
        self._refusal: PushdError | None = None

    @property
    def partial(self) -> str | None:
        """What is half read: ``head``, ``body``, or nothing."""
        if self._request is None:
            return None
        return "body" if self._head_done else "head"

    def next(self) -> Request | PushdError:
        """Take the oldest out of ``ready``; from now on its body is the caller's."""
        request = self.ready.popleft()
        if isinstance(request, Request):
            self._allowance.give(request.counted)
            request.counted = 0
        return request

    def close(self) -> None:
        """Nothing more will be taken: give back what was counted."""
        while self.ready:
            self.next()
        self._allowance.give(self._size)
        self._size = 0

    def admits(self, request: Request) -> bool:
        """Whether a body that did not come through the parser is within its route's limit."""
        return not request.body or len(request.body) <= self._body_limit(request)

    def feed(self, data: bytes) -> bytes:
        """Take bytes in; returns what follows an accepted upgrade. Raises PushdError: close then.

        Requests that were complete before the error are in ``ready`` and deserve their answers.
        """
        began = self._request
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as cause:
            refusal = self._refusal
            self._refusal = None
            raise refusal or BadRequest(f"This is not HTTP/1.1: {cause}") from None
        if self._request is not None:
            self._check_progress(len(data), began)
        return b""

    def _check_progress(self, fed: int, began: Request | None) -> None:
        """The parser keeps an unfinished header, trailer or chunk size to itself: bound those."""
        told = self._head_bytes + self._size
        if began is not self._request or told != self._told:
            self._told = told
            self._silent = 0
            return
        self._silent += fed
        if self._silent > self._limits.max_head:
            if self._head_done:
                raise BadRequest("A line between the chunks of the body has no end.")
            raise self._head_too_large()

    def _head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"A request head may have {self._limits.max_head} bytes.")

    # -- callbacks of the parser: what they raise, httptools wraps; so keep the cause -----------

    def _refuse(self, error: PushdError) -> None:
        self._refusal = error
        raise error

    def on_message_begin(self) -> None:
        self._request = Request()
        self._head_done = False
        self._head_bytes = 0
        self._headers = 0
        self._body = b""
        self._size = 0

    def on_url(self, url: bytes) -> None:
        request = self._request
        assert request is not None
        request.target += url
        self._head_bytes += len(url)
        if self._head_bytes > self._limits.max_head:
            self._refuse(self._head_too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._request
        assert request is not None
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.max_head:
            self._refuse(self._head_too_large())
        if self._head_done:
            return  # a trailer: nothing here needs one, and none may pass for a header
        name = name.lower()
        if name in request.headers:
            if name in _SINGLE:
                self._refuse(BadRequest(f"The header {name.decode()} came twice."))
            value = request.headers[name] + b", " + value
        request.headers[name] = value
        self._headers += 1
        if self._headers > self._limits.max_headers:
            self._refuse(HeadTooLarge(f"At most {self._limits.max_headers} headers."))

    def on_headers_complete(self) -> None:
        request = self._request
        assert request is not None
        self._head_done = True
        try:
            self._check_head(request)
            self._most = self._limit_body(request)
        except PushdError as error:
            self._refuse(error)

    def on_body(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            self._size -= len(piece)
            self._refuse(_too_large(self._most))
        try:
            self._allowance.take(len(piece))
        except PushdError as error:
            self._size -= len(piece)
            self._refuse(error)
        if not self._body:
            self._body = piece
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += piece

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None
        request.body = bytes(self._body)
        request.counted = self._size
        self._body = b""
        self._size = 0
        self._request = None
        self._head_done = False
        self._head_bytes = 0
        self.expects_continue = False
        self.ready.append(request)

    # -- checks ----------------------------------------------------------------------------------

    def _check_head(self, request: Request) -> None:
        parser = self._parser
        request.method = parser.get_method()
        version = parser.get_http_version()
        headers = request.headers
        if request.method not in METHODS:
            raise BadRequest("This method is not served here.")
        if version not in ("1.1", "1.0"):
            raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are served here.")
        if not _TARGET.fullmatch(request.target):
            raise BadRequest("The request target must be a path, in visible ASCII.")
        if version == "1.1" and not headers.get(b"host"):
            raise BadRequest("The Host header is missing.")
        request.keep_alive = version == "1.1" and parser.should_keep_alive()
        _check_upgrade(request)
        if request.upgrade:
            if not parser.should_upgrade():
                raise BadRequest("An upgrade needs 'Connection: Upgrade'.")
            request.keep_alive = False  # if it is not taken: what follows it has no one reading

    def _limit_body(self, request: Request) -> int:
        headers = request.headers
        length = headers.get(b"content-length")
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            if length is not None or coding.lower() != b"chunked":
                raise BadRequest("Transfer-Encoding must be 'chunked' alone, without a length.")
        elif length is None or length == b"0":
            return 0
        elif not (length.isdigit() and len(length) <= 15):
            raise BadRequest("Content-Length must be a plain number.")
        most = self._body_limit(request)
        if length is not None and int(length) > most:
            raise _too_large(most)
        expect = headers.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                raise BadRequest("The only Expect that is served is 100-continue.")
            self.expects_continue = True
        return most


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The body may have {most} bytes here.")


def _check_upgrade(request: Request) -> None:
    wanted = request.headers.get(b"upgrade")
    if wanted is None:
        return
    if wanted.lower() != b"websocket" or request.method != b"GET":
        raise BadRequest("The only upgrade that is served is a GET to a WebSocket.")
    if (
        b"transfer-encoding" in request.headers
        or request.headers.get(b"content-length", b"0") != b"0"
    ):
        raise BadRequest("An upgrade must not have a body.")
    request.upgrade = True
