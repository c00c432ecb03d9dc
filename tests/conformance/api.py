"""The wire contract, paragraph by paragraph: each case on fresh connections and on old ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.app import KEY, SECRET, Server, Socket, running_server
from tests.support.events import EventStream
from tests.support.http import Answer, Peer, request

LETTERS = "/v1/channels/warm/messages"
# What a connection has been through before the case begins: answers of every kind.
PAST: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", LETTERS, {"token": KEY, "body": {"data": 1, "id": "w"}}),
    ("POST", LETTERS, {"token": KEY, "body": {"data": 1, "id": "w"}}),
    ("POST", LETTERS, {"token": KEY, "body": {"data": 2, "id": "w"}}),
    ("GET", f"{LETTERS}?after=0", {"token": KEY}),
    ("GET", f"{LETTERS}?after=0", {"token": KEY}),
    ("GET", f"{LETTERS}?after=41", {"token": KEY}),
    ("GET", f"{LETTERS}?after=0", {}),
    ("POST", "/v1/pull", {"token": KEY, "body": {"cursors": {"warm": "0"}}}),
    ("POST", "/v1/pull", {"token": KEY, "body": b"{"}),
    ("POST", "/v1/publish", {"token": KEY, "body": {"to": {}, "message": {"data": 1}}}),
    ("OPTIONS", LETTERS, {"headers": {"Origin": "https://else.example"}}),
    ("GET", "/healthz", {}),
]


@dataclass
class Api:
    """One node, asked on a new connection each time, or always on one that stays."""

    server: Server
    kept: bool
    _peer: Peer | None = field(default=None, repr=False)

    async def ask(self, method: str, path: str, **members: Any) -> Answer:
        if not self.kept:
            return await self.server.ask(method, path, **members)
        if self._peer is None:
            self._peer = await self._seasoned()
        answer = await self._peer.ask(method, path, **members)
        if answer.headers.get("connection") == "close":
            self._peer.close()
            self._peer = None
        return answer

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Peer]:
        """A connection for what takes a while (a held poll), with a past if the others have."""
        async with AsyncExitStack() as stack:
            peer = await (self._seasoned() if self.kept else self._plain())
            stack.callback(peer.close)
            yield peer

    @asynccontextmanager
    async def socket(self, target: str = "/v1/ws", **members: Any) -> AsyncIterator[Socket]:
        """A WebSocket, upgraded on a connection with a past if the others have one."""
        async with self.line() as line:
            socket = Socket(line.stream)
            await socket.upgrade(target, **members)
            yield socket

    @asynccontextmanager
    async def stream(
        self, query: str = "", *, token: str | None = KEY, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[EventStream]:
        """An event stream, asked for on a connection with a past if the others have one."""
        async with self.line() as line:
            await line.write(request("GET", f"/v1/events?{query}", token=token, headers=headers))
            head = await line.answer(head=True)
            assert head.status == 200, head
            assert head.headers["content-type"] == "text/event-stream"
            assert head.headers["x-accel-buffering"] == "no"
            yield EventStream(line, head)

    async def publish(self, channel: str, data: Any = None, **message: Any) -> Any:
        answer = await self.ask(
            "POST",
            f"/v1/channels/{channel}/messages",
            token=KEY,
            body={"data": data, **message},
        )
        assert answer.status in (200, 201), answer
        return answer.json

    async def pull(self, channel: str, token: str = KEY, **query: Any) -> Answer:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return await self.ask("GET", f"/v1/channels/{channel}/messages?{text}", token=token)

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()

    async def _plain(self) -> Peer:
        return await Peer.open(("127.0.0.1", self.server.port))

    async def _seasoned(self) -> Peer:
        peer = await self._plain()
        for method, path, members in PAST:
            answer = await peer.ask(method, path, **members)
            assert answer.status < 500, answer
            assert answer.headers.get("connection") != "close", (path, answer)
        return peer


@asynccontextmanager
async def serving(data: Path, kept: bool, **settings: Any) -> AsyncIterator[Api]:
    """A node with settings of its own, for cases that need other ones than the fixture has."""
    async with running_server(data, **settings) as server:
        api = Api(server, kept)
        yield api
        api.close()


async def fill(api: Api, count: int = 10, channel: str = "news") -> str:
    """Messages whose data are their seqs; the epoch."""
    for number in range(1, count + 1):
        at = await api.publish(channel, number)
    return str(at["epoch"])


def seqs(answer: Answer) -> list[int]:
    """Of a pull's messages, which ``fill`` has made."""
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    messages = answer.json["messages"]
    assert [message["data"] for message in messages] == [message["seq"] for message in messages]
    return [message["seq"] for message in messages]


__all__ = ["KEY", "SECRET", "Answer", "Api", "Peer", "fill", "seqs", "serving"]
