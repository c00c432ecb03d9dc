"""HTTP by hand: what is sent and what comes back is in the test's hands, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.support.wire import ConnectionLost, Wire

PATIENCE_S = 120.0  # before a test that hangs fails; never part of what is asserted


@contextmanager
def patience() -> Iterator[None]:
    with trio.fail_after(PATIENCE_S):
        yield


@dataclass
class Answer:
    """One answer. ``headers`` by lower-case name; ``text`` is the head as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    text: bytes = field(repr=False, default=b"")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of a refusal, after checking that it is a whole problem object."""
        problem = self.json
        assert self.headers["content-type"] == "application/problem+json"
        assert problem["status"] == self.status
        assert problem["detail"]
        assert problem["cure"]
        return str(problem["code"])


def request(
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: bytes | object = b"",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """One request as bytes. A ``body`` that is no bytes is sent as JSON."""
    lines = {"Host": "localhost"}
    if token is not None:
        lines["Authorization"] = f"Bearer {token}"
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        lines["Content-Type"] = "application/json"
    if body or method in ("POST", "PUT", "PATCH"):
        lines["Content-Length"] = str(len(body))
    lines.update(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Peer(Wire):
    """The client's end of one connection."""

    async def ask(self, method: str, path: str, **members: Any) -> Answer:
        await self.write(request(method, path, **members))
        return await self.answer(head=method == "HEAD")

    async def answer(self, *, head: bool = False) -> Answer:
        """The next answer, ``100 Continue`` included. ``head``: one that says a length only."""
        text = await self.read_until(b"\r\n\r\n")
        status, headers = _parse_head(text)
        if head or status in (100, 101, 204):
            return Answer(status, headers, b"", text)
        return Answer(status, headers, await self._body(headers), text)

    async def is_closed(self) -> bool:
        """Waits for the server to close; anything that still comes says no."""
        return await self.read_to_end() == b""

    async def _body(self, headers: dict[str, str]) -> bytes:
        assert "transfer-encoding" not in headers
        if "content-length" in headers:
            return await self.read_exactly(int(headers["content-length"]))
        assert headers["connection"] == "close"
        return await self.read_to_end()

    async def _fill(self) -> None:
        with patience():
            await super()._fill()


def _parse_head(text: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = text.decode("latin-1")[:-4].split("\r\n")
    version, status, *_ = first.split(" ", 2)
    assert version == "HTTP/1.1", first
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(": ")
        assert colon, line
        assert name.lower() not in headers, f"{name} is there twice"
        headers[name.lower()] = value
    return int(status), headers


__all__ = ["PATIENCE_S", "Answer", "ConnectionLost", "Peer", "patience", "request"]
