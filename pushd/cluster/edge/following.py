"""The owner's feed, applied: what has changed since a version, or all there is, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import trio

from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.claims import Claims
from pushd.cluster.edge.edgelog import EdgeLog
from pushd.cluster.edge.followup import follow_up
from pushd.cluster.wire import PATH, Feed, FeedAsk
from pushd.errors import PushdError
from pushd.hub import Hub

FEED_S: Final = 5.0  # for one answer

_feeds = msgspec.json.Decoder(Feed)


class Following:
    """``told`` hears of what was applied, ``pulls`` whether pulls may be: not while all is read
    anew. Only one step at a time."""

    def __init__(
        self,
        hub: Hub,
        durable: EdgeLog,
        claims: Claims,
        told: Callable[[Applied], None],
        pulls: Callable[[bool], None],
    ) -> None:
        self._hub = hub
        self._log = durable
        self._mirror = durable.mirror
        self._census = durable.census
        self._upstream = durable.upstream
        self._claims = claims
        self._told = told
        self._pulls = pulls
        self._version = 0
        self._whole = True  # a snapshot is needed
        self._asked_at = 0.0  # the last question, on Trio's clock

    def need_all(self) -> None:
        """What is known is of another generation, or too old."""
        self._whole = True
        self._pulls(False)

    async def step(self) -> bool:
        """Ask once, or for all there is; whether there is more. Raises PushdError, DecodeError."""
        return await (self._snapshot() if self._whole else self._increment())

    async def _ask(self, after: int | None, page: str | None = None) -> Feed:
        """Raises PushdError, DecodeError."""
        upstream = self._upstream
        self._asked_at = asked = trio.current_time()
        body = FeedAsk(upstream.generation, upstream.node, after, page)
        answer = await upstream.ask(
            PATH + "feed", msgspec.json.encode(body), deadline=asked + FEED_S
        )
        feed = _feeds.decode(answer)
        if feed.generation != upstream.generation:
            raise PushdError("The owner has begun anew.")
        return feed

    async def _increment(self) -> bool:
        """Whether there is more."""
        feed = await self._ask(self._version)
        if feed.reset:
            self.need_all()
            return True
        self._version = feed.version
        applied = Applied()
        self._census.revoked(feed.revoked, applied)
        self._census.members(feed.members, applied)
        self._heads(feed, applied)
        self._told(applied)
        follow_up(self._hub, feed)
        self._log.heard = self._asked_at
        return feed.more

    async def _snapshot(self) -> bool:
        """Page by page; then what has changed meanwhile: only after that is known what is gone."""
        self._pulls(False)
        generation = self._upstream.generation
        feed = await self._ask(None)
        self._mirror.begin_snapshot(generation)
        self._census.begin_snapshot()
        self._page(feed)
        while feed.page is not None:
            feed = await self._ask(None, feed.page)
            if feed.reset or generation != self._upstream.generation:
                return True  # from the start
            self._page(feed)
        feed.more = True
        while feed.more:
            feed = await self._ask(feed.version)
            if feed.reset or generation != self._upstream.generation:
                return True
            self._page(feed)
        self._end_snapshot()
        self._version, self._whole, self._log.heard = feed.version, False, self._asked_at
        self._pulls(True)
        return False

    def _page(self, feed: Feed) -> None:
        applied = Applied()
        self._census.page(feed.members, feed.revoked)
        self._heads(feed, applied)
        self._told(applied)
        follow_up(self._hub, feed)

    def _end_snapshot(self) -> None:
        applied = Applied()
        self._census.end_snapshot(applied)
        self._mirror.end_snapshot(applied)
        self._claims.forget()
        self._told(applied)
        if applied.revoked:
            self._hub.enforcer.look()

    def _heads(self, feed: Feed, applied: Applied) -> None:
        for state in feed.heads:
            self._mirror.head(state, applied)
            self._claims.confirmed(state.channel)
        for ended in feed.ended:
            self._mirror.ended(ended, applied)
