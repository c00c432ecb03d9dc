"""A request, and what its head must be beyond what llhttp asks of it.

Refused here: a missing Host, ambiguous or layered Transfer-Encoding, CONNECT, absolute-form
targets, h2c and other upgrades, an Upgrade with a body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pushd.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    import httptools

_HEAD_END = b"\r\n\r\n"
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
# Said twice, these have two readings: refuse both.
SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"origin", b"upgrade"}
)
is_target = re.compile(rb"/[\x21-\x7e]*").fullmatch  # a path, in visible ASCII
# Names as DNS has them, addresses, and what proxies make up: labels of 63 bytes, none empty.
_HOST = re.compile(
    rb"([\w-]{1,63}(\.[\w-]{1,63})*\.?|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{0,5})?", re.ASCII
).fullmatch
MAX_HOST = 261
MAX_LENGTH_DIGITS = 15
# The ways that anybody writes it: the reader looks for these words before it parses.
CHUNKED = frozenset({b"chunked", b"Chunked", b"CHUNKED"})


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
        """The target without its query, still percent-encoded."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the first ``?``, or nothing."""
        return self.target.partition(b"?")[2]


class HeadEnd:
    """Finds where heads end in bytes that come in pieces: at a blank line, which may be split."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = b""  # the last bytes before those that come

    def begin(self) -> None:
        """What comes next is a new head."""
        self._seen = b""

    def passed(self, data: bytes) -> None:
        """These were looked at by somebody else, and end within a head."""
        self._seen = data[1 - len(_HEAD_END) :]

    def find(self, data: bytes, at: int) -> int:
        """Where the bytes from ``at`` on, up to and including a blank line, end."""
        window = self._seen + data[at : at + len(_HEAD_END) - 1]
        split = window.find(_HEAD_END)
        if split >= 0:
            return at + split + len(_HEAD_END) - len(self._seen)
        found = data.find(_HEAD_END, at)
        end = len(data) if found < 0 else found + len(_HEAD_END)
        self._seen = (self._seen + data[at:end])[1 - len(_HEAD_END) :]
        return end


def check_head(request: Request, parser: httptools.HttpRequestParser) -> None:
    """Settles method, ``keep_alive`` and ``upgrade`` of a request. Raises BadRequest."""
    request.method = parser.get_method()
    version = parser.get_http_version()
    if request.method not in METHODS:
        raise BadRequest("This method is not served here.")
    if version not in ("1.1", "1.0"):
        raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are served here.")
    if not is_target(request.target):
        raise BadRequest("The request target must be a path, in visible ASCII.")
    _check_host(request, version)
    request.keep_alive = version == "1.1" and parser.should_keep_alive()
    _check_upgrade(request)
    if request.upgrade:
        if not parser.should_upgrade():
            raise BadRequest("An upgrade needs 'Connection: Upgrade'.")
        request.keep_alive = False  # if it is not taken: what follows it has no one reading


def _check_host(request: Request, version: str) -> None:
    """What is no host and port is refused (RFC 9112, 3.2): the frameworks stumble over it."""
    host = request.headers.get(b"host")
    if host is None or (host == b"" and version == "1.1"):
        if version == "1.1":
            raise BadRequest("The Host header is missing.")
    elif host and not (len(host) <= MAX_HOST and _HOST(host)):
        raise BadRequest("The Host header is no host, with or without a port.")


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


def body_length(request: Request) -> int | None:
    """How long the body says that it is; None: in chunks. Raises BadRequest."""
    length = request.headers.get(b"content-length")
    coding = request.headers.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or coding not in CHUNKED:
            raise BadRequest("Transfer-Encoding must be 'chunked' alone, without a length.")
        return None
    if length is None:
        return 0
    if not (length.isdigit() and len(length) <= MAX_LENGTH_DIGITS):
        raise BadRequest("Content-Length must be a plain number.")
    return int(length)


def expects_continue(request: Request) -> bool:
    """Whether the client waits to be told that its body is welcome. Raises BadRequest."""
    expect = request.headers.get(b"expect")
    if expect is None:
        return False
    if expect.lower() != b"100-continue":
        raise BadRequest("The only Expect that is served is 100-continue.")
    return True


def body_too_large(most: int) -> TooLarge:
    """The refusal of a body beyond ``most`` bytes."""
    return TooLarge(f"The body may have {most} bytes here.")
