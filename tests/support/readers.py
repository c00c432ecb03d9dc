"""Clients who follow channels over several nodes, and write down all that they see."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import msgspec
import trio

from tests.support.cluster import Cluster
from tests.support.histories import NONE, Hinted, Number, Pulled, Reset, rank
from tests.support.ledger import Page
from tests.support.roaming import PATIENCE_S, Away, Roamer
from tests.support.websocket import Closed, WebSocket
from tests.support.wire import ConnectionLost

POLL_S = 5.0  # a poll waits so long, and a client with a WebSocket pulls in any case


class StalePage(Page):
    stale: int = 0


decode_stale = msgspec.json.Decoder(StalePage).decode


class Reader(Roamer, ABC):
    """Follows its channels from their start, across everything. ``cursors``: how far it is."""

    def __init__(
        self, cluster: Cluster, name: str, nodes: Sequence[str], channels: Sequence[str]
    ) -> None:
        super().__init__(cluster, name, nodes)
        self.channels = channels
        self.cursors: dict[str, Number] = {}
        self.moved = trio.Event()
        self.token = cluster.owner.token(name, device=name, subscribe=tuple(channels))

    async def run(self) -> None:
        with self:
            while True:
                try:
                    await self.follow()
                except Away:
                    await self.rest()

    @abstractmethod
    async def follow(self) -> None: ...

    async def pull(self, channel: str, wait: float = 0, atleast: int = 0) -> bool:
        """Whether there is more."""
        after = self.cursors.get(channel)
        target = f"/v1/channels/{quote(channel, safe='')}/messages?after={_text(after)}"
        target += f"&limit={self.rng.choice((3, 100, 1000))}&wait={wait}"
        if atleast:
            target += f"&atleast={atleast}"
        node, asked = self.node.name, trio.current_time()
        answer = await self.ask("GET", target, self.token)
        if answer.status == 410:
            return self.reset(node, channel, after, answer.json())
        return self.paged(node, channel, after, answer.ok(), asked, atleast)

    def paged(
        self,
        node: str,
        channel: str,
        after: Number | None,
        body: bytes,
        asked: float,
        atleast: int = 0,
    ) -> bool:
        page = decode_stale(body)
        self.cluster.history.append(
            Pulled(
                *(self.name, node, channel, after, page.epoch, page.head),
                entries=tuple((message.seq, message.id) for message in page.messages),
                next=_number(page.next),
                more=page.more,
                stale=bool(page.stale),
                atleast=atleast,
                asked=asked,
            )
        )
        self._move(channel, _number(page.next))
        return page.more

    def reset(self, node: str, channel: str, after: Number | None, problem: dict[str, Any]) -> bool:
        resume, code = _number(problem["resume"]), problem["code"]
        event = Reset(self.name, node, channel, after, code, problem["epoch"], resume)
        self.cluster.history.append(event)
        self._move(channel, resume)
        return True

    def _move(self, channel: str, cursor: Number) -> None:
        self.cursors[channel] = cursor
        self.moved.set()
        self.moved = trio.Event()


class Poller(Reader):
    """One held poll per channel and turn; it changes its node now and then."""

    async def follow(self) -> None:
        for turn in itertools.count(1):
            for channel in self.channels:
                while await self.pull(channel, wait=POLL_S / 10):
                    pass
            if turn % 7 == 0:
                self.hang_up()


class MultiPoller(Reader):
    """One held poll of all."""

    async def follow(self) -> None:
        while True:
            asked, node = trio.current_time(), self.node.name
            cursors = {channel: self.cursors.get(channel) for channel in self.channels}
            body = {
                "cursors": {channel: _text(cursor) for channel, cursor in cursors.items()},
                "wait": POLL_S,
            }
            answer = await self.ask("POST", "/v1/pull", self.token, body)
            pages = msgspec.json.decode(answer.ok(), type=dict[str, msgspec.Raw])["channels"]
            for channel, raw in msgspec.json.decode(pages, type=dict[str, msgspec.Raw]).items():
                part = msgspec.json.decode(raw)
                if "error" in part:
                    assert part["error"]["status"] == 503, part
                    self.refused += 1
                    raise self.turned_away(str(part))
                if "reset" in part:
                    self.reset(node, channel, cursors[channel], part["reset"])
                elif channel in cursors:
                    self.paged(node, channel, cursors[channel], bytes(raw), asked)


class Listener(Reader):
    """Hints at one node, its home, and pulls at others."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        nodes: Sequence[str],
        channels: Sequence[str],
    ) -> None:
        """``nodes``: its home, then those where it pulls."""
        super().__init__(cluster, name, nodes[1:], channels)
        self.home = cluster.nodes[nodes[0]]
        self.sessions = 0
        self._heads: dict[str, Number] = {}
        self._news = trio.Event()

    async def follow(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            while True:
                try:
                    await self._pull_what_is_new()
                except Away:
                    await self.rest()

    async def _pull_what_is_new(self) -> None:
        """At once when a hint is ahead, and all of it now and then."""
        with trio.move_on_after(POLL_S) as scope:
            await self._news.wait()
        self._news = trio.Event()
        for channel in self.channels:
            more = scope.cancelled_caught
            while more or self._is_behind(channel):
                epoch, seq = self._heads.get(channel, (NONE, 0))
                at = self.cursors.get(channel)
                more = await self.pull(channel, atleast=seq if at and at[0] == epoch else 0)
            self.hang_up()

    def _is_behind(self, channel: str) -> bool:
        at = self.cursors.get(channel, (NONE, 0))
        return rank(self._heads.get(channel, (NONE, 0))) > rank(at)

    async def _listen(self) -> None:
        while True:
            with suppress(ConnectionLost, Closed, OSError, trio.TooSlowError):
                async with await WebSocket.open(self.home.address) as socket:
                    await self._hear(socket)
            await self.rest()

    async def _hear(self, socket: WebSocket) -> None:
        names = quote(",".join(self.channels), safe=",")
        with trio.fail_after(PATIENCE_S):
            await socket.upgrade(f"/v1/ws?channels={names}", token=self.token)
            hello = await socket.message()
        if hello["type"] != "hello":
            return
        self.sessions += 1
        self._heads.clear()
        for channel, head in hello["heads"].items():
            self._told(hello["session"], channel, (head["epoch"], head["head"]))
        while True:
            frame = await socket.message()
            if frame["type"] == "hint":
                number = (frame["epoch"], frame["seq"])
                self._told(hello["session"], frame["channel"], number)

    def _told(self, session: str, channel: str, number: Number) -> None:
        event = Hinted(f"{self.name} {session}", self.home.name, channel, number)
        self.cluster.history.append(event)
        self._heads[channel] = number
        self._news.set()


def _text(cursor: Number | None) -> str:
    return "0" if cursor is None else f"{cursor[0]}.{cursor[1]}"


def _number(cursor: str) -> Number:
    epoch, _, seq = cursor.rpartition(".")
    return (epoch, int(seq))
