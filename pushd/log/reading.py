"""The side of the log that reads: jobs for the reader's thread, answers on the loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import structlog
import trio

from pushd.errors import Overloaded, PushdError
from pushd.log.history import ReadBack
from pushd.log.holds import Holds
from pushd.log.live import Live
from pushd.log.marks import SEEN, Found, MarkBuffer, newest
from pushd.log.reader import Done, Job, LoadMarks, Reader, ReadMessages
from pushd.log.requests import Head, LogOptions, Marks, MissingMessages
from pushd.log.retention import RetentionService
from pushd.log.scans import Scans
from pushd.log.slowest import Slowest
from pushd.log.watch import Watch

_logger = structlog.get_logger("pushd.log")


class _Writer(Protocol):
    holds: Holds


class _Engine(Protocol):
    reader: Reader

    @property
    def writer(self) -> _Writer: ...


class Reading:
    """Of a ``Log``. ``done`` is always called later, on the loop, exactly once."""

    heads: dict[str, Head]
    options: LogOptions
    _live: Live
    _marks: MarkBuffer
    _refusal: PushdError | None
    _scans: Scans
    _watch: Watch
    _retention: RetentionService | None
    _waiting_reads = 0

    @property
    def _started_engine(self) -> _Engine:
        raise NotImplementedError

    def read_messages(
        self,
        head: Head,
        after: int,
        upto: int,
        limit: int,
        max_bytes: int,
        done: Callable[[list[bytes] | PushdError], None],
    ) -> None:
        """Encoded messages ``after + 1`` to ``upto``, without a gap, or MissingMessages.

        A channel that was trimmed into, redacted or deleted meanwhile is MissingMessages as well:
        what was read must not be given out. The head already shows what has happened.
        """
        job = ReadMessages(head.log_id, head.epoch, after, upto, limit, max_bytes, done)
        self._read_of(head, after, job)

    def read_back(
        self,
        head: Head,
        after: int,
        upto: int,
        max_bytes: int,
        done: Callable[[list[bytes] | PushdError], None],
    ) -> None:
        """The newest of messages ``after + 1`` to ``upto``, as many as fit; else as above.

        Those that a trim removed meanwhile may be among them: what is left is as good as before,
        so that a channel that is trimmed without end can be read.
        """
        job = ReadBack(head.log_id, head.epoch, after, upto, max_bytes, done)
        self._read_of(head, None, job)

    def _read_of(self, head: Head, after: int | None, job: ReadMessages | ReadBack) -> None:
        """Its answer is worthless when the channel was changed while it was under way.

        ``after``: where a trim changes it as well.
        """
        done, redactions = job.done, head.redactions

        def guarded(answer: list[bytes] | PushdError) -> None:
            current = self.heads.get(head.channel) is head
            current = current and (after is None or after >= head.first - 1)
            if isinstance(answer, list) and not (current and head.redactions == redactions):
                answer = MissingMessages(f"Channel {head.channel!r} was changed meanwhile.")
            done(answer)

        job.done = guarded
        self._read(job)

    def load_marks(
        self,
        user: str,
        device: str | None,
        channels: list[str],
        done: Callable[[dict[str, Marks] | PushdError], None],
    ) -> None:
        """Marks of every channel named, those included that are not on disk yet."""
        wanted = [(name, self.heads.get(name)) for name in channels]
        ids = [head.channel_id for _, head in wanted if head is not None]
        unwritten = partial(self._marks.unwritten, user, device, [SEEN, *ids])
        before = unwritten()

        def merge(found: Found | PushdError) -> None:
            if isinstance(found, PushdError):
                done(found)
                return
            delivered, read = newest(found, before, unwritten())
            marks = {}
            for name, head in wanted:
                key = -1 if head is None else head.channel_id
                since = read.get(SEEN) if name == "all" else self._live.groups.since(name, user)
                marks[name] = Marks(delivered.get(key), read.get(key), since)
            done(marks)

        self._read(LoadMarks(user, device, ids, merge))

    def find_slowest(
        self,
        head: Head,
        done: Callable[[Slowest | PushdError | None], None],
        *,
        within: bool = False,
    ) -> None:
        """The active device that is farthest behind in the channel, by the marks that are on disk.

        ``within``: of those that have not fallen out of the window.
        None: no active device has a mark of this life. Where looking takes long, it may be of some
        seconds ago. Raises NotReady.
        """
        self._scans.ask(head, self._started_engine.writer.holds.activity, within, done)

    def held(self, head: Head) -> int:
        """How many messages of the channel are beyond its bounds, kept for slow devices only."""
        return 0 if self._retention is None else self._retention.held.messages(head)

    def held_channels(self) -> list[Head]:
        """Those whose window is held for slow devices."""
        return [] if self._retention is None else list(self._retention.held.channels())

    def falling_out(self) -> list[Head]:
        """Channels in which an active device lacks messages of the last part of the window."""
        return list(self._watch.channels())

    def _read(self, job: Job) -> None:
        refusal = self._refusal
        if refusal is None and self._waiting_reads >= self.options.waiting_reads:
            refusal = Overloaded("Too many reads wait.", retry_after=1)
        self._waiting_reads += 1
        if refusal is not None:
            # Later, as with any other answer: callers need not expect it before this returns.
            answers: list[tuple[Done, object]] = [(job.done, fresh(refusal))]
            trio.lowlevel.current_trio_token().run_sync_soon(self._answered, answers)
        else:
            self._started_engine.reader.queue.put(job)

    def _answered(self, answers: list[tuple[Done, object]]) -> None:
        self._waiting_reads -= len(answers)
        for done, answer in answers:
            call(done, answer)


def call(callback: Callable[[Any], None], value: object) -> None:
    """One that fails must not keep the others from their answers."""
    try:
        callback(value)
    except Exception:
        _logger.exception("a callback of the log failed")


def fresh(error: PushdError) -> PushdError:
    """A copy: the same object raised in many tasks would collect all their tracebacks."""
    return type(error)(error.detail, retry_after=error.retry_after, cure=error.cure)
