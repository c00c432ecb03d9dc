"""Request bodies that leave nothing behind when a connection breaks."""

from __future__ import annotations

import httpx


class _PlainBody(httpx.AsyncByteStream):
    """One piece. The library's own is a generator, which a broken connection leaves suspended."""

    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> _PlainBody:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def with_plain_body(request: httpx.Request, body: bytes | None) -> httpx.Request:
    """The same request, whose body is one piece."""
    if body is not None:
        request.stream = _PlainBody(body)
    return request
