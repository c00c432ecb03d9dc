"""Reading HTTP/1.1 requests: llhttp (httptools) plus the checks that it leaves out.

No socket in here: bytes in, requests out. What llhttp accepts and we refuse is in ``heads`` and
``chunks``; and here headers that came twice, heads and lines without end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import httptools

from pushd.allowance import Allowance
from pushd.errors import BadRequest, HeadTooLarge, PushdError
from pushd.front.chunks import Chunks
from pushd.front.heads import (
    SINGLE,
    HeadEnd,
    Request,
    RequestLimits,
    body_length,
    body_too_large,
    check_head,
    expects_continue,
)
from pushd.front.incoming import IncomingBody

__all__ = ["Request", "RequestLimits", "RequestReader"]


class RequestReader:
    """Feed it bytes; take requests from ``ready`` in order. ``body``: of the one under way.

    ``body_limit`` is asked once per head that announces a body, and may raise to refuse it.
    """

    def __init__(
        self,
        limits: RequestLimits,
        body_limit: Callable[[Request], int],
        allowance: Allowance,
    ) -> None:
        self.ready: deque[Request | PushdError] = deque()
        self.body = IncomingBody(allowance)
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
        self._length: int | None = 0  # of the body, as announced; None: in chunks
        self._chunks: Chunks | None = None
        self._carefully = False
        self._head_end = HeadEnd()
        self._allowance = allowance
        self._refusal: PushdError | None = None

    @property
    def partial(self) -> str | None:
        """What is half read: ``head``, ``body``, or nothing."""
        if self._request is None:
            return None
        return "body" if self._head_done else "head"

    @property
    def unfinished(self) -> Request | None:
        """What is half read, once its head is whole: also what ``feed`` has refused."""
        return self._request if self._head_done else None

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
        self.body.drop()

    def admits(self, request: Request) -> bool:
        """Whether a body that did not come through the parser is within its route's limit.

        What the route refuses is left to the parser, whose refusals are answered.
        """
        try:
            return not request.body or len(request.body) <= self._body_limit(request)
        except PushdError:
            return False

    def feed(self, data: bytes) -> bytes:
        """Take bytes in; returns what follows an accepted upgrade. Raises PushdError: close then.

        Requests that were complete before the error are in ``ready`` and deserve their answers.
        """
        in_head = self._request is not None and not self._head_done
        if in_head or self._chunks is not None or b"hunked" in data or b"HUNKED" in data:
            return self._feed_in_parts(data)
        self._carefully = False
        rest = self._feed(data)
        if self._request is not None:
            self._head_end.passed(data)
        return rest or b""

    def _feed_in_parts(self, data: bytes) -> bytes:
        """Head by head and body by body, so that a chunked one is looked at before the parser."""
        at = 0
        while at < len(data):
            self._carefully = True
            chunks = self._chunks
            if chunks is not None:
                end = chunks.take(data, at)
            elif self._head_done and self._length is not None:
                end = at + self._length - self.body.size
            else:
                if self._request is None:
                    self._head_end.begin()
                end = self._head_end.find(data, at)
            assert end > at
            rest = self._feed(data[at:end])
            at = end
            if rest is not None:
                return rest + data[at:]
            if chunks is not None and chunks.done == (self._chunks is not None):
                raise BadRequest("The chunks of the body have two readings.")
        return b""

    def _feed(self, data: bytes) -> bytes | None:
        """To the parser; returns what follows an accepted upgrade, None when there was none."""
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
            self.body.stalls()
            self._check_progress(len(data), began)
        return None

    def _check_progress(self, fed: int, began: Request | None) -> None:
        """The parser keeps an unfinished header, trailer or chunk size to itself: bound those."""
        told = self._head_bytes + self.body.size
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
            if name in SINGLE:
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
            check_head(request, self._parser)
            self.body.limit = self._limit_body(request)
        except PushdError as error:
            self._refuse(error)

    def on_body(self, piece: bytes) -> None:
        try:
            self.body.add(piece)
        except PushdError as error:
            self._refuse(error)

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None
        self.body.hand_to(request)
        self._request = None
        self._head_done = False
        self._head_bytes = 0
        self._chunks = None
        self.expects_continue = False
        self.ready.append(request)

    def _limit_body(self, request: Request) -> int:
        """How many bytes the body may have. Raises what refuses it."""
        self._length = length = body_length(request)
        if length == 0:
            return 0
        if length is None:
            assert self._carefully
            self._chunks = Chunks()
        most = self._body_limit(request)
        if length is not None and length > most:
            raise body_too_large(most)
        self.expects_continue = expects_continue(request)
        return most
