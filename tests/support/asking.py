"""Another node, by hand: it asks a real owner what an edge asks, and keeps what it is told."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pushd.cluster.bus.texts import Hint
from pushd.cluster.owner.owner import Owner, attach
from pushd.cluster.wire import (
    PATH,
    AppendBatch,
    AppendBody,
    AppendResults,
    EntryBody,
    Feed,
    FeedAsk,
)
from pushd.groups import Groups
from pushd.log import Own
from pushd.nodetokens import NodeTokens
from tests.support.app import Server, running_server
from tests.support.http import Answer

CLUSTER_KEY = "the key of this test's cluster"

T = TypeVar("T")


class Asking:
    """A node of the same cluster. ``hints``: all that the owner gave."""

    def __init__(self, server: Server, owner: Owner, node: str = "edge-1") -> None:
        self.server = server
        self.owner = owner
        self.node = node
        self.hints: list[Hint] = []
        self.tokens = NodeTokens(CLUSTER_KEY.encode(), node)
        owner.on_hints = self.hints.append

    @property
    def generation(self) -> str:
        return self.owner.generation

    def token(self) -> str:
        return self.tokens.mint(self.generation, time.time())

    async def ask(self, name: str, body: Any, token: str | None = None) -> Answer:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.server.ask("POST", PATH + name, token=token or self.token(), body=raw)

    async def answer(self, name: str, body: Any, form: type[T]) -> T:
        answer = await self.ask(name, body)
        assert answer.status == 200, answer
        return msgspec.json.decode(answer.body, type=form)

    async def feed(self, after: int | None = None, page: str | None = None) -> Feed:
        return await self.answer("feed", FeedAsk(self.generation, self.node, after, page), Feed)

    async def append(
        self, batch: str, *appends: AppendBody, generation: str | None = None
    ) -> AppendResults:
        body = AppendBatch(generation or self.generation, self.node, batch, [*appends])
        return await self.answer("append", body, AppendResults)


def body(
    *channels: str,
    data: object = 1,
    name: str | None = None,
    user: str = "",
    own: Own | None = None,
) -> AppendBody:
    """One message, with the id ``name``, for these channels; of a service, or of ``user``."""
    raw = msgspec.Raw(msgspec.json.encode(data))
    sender = user or None
    entries = [EntryBody(channel, raw, "message", name, sender) for channel in channels]
    return AppendBody(f"user:{user}" if user else "service", entries, own)


class Copy:
    """What an edge knows, from nothing but answers."""

    def __init__(self) -> None:
        self.version = 0
        self.heads: dict[str, tuple[Any, ...]] = {}
        self.groups = Groups()
        self.revoked: dict[tuple[str, str], tuple[float, float]] = {}

    def take(self, feed: Feed) -> None:
        for head in feed.heads:
            head.bytes = 0  # of some time ago
            self.heads[head.channel] = msgspec.structs.astuple(head)
        for ended in feed.ended:
            known = self.heads.get(ended.channel)
            if known is not None and known[1] <= ended.epoch:
                del self.heads[ended.channel]
        for members in feed.members:
            self.groups.take(members.group, members.epoch, members.joined, members.left)
        for each in feed.revoked:
            if each.until:
                self.revoked[each.kind, each.value] = (each.at, each.until)
            else:
                self.revoked.pop((each.kind, each.value), None)
        self.version = feed.version

    def assert_is(self, owner: Owner, server: Server) -> None:
        """The same as the owner has, to the last field."""
        log = server.hub.log
        assert self.version == owner.journal.version
        assert self.heads == {
            name: (
                *(name, head.epoch, head.first, head.seq, head.at, head.first_at),
                *(head.redactions, 0, head.added),
            )
            for name, head in log.heads.items()
        }
        assert sorted(self.groups.names()) == sorted(log.groups.names())
        for group in log.groups.names():
            epoch, members = self.groups.state(group)
            assert (epoch, dict(members)) == (
                log.groups.state(group)[0],
                dict(log.groups.state(group)[1]),
            )
        assert self.groups.memberships == log.groups.memberships
        assert self.revoked == log.revocations


@asynccontextmanager
async def asking(data: Path, **settings: Any) -> AsyncIterator[Asking]:
    """A real server that owns its log for other nodes, and one of these."""
    async with running_server(data, cluster_key=CLUSTER_KEY, **settings) as server:
        yield Asking(server, await attach(server.hub))
