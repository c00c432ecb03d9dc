"""What the owner tells its edges: what has changed since a version, or all that there is.

Both say what things are when the answer is made, not what has happened to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pushd.cluster.owner.changes import Item, Moved, Standing, Touched
from pushd.cluster.owner.snapshot import Snapshots
from pushd.cluster.owner.states import head_state, members_state, revoked_state
from pushd.cluster.wire import Bye, Ended, Feed, FeedAsk, ReadMark
from pushd.core.journal import Journal
from pushd.errors import BadRequest
from pushd.log import Log

PAGE: Final = 2_500  # heads, members or revocations of one answer: some milliseconds


class Feeder:
    """Answers questions of edges. Used on the loop."""

    def __init__(
        self,
        log: Log,
        journal: Journal[Item],
        generation: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._journal = journal
        self._generation = generation
        self._snapshots = Snapshots(log, PAGE, clock)

    def answer(self, ask: FeedAsk) -> Feed:
        """Of the right generation. Raises BadRequest: there is no such page."""
        self._snapshots.tidy()
        return self._snapshot(ask.page) if ask.after is None else self._increment(ask.after)

    def _snapshot(self, page: str | None) -> Feed:
        feed = Feed(self._generation, self._journal.version)
        if page is None:
            self._snapshots.first_page(feed, self._journal.version)
            return feed
        try:
            there = self._snapshots.page(feed, page, self._journal.floor)
        except ValueError:
            raise BadRequest("A page must be one that an answer named.") from None
        return feed if there else self._reset()

    def _reset(self) -> Feed:
        return Feed(self._generation, self._journal.version, reset=True)

    def _increment(self, after: int) -> Feed:
        found = self._journal.since(after, PAGE)
        if found is None:
            return self._reset()
        feed = Feed(self._generation, found.version, more=found.more)
        for item in found.items:
            self._tell(feed, item)
        return feed

    def _tell(self, feed: Feed, item: Item) -> None:
        match item:
            case Moved(channel, ended):
                head = self._log.heads.get(channel)
                if head is not None:
                    feed.heads.append(head_state(head))
                elif ended is not None:
                    feed.ended.append(Ended(channel, ended))
            case Touched(group, users):
                feed.members.append(members_state(self._log.groups, group, users))
            case Standing(kind, value):
                feed.revoked.append(revoked_state(self._log, kind, value))
            case ReadMark():
                feed.reads.append(item)
            case Bye():
                feed.byes.append(item)
