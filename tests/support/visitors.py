"""Users of a chat who come online one after the other, and count for themselves what they lack."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec

from tests.support.server import ServerProcess
from tests.support.websocket import WebSocket
from tests.support.wire import Http

GROUP: Final = "group:ubuntu"
DEVICE: Final = "phone"


@dataclass(slots=True)
class Stage:
    """``total``: how many messages each channel was sent, as whoever sends them counts."""

    server: ServerProcess
    http: Http
    total: Counter[str] = field(default_factory=Counter)
    epochs: dict[str, str] = field(default_factory=dict)
    checked: Counter[str] = field(default_factory=Counter)  # what was compared, for the report

    async def operator(self, method: str, target: str) -> Any:
        """A connection of its own, as the server closes it."""
        async with await self.server.http() as http:
            body = (await http.request(method, target)).ok()
        return msgspec.json.decode(body) if body else None


class Visitor:
    """``begun``: where counting began; ``read`` and ``acked``: how far; all by channel."""

    def __init__(self, stage: Stage, user: str, seed: int) -> None:
        self.stage = stage
        self.user = user
        self.inbox = f"user:{user}"
        self.token = stage.server.token(user, device=DEVICE)
        self.begun = {self.inbox: 0}
        self.read: dict[str, int] = {}
        self.acked: dict[str, int] = {}
        self._rng = random.Random(seed)

    def unread(self) -> dict[str, int]:
        """By the messages that were sent since; the server was not asked."""
        return {
            channel: self.stage.total[channel] - max(begun, self.read.get(channel, 0))
            for channel, begun in self.begun.items()
        }

    async def join(self) -> None:
        """Of the group: from now on its messages are unread."""
        path = f"/v1/groups/ubuntu/members/{quote(self.user, safe='')}"
        await self.stage.operator("PUT", path)
        self.begun.setdefault(GROUP, self.stage.total[GROUP])

    async def come(self) -> None:
        """Online, in one way or the other; what is told is what was counted."""
        self.begun.setdefault("all", self.stage.total["all"])
        told = await self._rng.choice([self._by_websocket, self._by_inbox, self._by_poll])()
        assert {head["channel"]: head["unread"] for head in told} == self.unread(), self.user
        for head in told:
            channel = head["channel"]
            assert head["head"] == self.stage.total[channel]
            for name, marks in (("read", self.read), ("delivered", self.acked)):
                expected = f"{head['epoch']}.{marks[channel]}" if channel in marks else None
                assert head[name] == expected, (self.user, channel, name)
            if head["head"]:
                self.stage.epochs[channel] = head["epoch"]
        self.stage.checked["unread"] += len(told)

    async def _by_websocket(self) -> list[dict[str, Any]]:
        async with await WebSocket.open(self.stage.server.address) as socket:
            await socket.upgrade("/v1/ws", token=self.token)
            heads = (await socket.message())["heads"]
            await socket.leave()
        return [{"channel": channel, **head} for channel, head in heads.items()]

    async def _by_inbox(self) -> list[dict[str, Any]]:
        page = (await self.stage.http.get("/v1/inbox", self.token)).json()
        assert page["unread"] == sum(self.unread().values())
        return list(page["items"])

    async def _by_poll(self) -> list[dict[str, Any]]:
        """Which tells messages, no counts: those are asked for."""
        (await self.stage.http.post("/v1/pull", {"mine": True, "limit": 1}, self.token)).ok()
        return await self._by_inbox()

    async def read_some(self) -> None:
        """Some of what is new in the inbox. Every other time without saying that it has come."""
        new = self.unread()[self.inbox]
        if not new:
            return
        upto = self.stage.total[self.inbox] - self._rng.randrange(new)
        cursor = f"{self.stage.epochs[self.inbox]}.{upto}"
        path = f"/v1/channels/{quote(self.inbox, safe='')}"
        if self._rng.random() < 0.5:
            body = {"cursors": {self.inbox: cursor}}
            (await self.stage.http.post("/v1/ack", body, self.token)).ok()
            self.acked[self.inbox] = upto
        (await self.stage.http.post(f"{path}/read", {"cursor": cursor}, self.token)).ok()
        self.read[self.inbox] = upto

    async def speak(self) -> None:
        """In the group: who writes has read."""
        token = self.stage.server.token(self.user, device=DEVICE, publish=("group:*",))
        path = f"/v1/channels/{GROUP}/messages"
        answer = await self.stage.http.post(path, {"data": "hello"}, token)
        self.stage.total[GROUP] += 1
        self.read[GROUP] = msgspec.json.decode(answer.ok())["seq"]
        assert self.read[GROUP] == self.stage.total[GROUP]

    async def check_receipts(self) -> None:
        """Of some messages of the inbox: read and delivered apart, as they were set."""
        total = self.stage.total[self.inbox]
        for seq in sorted({1, total // 2 or 1, total}) if total else ():
            path = f"/v1/channels/{quote(self.inbox, safe='')}/receipts?seq={seq}"
            answer = await self.stage.operator("GET", path)
            epoch = answer["epoch"]
            read, acked = self.read.get(self.inbox, 0), self.acked.get(self.inbox, 0)
            item = {
                "user": self.user,
                "delivered": {DEVICE: f"{epoch}.{acked}"} if acked >= seq else {},
                "read": f"{epoch}.{read}" if read >= seq else None,
            }
            assert answer["items"] == [item] * (read >= seq or acked >= seq), (self.user, seq)
            self.stage.checked["receipts"] += 1

    async def check_operator(self) -> None:
        """``GET /v1/users/ID`` says the same."""
        found = await self.stage.operator("GET", f"/v1/users/{quote(self.user, safe='')}")
        told = {each["channel"]: each["unread"] for each in found["channels"]}
        for channel, count in self.unread().items():
            assert told.get(channel, 0) == count, (self.user, channel)
