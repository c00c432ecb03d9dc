"""The log as the event loop sees it: synchronous calls in, callbacks on the loop out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from pushd.core.names import SESSION_PREFIX
from pushd.core.namespaces import Retention
from pushd.core.positions import START, Cursor
from pushd.errors import CannotStart, NotReady, Overloaded, PushdError, TooLarge
from pushd.log.administration import Administration
from pushd.log.believed import Believed
from pushd.log.changes import Request
from pushd.log.crossing import Outcome, Signal, Work, drained
from pushd.log.engine import Engine
from pushd.log.lines import Lines
from pushd.log.live import Live, MembersChanged
from pushd.log.marks import SEEN, MarkBuffer
from pushd.log.reading import Reading, call, fresh
from pushd.log.requests import (
    Advance,
    Append,
    Change,
    Head,
    LogOptions,
)
from pushd.log.retention import UNBOUNDED, RetentionService
from pushd.log.scans import Scans
from pushd.log.startup import Opened, explained, open_log
from pushd.log.statistics import LogStatistics
from pushd.log.store import DATABASE
from pushd.log.watch import Watch

_logger = structlog.get_logger("pushd.log")


class Log(Reading, Administration):
    """Everything on the loop; two threads behind it. ``run()`` is the service.

    ``on_advance``, ``on_change``, ``on_members`` and ``on_revoked`` hear of commits in their order,
    after ``heads``, ``groups`` and ``revocations`` have been set and before anybody can read what
    they have removed. Set ``retention`` before ``run()``.
    """

    def __init__(self, directory: Path, options: LogOptions | None = None) -> None:
        self.directory = directory
        self.options = options or LogOptions()
        self.heads: dict[str, Head] = {}
        self.on_advance: Callable[[list[Advance]], None] = _nobody_listens
        self.on_change: Callable[[list[Change]], None] = _nobody_listens
        self.on_members: Callable[[list[MembersChanged]], None] = _nobody_listens
        self.on_revoked: Callable[[list[tuple[str, str]]], None] = _nobody_listens
        self.retention: Callable[[str], Retention] = lambda _: UNBOUNDED
        self._backlog = 0
        self._waiting_changes = 0
        self._refusal: PushdError | None = NotReady("The log is not open yet.", retry_after=1)
        self._marks = MarkBuffer(lambda: self._put(Signal.MARKS), lambda: self._put(Signal.FLUSH))
        self._live = Live()
        self._engine: Engine | None = None
        self._believed: Believed | None = None
        self._retention: RetentionService | None = None
        self._put: Callable[[Work | Signal], None] = _drop
        self._lines = Lines(self._put)
        self._scans = Scans(lambda job: self._read(job))
        self._watch = Watch(self._live, lambda *asked: self.find_slowest(*asked, within=True))

    # -- appending

    def submit(self, append: Append) -> None:
        """Raises Overloaded, NotReady, StorageBroken or TooLarge; then ``done`` is never called."""
        self._admit(append.publisher, append.size, append.size)
        self._lines.add(append)

    def submit_many(self, appends: list[Append]) -> None:
        """All of them, or none by an exception. They are of one publisher."""
        if not appends:
            return
        sizes = [append.size for append in appends]
        self._admit(appends[0].publisher, sum(sizes), max(sizes))
        for append in appends:
            self._lines.add(append)

    def _admit(self, publisher: str, size: int, largest: int) -> None:
        if self._refusal is not None:
            raise fresh(self._refusal)
        limit = self.options.backlog_bytes
        # It would hold up all others for as long as the whole backlog may.
        if largest > limit:
            raise TooLarge(f"{largest} bytes for all targets together; at most {limit} at once.")
        if self._backlog and self._backlog + size > limit:
            raise Overloaded("More waits to be stored than the backlog takes.", retry_after=1)
        self._lines.admit(publisher, size, limit)
        self._backlog += size

    # -- changing what is stored (see Administration)

    def _request(self, request: Request) -> None:
        if self._refusal is not None:
            raise fresh(self._refusal)
        if self._waiting_changes >= self.options.waiting_changes:
            raise Overloaded("Too many changes wait.", retry_after=1)
        self._waiting_changes += 1
        self._put(request)

    # -- how old it is: not at all, unless another node's log is followed

    mirrors = False  # it is another node's

    @property
    def stale(self) -> float:
        """Seconds since its owner was heard; infinite before it ever was."""
        return 0.0

    def behind(self, channel: str, cursor: Cursor, atleast: int = 0) -> bool:
        """Whether ``catch_up`` is to be called before ``cursor`` or a hint's seq is judged."""
        return False

    def catch_up(self, channels: list[str], done: Callable[[PushdError | None], None]) -> None:
        """``done`` is called once they are as new as at this moment, or with why they are not."""
        call(done, None)

    # -- marks

    def record_delivered(self, user: str, device: str, channel: str, cursor: Cursor) -> None:
        """Memory only; on disk within ``write_behind_s``. A mark never falls."""
        self._record(user, device, channel, cursor)

    def record_read(
        self,
        user: str,
        channel: str,
        cursor: Cursor,
        device: str | None = None,
        session: str | None = None,
    ) -> None:
        """Memory only; on disk within ``write_behind_s``. A mark never falls.

        ``device``, ``session``: who need not be told; for a log that is another node's.
        """
        self._record(user, None, channel, cursor)

    def record_seen(self, user: str) -> None:
        """The user is there. The first time says from where on ``all`` is unread, for good."""
        if self._refusal is None:
            head = self.heads.get("all")
            at = START if head is None else Cursor(head.epoch, head.seq)
            self._marks.record((user, None, SEEN), at)

    def _record(self, user: str, device: str | None, channel: str, cursor: Cursor) -> None:
        if self._refusal is not None:
            return
        head = self.heads.get(channel)
        if head is None or channel.startswith(SESSION_PREFIX):
            return  # with the session goes everything that was known of it
        # A mark beyond the head, or of another life, would never be risen above.
        if head.epoch == cursor.epoch and cursor.seq <= head.seq:
            self._marks.record((user, device, head.channel_id), cursor)

    # -- life

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Opens, serves until ``close()`` or cancellation. Raises CannotStart, StorageBroken."""
        opened = await trio.to_thread.run_sync(open_log, self.directory, self.options)
        self._live.load(opened.heads, opened.revocations, opened.groups)
        self.heads = opened.heads
        self._believed = opened.believed
        self._retention = self._make_retention()
        self._engine = engine = self._make_engine(opened)
        engine.start()
        self._put = self._lines.put = engine.writer.queue.put
        self._refusal = None
        try:
            async with trio.open_nursery() as services:
                services.start_soon(self._retention.run)
                task_status.started()
                await engine.ended.wait()
                services.cancel_scope.cancel()
        finally:
            self.close()
            await engine.end()
        if engine.writer.error is not None:
            raise engine.writer.error

    def close(self) -> None:
        """No more submits; the writer writes what waits and the marks, then ``run()`` returns."""
        if self._refusal is None:
            self._refusal = NotReady("The server is stopping.", retry_after=1)
            for append in self._lines.drain():
                self._put(append)
            self._started_engine.finish()

    def _make_engine(self, opened: Opened) -> Engine:
        """Raises CannotStart: the threads look at more of the file than the opening did."""
        try:
            with explained(self.directory / DATABASE):
                return Engine(
                    opened, self.directory, self.options, self._marks, self._stored, self._answered
                )
        except CannotStart:
            opened.give_up()
            raise

    def _make_retention(self) -> RetentionService:
        interval = self.options.retention_interval_s
        return RetentionService(
            self._live,
            interval,
            lambda name: self.retention(name),
            self._request,
            lambda job: self._read(job),
            lambda signal: self._put(signal),
            self._believed,
            self._watch,
        )

    @property
    def ended(self) -> dict[str, str]:
        """Of the changes that ``on_change`` is told of now: epochs of lives that have ended."""
        return self._live.ended

    @property
    def urgent(self) -> bool:
        """Of the same: whether somebody has asked for one of them; else they were just due."""
        return self._live.urgent

    def statistics(self) -> LogStatistics:
        """Raises NotReady before ``run`` has opened the log."""
        writer = self._started_engine.writer
        return writer.statistics(
            channels=len(self.heads),
            backlog_bytes=self._backlog,
            waiting_reads=self._waiting_reads,
            age_waits=self._retention is not None and self._retention.age_waits,
        )

    @property
    def _started_engine(self) -> Engine:
        if self._engine is None:
            raise NotReady("The log is not open yet.", retry_after=1)
        return self._engine

    # -- what the threads hand back, on the loop

    def _stored(self, outcome: Outcome) -> None:
        """Heads first, then who follows them, then who waits for the answer."""
        self._backlog -= outcome.size
        self._waiting_changes -= outcome.requests
        results = outcome.results
        if outcome.broken is not None:
            # What was submitted after the writer had looked for the last time.
            self._refusal = outcome.broken
            late = [*drained(self._started_engine.writer.queue), *self._lines.drain()]
            results = [*results, *((work, fresh(outcome.broken)) for work in late)]
            self._backlog = self._waiting_changes = 0
        if outcome.moved:
            call(self.on_advance, [self._live.advance(moved) for moved in outcome.moved])
        if outcome.effects:
            changes = self._live.change(outcome.effects)
            if changes:
                call(self.on_change, changes)
            members_changed = self._live.take_members_changed()
            if members_changed:
                call(self.on_members, members_changed)
            revoked_changed = self._live.take_revoked_changed()
            if revoked_changed:
                call(self.on_revoked, revoked_changed)
        for work, result in results:
            if isinstance(work, Append):
                self._lines.stored(work)
            call(work.done, result)


def _nobody_listens(_: object) -> None:
    pass


def _drop(_: Work | Signal) -> None:
    """Before the log is open nothing is admitted."""
