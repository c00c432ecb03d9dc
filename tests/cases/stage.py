"""The world around one Python client, in the hands of a script: HTTP and WebSocket in memory.

What the client asks and tells waits in order until the script looks; nothing is answered by itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import jwt
import pytest
import trio

from pushd.client import (
    Client,
    Dropped,
    Expiring,
    FollowOptions,
    ReadElsewhere,
    Received,
    Reset,
)
from pushd.client.events import Event
from pushd.client.follow import Follow
from pushd.client.link import Link, LinkLost
from pushd.errors import PushdError


@dataclass
class Asked:
    """A request that waits for its answer: ``kind`` is ``pull`` or ``begin``."""

    kind: str
    body: Any
    token: str
    answered: trio.Event = field(default_factory=trio.Event)
    answer: httpx.Response | None = None

    def respond(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        self.answer = httpx.Response(status, json=body, headers=dict(headers or {}))
        self.answered.set()

    def fail(self) -> None:
        self.answered.set()


class Socket:
    """The client's end of a WebSocket; ``say`` and ``close`` are the script's."""

    kind, two_way = "connect", True

    def __init__(self, stage: Stage, channels: list[str], token: str) -> None:
        self._stage, self.channels, self.token = stage, channels, token
        self.accepted, self.deaf = trio.Event(), False
        self._out, self._in = trio.open_memory_channel[str](100)
        self._lost: LinkLost | None = None

    async def receive(self) -> str:
        try:
            return await self._in.receive()
        except trio.EndOfChannel:
            assert self._lost is not None
            raise self._lost from None

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        frame = json.loads(text)
        if not self.deaf:
            self._stage.take(self, frame)

    def say(self, frame: object) -> None:
        self._out.send_nowait(json.dumps(frame))

    def close(self, code: int) -> None:
        """1006: without a word, so that the client knows of no code."""
        self._lost = LinkLost("closed by the script", None if code == 1006 else code)
        self._out.close()


class Stage(httpx.AsyncBaseTransport):
    """``asked`` and ``told``: what the client did, oldest first."""

    def __init__(self, lives_s: list[int]) -> None:
        now = int(time.time())
        claims = [{"sub": "alice", "exp": now + life, "jti": str(life)} for life in lives_s]
        self._tokens = [jwt.encode(each, "k" * 32, "HS256") for each in claims]
        self._given = 0
        self.asked: list[Any] = []
        self.told: list[dict[str, Any]] = []
        self.delivered: dict[str, str] = {}
        self.socket: Socket | None = None
        self.down = False
        self._changed = trio.Event()

    # -- the script's side -----------------------------------------------------------------------

    async def changes(self) -> None:
        await self._changed.wait()

    def note(self, asked: Any) -> None:
        self.asked.append(asked)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def accept(self, socket: Socket) -> None:
        self.socket = socket
        socket.accepted.set()

    def named(self, token: str) -> str:
        return f"t{self._tokens.index(token) + 1}"

    async def token(self) -> str:
        self._given = min(self._given + 1, len(self._tokens))
        return self._tokens[self._given - 1]

    def credential(self) -> Any:
        return self.token if len(self._tokens) > 1 else self._tokens[0]

    # -- the client's side -----------------------------------------------------------------------

    def take(self, socket: Socket, frame: dict[str, Any]) -> None:
        if frame["type"] == "ping":
            socket.say({"type": "pong"})
            return
        if "token" in frame:
            frame["token"] = self.named(frame["token"])
        self.note({"send": frame})

    @asynccontextmanager
    async def open_link(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Link]:
        query = parse_qs(urlsplit(url).query)
        channels = [name for text in query.get("channels", []) for name in text.split(",")]
        token = self.named(headers["Authorization"].removeprefix("Bearer "))
        socket = Socket(self, channels, token)
        self.note(socket)
        if self.down:
            await trio.lowlevel.checkpoint()
            raise LinkLost("nobody answers")
        await socket.accepted.wait()
        yield socket

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise httpx.ConnectError("nobody answers")
        path = request.url.path
        body = json.loads(request.content or b"{}")
        if path == "/v1/ack":
            self._record(body["cursors"])
            return httpx.Response(204)
        token = self.named(request.headers["Authorization"].removeprefix("Bearer "))
        asked = Asked("pull", body, token)
        if path != "/v1/pull":
            asked = Asked("begin", unquote(path.split("/")[3]), token)
        else:
            self._record(body["cursors"])
        self.note(asked)
        try:
            await asked.answered.wait()
        finally:
            if not asked.answered.is_set() and asked in self.asked:
                self.asked.remove(asked)  # given up by the client
        if asked.answer is None:
            raise httpx.ReadError("the connection broke")
        return asked.answer

    def _record(self, cursors: dict[str, str]) -> None:
        self.delivered |= {name: text for name, text in cursors.items() if "." in text}
        self._wake()

    async def consume(self, events: Follow) -> None:
        """The application: it takes one event after the other."""
        try:
            async for event in events:
                self.told += _as_told(event)
                self._wake()
        except PushdError as error:
            self.told.append({"end": error.code})
            self._wake()


def _as_told(event: Event) -> list[dict[str, Any]]:
    match event:
        case Received(channel, cursor, message):
            return [{"deliver": [[channel, cursor, message.data]]}]
        case Reset(channel, cursor, code, skipped):
            told = {"channel": channel, "code": code, "skipped": skipped, "resume": cursor}
            return [{"reset": told}]
        case Expiring(channel, messages, in_ms):
            return [{"expiring": {"channel": channel, "messages": messages, "in_ms": in_ms}}]
        case ReadElsewhere(channel, cursor):
            return [{"read": {"channel": channel, "cursor": cursor}}]
        case Dropped(channel, code):
            return [{"drop": {"channel": channel, "code": code}}]
    return []


@asynccontextmanager
async def staged(case: dict[str, Any], patch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A client that follows what the case says."""
    stage = Stage(case.get("tokens", [3600]))
    patch.setattr("pushd.client.transport.open_link", stage.open_link)
    polls = case.get("transport") == "poll"
    options = FollowOptions(transports=() if polls else ("websocket",))
    async with (
        Client("http://push", stage.credential(), device="d", transport=stage) as client,
        trio.open_nursery() as nursery,
    ):
        follow: dict[str, str] = case["follow"]
        events = client.follow(*follow, after=follow, mine=case.get("own", False), options=options)
        nursery.start_soon(stage.consume, events)
        yield stage
        nursery.cancel_scope.cancel()
