"""A server in memory for followers: hints, pulls and acks, each noted with its time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from pushd.client.answers import (
    ChannelAnswer,
    Frame,
    Message,
    MultiPulled,
    Pulled,
    Refusal,
    ResetAnswer,
)
from pushd.client.ask import Ask
from pushd.client.credential import Credential
from pushd.client.events import Event, Received
from pushd.client.follow import Follow, Following, Plan
from pushd.client.groups import one_exception
from pushd.client.ladder import TransportKind
from pushd.client.link import Link, LinkLost
from pushd.client.options import FollowOptions
from pushd.client.problems import error_of_code
from pushd.client.stores import CursorStore
from pushd.core.positions import Cursor, parse_cursor
from pushd.core.pulling import Position, resolve
from pushd.errors import PushdError
from pushd.errors import Reset as ResetError

EPOCH, LATER = "000000aaa", "000000bbb"
HELLO: dict[str, Any] = {"device": None, "heartbeat_s": 25, "pull": {"interval_s": 20}}


class FakeLink:
    """The client's end; ``send_frame`` and ``close`` are the server's."""

    def __init__(self, kind: TransportKind = "websocket") -> None:
        self.kind, self.two_way = kind, kind == "websocket"
        self._out, self._in = trio.open_memory_channel[str](100)
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.answers_pings = True
        self.closed: LinkLost | None = None

    async def receive(self) -> str:
        try:
            return await self._in.receive()
        except trio.EndOfChannel:
            assert self.closed is not None
            raise self.closed from None

    async def send(self, text: str) -> None:
        frame = msgspec.json.decode(text)
        self.sent.append((trio.current_time(), frame))
        if frame["type"] == "ping" and self.answers_pings:
            self.send_frame(type="pong")

    def send_frame(self, **members: Any) -> None:
        self._out.send_nowait(msgspec.json.encode(members).decode())

    def send_text(self, text: str) -> None:
        self._out.send_nowait(text)

    def close(self, code: int | None, reason: str = "") -> None:
        self.closed = LinkLost(reason or "gone", code)
        self._out.close()


class FakeServer:
    """Channels as lists; every call is noted with its time. Implements ``pulling.Transport``."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Any]] = {}
        self.epochs: dict[str, str] = {}
        self.first: dict[str, int] = {}
        self.pulls: list[tuple[float, dict[str, str], float]] = []
        self.acks: list[tuple[float, dict[str, str]]] = []
        self.connects: list[float] = []
        self.attempts: list[tuple[float, TransportKind, str | None]] = []
        self.atleast: list[dict[str, int]] = []
        self.own: list[str] = []
        self.delivered: dict[str, str] = {}
        self.located: list[str] = []
        self.credential = Credential("t")
        self.broken: dict[TransportKind, LinkLost] = {"sse": LinkLost("no event stream")}
        self.notices: list[Frame] = []
        self.links: list[FakeLink] = []
        self.hello: dict[str, Any] = dict(HELLO)
        self.refuse_links = 0
        self.says_hello = True
        self.errors: list[PushdError] = []
        self.ack_error: PushdError | None = None
        self.refused: dict[str, Refusal] = {}
        self.moved = trio.Event()
        self.in_address = 100
        self.mute = False

    def publish(self, channel: str, *data: Any, hint: bool = True, jitter_ms: int = 0) -> None:
        self.epochs.setdefault(channel, EPOCH)
        self.logs.setdefault(channel, []).extend(data)
        self.moved.set()
        self.moved = trio.Event()
        if hint and self.links and self.links[-1].closed is None and not self.mute:
            self.links[-1].send_frame(
                type="hint",
                channel=channel,
                epoch=self.epochs[channel],
                seq=len(self.logs[channel]),
                jitter_ms=jitter_ms,
            )

    def at(self, channel: str) -> Position:
        epoch, log = self.epochs.get(channel, "none"), self.logs.get(channel, [])
        return Position(epoch, self.first.get(channel, 1), len(log))

    def answer(self, channel: str, text: str, limit: int) -> ChannelAnswer:
        if channel in self.refused:
            return ChannelAnswer(error=self.refused[channel])
        at = self.at(channel)
        try:
            after = resolve(parse_cursor(text), at)
        except ResetError as reset:
            extra = reset.extra
            return ChannelAnswer(
                reset=ResetAnswer(reset.code, extra["resume"], skipped=extra["skipped"])
            )
        upto = min(at.seq, after + limit)
        return ChannelAnswer(
            epoch=at.epoch,
            first=at.first,
            head=at.seq,
            next=str(Cursor(at.epoch, upto)),
            more=upto < at.seq,
            messages=[
                Message(seq, f"i{seq}", "message", 0, self.logs[channel][seq - 1])
                for seq in range(after + 1, upto + 1)
            ],
        )

    async def locate(self, channel: str) -> Pulled:
        self.located.append(channel)
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        if (refusal := self.refused.get(channel)) is not None:
            raise error_of_code(refusal.code, refusal.detail)
        first_contact = "0" if channel.startswith("user:") else "head"
        page = self.answer(channel, self.delivered.get(channel, first_contact), 1)
        if page.reset is not None:
            extra = {"resume": page.reset.resume, "skipped": page.reset.skipped}
            raise error_of_code(page.reset.code, "", extra=extra)
        return Pulled(page.epoch, page.first, page.head, page.next, page.more, page.messages)

    async def pull(self, ask: Ask, limit: int, wait_s: float) -> MultiPulled:
        cursors = dict(ask.cursors)
        self.pulls.append((trio.current_time(), dict(cursors), wait_s))
        self.atleast.append(ask.atleast)
        if ask.mine:
            cursors = {name: self.delivered.get(name, "0") for name in self.own} | cursors
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        deadline = trio.current_time() + wait_s
        while True:
            found = {name: self.answer(name, text, limit) for name, text in cursors.items()}
            news = any(part.messages or part.reset or part.error for part in found.values())
            if news or self.notices or trio.current_time() >= deadline:
                notices, self.notices = self.notices, []
                return MultiPulled(found, notices)
            with trio.move_on_at(deadline):
                await self.moved.wait()

    async def ack(self, cursors: dict[str, str]) -> None:
        self.acks.append((trio.current_time(), dict(cursors)))
        if self.ack_error is not None:
            raise self.ack_error

    @asynccontextmanager
    async def connect(
        self, kind: TransportKind, channels: list[str], replaces: str | None
    ) -> AsyncIterator[Link]:
        self.attempts.append((trio.current_time(), kind, replaces))
        await self.credential.token()
        if kind == "websocket":
            self.connects.append(trio.current_time())
        if self.refuse_links:
            self.refuse_links -= 1
            raise LinkLost("no connection")
        if (lost := self.broken.get(kind)) is not None:
            raise LinkLost(lost.reason, lost.code, lost.retry_after_s, blocked=lost.blocked)
        link = FakeLink(kind)
        self.links.append(link)
        if self.says_hello:
            heads = {name: {"epoch": at.epoch, "first": at.first, "head": at.seq}
                     for name in [*channels, *self.own] for at in [self.at(name)]}  # fmt: skip
            for name in heads.keys() & self.delivered.keys():
                heads[name]["delivered"] = self.delivered[name]
            link.send_frame(type="hello", session=f"s{len(self.links)}", heads=heads, **self.hello)
        yield link

    def split(self, channels: list[str]) -> tuple[list[str], list[str]]:
        return channels[: self.in_address], channels[self.in_address :]


@asynccontextmanager
async def following(
    server: FakeServer,
    begin: dict[str, str] | list[str],
    *,
    mine: bool = False,
    store: CursorStore | None = None,
    at_most_once: bool = False,
    has_device: bool = False,
    own: dict[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[Follow]:
    """A follower of this server, with a seed. A list of channels begins where the server says.

    ``own``: where channels begin that ``mine`` brings.
    """
    after = {**(begin if isinstance(begin, dict) else {}), **(own or {})}
    plan = Plan(
        tuple(begin), after, mine, store, has_device, at_most_once, FollowOptions(**options)
    )
    with one_exception():
        async with trio.open_nursery() as nursery:
            following = Following(server, plan, random.Random(1))
            async with Follow(following, lambda: nursery) as events:
                yield events


async def take(events: Follow, count: int, kind: type = Received) -> list[Any]:
    """The next ``count`` events of a kind, others left out."""
    found: list[Event] = []
    while len(found) < count:
        event = await anext(events)
        if isinstance(event, kind):
            found.append(event)
    return found


async def data(events: Follow, count: int) -> list[Any]:
    return [event.message.data for event in await take(events, count)]
