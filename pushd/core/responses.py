"""HTTP/1.1 answers as bytes: built once, spliced where one connection needs more headers."""

from __future__ import annotations

import msgspec

from pushd.errors import PushdError

_REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    413: "Content Too Large",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = b"application/json"
NDJSON = b"application/x-ndjson"
PROBLEM = b"application/problem+json"
CLOSE = b"Connection: close\r\n"


class Responses:
    """Builds answers. ``date`` (RFC 9110, 6.6.1) is set by whoever has a clock, once a second."""

    __slots__ = ("_heads", "date")

    def __init__(self) -> None:
        self.date = b""
        self._heads = {
            status: b"HTTP/1.1 %d %s\r\n" % (status, reason.encode())
            for status, reason in _REASONS.items()
        }

    def make(
        self, status: int, body: bytes, content_type: bytes = JSON, extra: bytes = b""
    ) -> bytes:
        """A whole answer. ``extra``: complete header lines, each ended by CRLF."""
        if status == 204:
            return b"%sDate: %s\r\nCache-Control: no-store\r\n%s\r\n" % (
                self._heads[204],
                self.date,
                extra,
            )
        return (
            b"%sContent-Type: %s\r\nCache-Control: no-store\r\nDate: %s\r\n"
            b"Content-Length: %d\r\n%s\r\n%s"
        ) % (self._heads[status], content_type, self.date, len(body), extra, body)

    def begin(self, content_type: bytes, extra: bytes = b"") -> bytes:
        """The head of an answer that goes on until the connection ends, or ``extra`` says."""
        return b"%sContent-Type: %s\r\nCache-Control: no-store\r\nDate: %s\r\n%s\r\n" % (
            self._heads[200],
            content_type,
            self.date,
            extra,
        )

    def problem(self, error: PushdError, extra: bytes = b"") -> bytes:
        """RFC 9457: ``application/problem+json`` with the stable ``code``."""
        for name, value in problem_headers(error):
            extra += b"%b: %b\r\n" % (name.encode(), value.encode())
        return self.make(error.status, problem_body(error), PROBLEM, extra)


def problem_body(error: PushdError) -> bytes:
    """The problem object that every engine answers with."""
    title = _REASONS[error.status]
    return msgspec.json.encode({"type": "about:blank", "title": title, **error.as_dict()})


def problem_headers(error: PushdError) -> list[tuple[str, str]]:
    """What every engine puts beside it."""
    headers = []
    if error.retry_after is not None:
        headers.append(("Retry-After", str(error.retry_after)))
    if error.status == 405:
        headers.append(("Allow", error.extra.get("allow", "")))
    if error.status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="pushd"'))
    return headers


def splice(answer: bytes, extra: bytes) -> bytes:
    """The same answer with more header lines, put behind its status line."""
    at = answer.index(b"\r\n") + 2
    return answer[:at] + extra + answer[at:]


def head_of(answer: bytes) -> bytes:
    """The same answer to a HEAD request: it says the length of a body that is not there."""
    return answer[: answer.index(b"\r\n\r\n") + 4]


def body_of(answer: bytes) -> bytes:
    """The body of an answer that ``Responses.make`` built."""
    return answer[answer.index(b"\r\n\r\n") + 4 :]
