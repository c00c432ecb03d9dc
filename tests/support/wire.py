"""Bytes to and from the server, over plain sockets: independent of the project's own client."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec
import trio

READ_SIZE = 262144
KEY = "the-services-key-0123456789"
JSON = "application/json"
NDJSON = "application/x-ndjson"


class ConnectionLost(Exception):
    """The server is gone, or has closed the connection in the middle of something."""


class Wire:
    """A TCP connection with a buffer. What was read stays when a read is cancelled."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Self:
        """Raises ConnectionLost."""
        try:
            return cls(await trio.open_tcp_stream(*address))
        except OSError as error:
            raise ConnectionLost(str(error)) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.stream.socket.close()

    async def write(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLost(str(error)) from None

    async def end(self) -> None:
        """Nothing more will be sent; answers may still come."""
        try:
            await self.stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLost(str(error)) from None

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to and including ``mark``."""
        while (at := self._buffer.find(mark)) < 0:
            await self._fill()
        return self._take(at + len(mark))

    async def read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._fill()
        return self._take(count)

    async def read_to_end(self) -> bytes:
        """Until the server closes, politely or not."""
        try:
            while True:
                await self._fill()
        except ConnectionLost:
            return self._take(len(self._buffer))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def _fill(self) -> None:
        try:
            data = await self.stream.receive_some(READ_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLost(str(error)) from None
        if not data:
            raise ConnectionLost("the server has closed the connection")
        self._buffer += data


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    head: bytes
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def ok(self) -> bytes:
        """The body of a 2xx; AssertionError with the problem otherwise."""
        assert 200 <= self.status < 300, (self.status, self.body)
        return self.body


class Http(Wire):
    """One HTTP/1.1 connection; requests one after the other."""

    async def request(
        self,
        method: str,
        target: str,
        credential: str = KEY,
        body: bytes = b"",
        content_type: str = JSON,
    ) -> Answer:
        """``target`` is percent-encoded already."""
        await self.write(request_bytes(method, target, credential, body, content_type))
        return await self.answer()

    async def answer(self) -> Answer:
        head = await self.read_until(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
        body = await self.read_exactly(int(lengths[0])) if lengths else b""
        return Answer(int(head.split(b" ", 2)[1]), head, body)

    async def get(self, target: str, credential: str = KEY) -> Answer:
        return await self.request("GET", target, credential)

    async def post(self, target: str, value: object, credential: str = KEY) -> Answer:
        return await self.request("POST", target, credential, msgspec.json.encode(value))


def request_bytes(
    method: str, target: str, credential: str, body: bytes = b"", content_type: str = JSON
) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {credential}",
    ]
    if method == "POST":
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
