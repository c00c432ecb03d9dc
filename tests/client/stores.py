"""HTTP servers in memory that keep messages by (channel, id), as the real one does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import trio

from pushd.client import Client, RetryPolicy

Handler = Callable[[httpx.Request], httpx.Response]
URL = "http://127.0.0.1:1/base"


def client_of(handler: Handler, **policy: Any) -> Client:
    return Client(
        URL, "secret", retries=RetryPolicy(**policy), transport=httpx.MockTransport(handler)
    )


def problem(status: int, code: str, **more: Any) -> httpx.Response:
    headers = {"Retry-After": str(more.pop("retry_after"))} if "retry_after" in more else {}
    body = {"type": "about:blank", "code": code, "detail": f"it is {code}", **more}
    return httpx.Response(status, json=body, headers=headers)


class Store:
    """Keeps messages by (channel, id), as the real one does; ``script`` answers first."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.script = list(script)
        self.messages: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[tuple[float, httpx.Request]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((trio.current_time(), request))
        outcome = self.script.pop(0) if self.script else None
        if isinstance(outcome, Exception):
            self.store(request)
            raise outcome
        return outcome if outcome is not None else self.store(request)

    def store(self, request: httpx.Request) -> httpx.Response:
        body = msgspec.json.decode(request.content)
        fresh, answer = self.keep(request.url.path.split("/")[-2], body)
        return httpx.Response(201 if fresh else 200, json=answer)

    def keep(self, channel: str, body: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        fresh = (channel, body["id"]) not in self.messages
        self.messages.setdefault((channel, body["id"]), body)
        seq = list(self.messages).index((channel, body["id"])) + 1
        answer = {"channel": channel, "epoch": "000000aaa", "seq": seq, "id": body["id"], "at": 7}
        return fresh, answer if fresh else {**answer, "duplicate": True}

    def bodies(self) -> list[Any]:
        return [msgspec.json.decode(request.content) for _, request in self.requests]


class Cut(httpx.AsyncByteStream):
    """The answer breaks off after these bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 7):
            yield self._body[start : start + 7]
        raise httpx.RemoteProtocolError("cut")


class LineStore(Store):
    """NDJSON in, NDJSON out; ``cuts``: after how many bytes the next answers break off.

    ``busy`` lines are refused for now, once for each number in the set.
    """

    def __init__(self, cuts: list[int] | None = None, busy: set[int] | None = None) -> None:
        super().__init__()
        self.cuts = cuts or []
        self.busy = busy or set()
        self.refused: dict[str, str] = {}

    def store(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["Content-Type"] == "application/x-ndjson"
        lines = []
        for number, raw in enumerate(request.content.splitlines(), 1):
            body = msgspec.json.decode(raw)
            if number in self.busy:
                self.busy.discard(number)
                lines.append({"line": number, "code": "overloaded", "detail": "busy"})
            elif body["id"] in self.refused:
                lines.append(
                    {"line": number, "code": self.refused[body["id"]], "detail": "no", "cure": "?"}
                )
            else:
                lines.append({"line": number, **self.keep(body.pop("channel"), body)[1]})
        answer = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        if self.cuts:
            return httpx.Response(200, stream=Cut(answer[: self.cuts.pop(0)]))
        return httpx.Response(200, content=answer)
