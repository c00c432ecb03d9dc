"""The log of a node that has none: heads mirror the owner's, everything else is asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import trio

from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.census import Census
from pushd.cluster.edge.elsewhere import Elsewhere, later
from pushd.cluster.edge.forwarding import Forwarding
from pushd.cluster.edge.lookups import Ask, Loads
from pushd.cluster.edge.mirror import Mirror
from pushd.cluster.edge.reads import Reads, guarded
from pushd.cluster.edge.sentmarks import SentMarks
from pushd.cluster.edge.there import Results
from pushd.cluster.edge.upstream import Upstream
from pushd.core.names import SESSION_PREFIX
from pushd.core.positions import EPOCH_WIDTH, Cursor
from pushd.errors import NotReady, Overloaded, OwnerAway, PushdError
from pushd.log import Head, LogOptions, LogStatistics, Marks
from pushd.log.reading import call

REFUSED_S: Final = 5.0  # without the owner, after which nobody waits for it any more
CLOSE_S: Final = 3.0  # for what is on its way to the owner

CatchUp = Callable[[list[str], Callable[[PushdError | None], None]], None]


class EdgeLog(Elsewhere):
    """``Edge`` keeps the mirror right, and sets ``asks_owner``, ``claimed`` and ``heard``.
    ``lives_here``: whether a channel is of a session of this node.

    What only a log can do (trims, receipts, lists) is refused: such requests are passed on to the
    owner before they come here.
    """

    mirrors = True

    def __init__(self, upstream: Upstream, options: LogOptions | None = None) -> None:
        super().__init__(Path(), options)
        self.heads = self._live.heads
        self.upstream = upstream
        self.mirror = Mirror(self._live)
        self.census = Census(self._live)
        # When the owner was last heard, on Trio's clock.
        self.heard = -math.inf
        self.claimed: Callable[[str], tuple[str, int]] = lambda channel: ("", 0)
        self.on_stored: Callable[[str, str, int], None] = lambda channel, epoch, seq: None
        self.asks_owner: CatchUp = _refused
        self.lives_here: Callable[[str], bool] = lambda channel: False
        self._forwarding = Forwarding(upstream, self._forwarded, lambda name: self.lives_here(name))
        self._sent_marks = SentMarks(upstream)
        self._loads = Loads(upstream, self._sent_marks, call)
        self._reads = Reads(upstream, self.mirror, self.told)
        self._lines.put = self._forwarding.add
        self._closing = trio.Event()

    # -- how far behind the owner

    @property
    def stale(self) -> float:
        """Seconds since the owner was heard; infinite before it ever was."""
        return trio.current_time() - self.heard

    def behind(self, channel: str, cursor: Cursor, atleast: int = 0) -> bool:
        """Whether the owner is to be asked before ``cursor`` is judged."""
        head = self.heads.get(channel)
        mark = ("", 0) if head is None else (head.epoch, head.seq)
        if self.claimed(channel) > mark or atleast > mark[1]:
            return True
        return len(cursor.epoch) == EPOCH_WIDTH and cursor > mark

    def catch_up(self, channels: list[str], done: Callable[[PushdError | None], None]) -> None:
        """``done`` is called once the owner has said where they are, or cannot be asked."""
        if self._is_away:
            _refused(channels, done)
        else:
            self.asks_owner(channels, done)

    @property
    def _is_away(self) -> bool:
        """For so long that it would be a surprise if it was there now."""
        return trio.current_time() - self.upstream.reached >= REFUSED_S

    def told(self, applied: Applied) -> None:
        """What was applied to the mirror: those who follow hear of it."""
        if applied.changes:
            call(self.on_change, applied.changes)
        if applied.advances:
            call(self.on_advance, applied.advances)
        if applied.members:
            call(self.on_members, applied.members)

    # -- publishing

    def _admit(self, publisher: str, size: int, largest: int) -> None:
        if self._refusal is None and self._is_away:
            raise OwnerAway(
                "The node that owns the log cannot be reached: nothing of this was stored.",
                retry_after=1,
            )
        super()._admit(publisher, size, largest)

    def _forwarded(self, results: Results) -> None:
        for append, result in results:
            self._backlog -= append.size
            self._lines.stored(append)
            if not isinstance(result, PushdError):
                for each in result:
                    self.on_stored(each.channel, each.epoch, each.seq)
            call(append.done, result)

    # -- marks

    def _record(self, user: str, device: str | None, channel: str, cursor: Cursor) -> None:
        """What is not a position of the channel the owner leaves out."""
        self._sent(user, device, channel, cursor, None, None)

    def record_read(
        self,
        user: str,
        channel: str,
        cursor: Cursor,
        device: str | None = None,
        session: str | None = None,
    ) -> None:
        """At the owner within some milliseconds."""
        self._sent(user, None, channel, cursor, device, session)

    def _sent(
        self,
        user: str,
        device: str | None,
        channel: str,
        cursor: Cursor,
        knows: str | None,
        session: str | None,
    ) -> None:
        if self._refusal is None and cursor.seq and not channel.startswith(SESSION_PREFIX):
            self._sent_marks.record((user, device, channel), cursor, knows, session)

    def record_seen(self, user: str) -> None:
        """The first time says from where on ``all`` is unread, for good."""
        if self._refusal is None:
            self._sent_marks.seen(user)

    def load_marks(
        self,
        user: str,
        device: str | None,
        channels: list[str],
        done: Callable[[dict[str, Marks] | PushdError], None],
    ) -> None:
        """Marks of every channel named, those included that the owner does not have yet."""
        if self._refusal is not None or len(self._loads) >= self.options.waiting_reads:
            refusal = self._refusal or Overloaded("Too many reads wait.", retry_after=1)
            later(done, refusal.again())
            return
        since = self._live.groups.since
        self._loads.add(Ask(user, device, channels, lambda name: since(name, user), done))

    # -- reading

    def read_messages(
        self,
        head: Head,
        after: int,
        upto: int,
        limit: int,
        max_bytes: int,
        done: Callable[[list[bytes] | PushdError], None],
    ) -> None:
        """Encoded messages ``after + 1`` to ``upto``, without a gap, or MissingMessages."""
        if self._may_read(done):
            self._reads.after(
                head, after, upto, limit, max_bytes, guarded(self.mirror, head, after, done)
            )

    def read_back(
        self,
        head: Head,
        after: int,
        upto: int,
        max_bytes: int,
        done: Callable[[list[bytes] | PushdError], None],
    ) -> None:
        """The newest of messages ``after + 1`` to ``upto``, as many as fit; else as above."""
        if self._may_read(done):
            self._reads.back(head, after, upto, max_bytes, guarded(self.mirror, head, None, done))

    def _may_read(self, done: Callable[[Any], None]) -> bool:
        refusal = self._refusal
        if refusal is None and self._reads.full(self.options.waiting_reads):
            refusal = Overloaded("Too many reads wait.", retry_after=1)
        if refusal is not None:
            later(done, refusal.again())
        return refusal is None

    # -- life

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until ``close()`` or cancellation."""
        self._refusal = None
        try:
            async with trio.open_nursery() as services:
                for service in (self._forwarding, self._sent_marks, self._loads, self._reads):
                    services.start_soon(service.run)
                task_status.started()
                await self._closing.wait()
                await self._hand_over()
                services.cancel_scope.cancel()
        finally:
            self.close()
            self.upstream.close()

    async def _hand_over(self) -> None:
        """What waits is still sent, as long as there is an owner."""
        with trio.move_on_after(CLOSE_S):
            while not (self._forwarding.idle and self._sent_marks.idle):
                await trio.sleep(0.01)

    def close(self) -> None:
        """No more submits; what waits is sent, then ``run()`` returns."""
        if self._refusal is None:
            self._refusal = NotReady("The server is stopping.", retry_after=1)
            for append in self._lines.drain():
                self._forwarding.add(append)
        self._closing.set()

    def statistics(self) -> LogStatistics:
        """Of the mirror, and of what waits for the owner."""
        return replace(
            super().statistics(),
            waiting_reads=len(self._reads) + len(self._loads),
            dirty_marks=len(self._sent_marks),
        )


def _refused(channels: list[str], done: Callable[[PushdError | None], None]) -> None:
    later(done, OwnerAway("The node that owns the log cannot be reached.", retry_after=1))
