"""Recognising a request whose head differs from an earlier one only in target and body length.

A client that pulls or publishes sends the same headers again and again. A request whose head is,
byte for byte, one that the parser has read and checked whole on the same connection, except for
the target and the digits of Content-Length, needs no second parse: what is new is checked here.
Measured: a third of a small pull's CPU.
"""

from __future__ import annotations

import re

from pushd.front.heads import Request, is_target

_AFTER_TARGET = b" HTTP/1.1\r\n"
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
_START = {b"GET": b"GET ", b"POST": b"POST "}
_UNFIT = frozenset({b"expect", b"transfer-encoding", b"upgrade"})
MAX_TARGET = 2048
MAX_DIGITS = 5  # of a body that may come this way: it must have come with its head in one piece


class Repeats:
    """Remembers the last plain GET or POST of one connection."""

    __slots__ = ("_after_length", "_before_length", "_request", "_start")

    def __init__(self) -> None:
        self._request: Request | None = None
        self._start = b""
        self._before_length = b""  # from the end of the target; all of the rest for a GET
        self._after_length = b""  # from the digits to the end of the head; empty for a GET

    def learn(self, data: bytes, request: Request) -> None:
        """``data`` held exactly this request, from its first byte to its last."""
        start = _START.get(request.method)
        if start is None or not _UNFIT.isdisjoint(request.headers):
            return
        at = data.find(_AFTER_TARGET, len(start))
        end = data.find(_END, at) + len(_END)
        if at != len(start) + len(request.target) or end + len(request.body) != len(data):
            return
        length = _LENGTH.search(data, at, end)
        if length is None:
            if request.body:
                return
            self._before_length, self._after_length = data[at:], b""
        else:
            self._before_length = data[at : length.start(1)]
            self._after_length = data[length.end(1) : end]
        self._start = start
        self._request = request

    def match(self, data: bytes) -> Request | None:
        """The request in ``data`` if it repeats the remembered one. Its body is not limited yet."""
        if self._request is None or not data.startswith(self._start):
            return None
        if self._after_length:
            return self._match_with_body(data)
        rest = self._before_length
        if not data.endswith(rest):
            return None
        return self._again(data[len(self._start) : -len(rest)], b"")

    def _match_with_body(self, data: bytes) -> Request | None:
        before, after = self._before_length, self._after_length
        at = data.find(before, len(self._start), MAX_TARGET + len(before))
        digits_at = at + len(before)
        end = data.find(after, digits_at, digits_at + MAX_DIGITS + len(after))
        if at < 0 or end < 0:
            return None
        digits, body = data[digits_at:end], data[end + len(after) :]
        if not digits.isdigit() or int(digits) != len(body):
            return None
        return self._again(data[len(self._start) : at], body)

    def _again(self, target: bytes, body: bytes) -> Request | None:
        # No blank or line end can hide in a target, so what was compared began where one ends.
        if len(target) > MAX_TARGET or is_target(target) is None:
            return None
        assert self._request is not None
        return self._request.again(target, body)
