"""The one thread that writes: takes what waits, commits once, wakes the loop once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

import structlog

from pushd.errors import StorageBroken
from pushd.log import failures
from pushd.log.activity import Activity
from pushd.log.changer import Changer
from pushd.log.changes import Request
from pushd.log.checkpoint import Checkpointer
from pushd.log.crossing import Answer, Outcome, Signal, Work
from pushd.log.decide import Decider, Result
from pushd.log.holds import Holds
from pushd.log.idclock import IdClock
from pushd.log.intake import Intake
from pushd.log.marks import MarkBuffer
from pushd.log.requests import Append, LogOptions
from pushd.log.rows import Moved
from pushd.log.space import FreeSpace
from pushd.log.startup import Opened
from pushd.log.statistics import MESSAGES, SECONDS, LogStatistics, Tally
from pushd.log.store import Rows
from pushd.log.sweeper import Sweeper

_logger = structlog.get_logger("pushd.log")

_LOW: Final = "little disk space is free: appends are refused"


class Writer:
    """Construct on any thread, ``run`` on its own. ``post`` hands an outcome to the loop."""

    def __init__(
        self,
        opened: Opened,
        directory: Path,
        options: LogOptions,
        marks: MarkBuffer,
        post: Callable[[Outcome], None],
    ) -> None:
        self._intake = Intake(options, self._heed)
        self.queue = self._intake.queue
        self.error: StorageBroken | None = None
        self.commit_seconds = Tally(SECONDS)
        self.batch_messages = Tally(MESSAGES)
        self.messages = self.marks_written = self.refused_full = 0
        self._store = opened.store
        self._options = options
        self._marks = marks
        self._post = post
        self._checkpointer = Checkpointer(opened.store)
        self._space = FreeSpace(
            directory,
            options.min_free_bytes,
            opened.store.reusable_bytes,
            self._checkpointer.pending_bytes,
            self._checkpointer.settle,
        )
        self._reusable_bytes = opened.store.reusable_bytes()
        self._clock = IdClock(opened.store.day_span(), options.idempotency_s, opened.believed)
        self._decider = Decider(opened.store, opened.last_epoch, self._clock)
        self._sweeper = Sweeper(opened.store, self._clock, options.device_idle_s)
        self.holds = Holds(opened.store.connection, Activity(self._clock, options.active_s))
        self._changer = Changer(
            opened.store,
            self._clock,
            self._decider,
            self._sweeper,
            self._checkpointer,
            self.holds,
            post,
        )
        self._marks_due: float | None = None
        self._closing = False
        self._trouble: str | None = None
        self._current: Sequence[Work] = []

    def run(self) -> None:
        """Until CLOSE, or until the disk breaks; ``error`` then says so."""
        try:
            if self._space.is_low():
                self._note(_LOW)
            while not self._closing:
                work = self._current = self._intake.take(self._wait_s())
                if work and isinstance(work[0], Request):
                    self._changer.change(work)
                    # Marks that are due do not wait for the changes to end.
                    self._current = []
                    self._step([])
                else:
                    self._step(cast("list[Append]", work))
                swept = self._changer.sweep_if_due()
                if swept or work:
                    self._checkpointer.run_if_due(hurry=self._space.is_low())
                if swept:
                    self._reusable_bytes = self._store.reusable_bytes()
                self._changer.wiper.run_if_due()
            self._finish()
        except Exception as error:
            self._break(error)

    def _wait_s(self) -> float | None:
        waiting = (self._marks_due, self._sweeper.due, self._changer.wiper.due)
        dues = [due for due in waiting if due is not None]
        return min(dues) - time.monotonic() if dues else None

    def _heed(self, signal: Signal) -> None:
        if signal is Signal.CLOSE:
            self._closing = True
        elif signal is Signal.FLUSH:
            self._marks_due = 0.0
        elif signal is not Signal.MARKS:
            self._sweeper.tidy(wall_clock_is_good=signal is Signal.TIDY)
        elif self._marks_due is None:
            self._marks_due = time.monotonic() + self._options.write_behind_s

    def _step(self, appends: list[Append]) -> None:
        if appends and self._space.is_low():
            self._note(_LOW)
            self._refuse(appends, None)
            appends = []
        try:
            decided = self._decider.decide(appends, time.time_ns() // 1_000_000)
            rows = decided.rows
            self._add_chores(rows)
            if rows:
                self._commit(rows)
        except sqlite3.Error as error:
            self._fail(appends, error)
            return
        if appends:
            self._answer(decided.results, decided.moved, appends)
        self._after_marks(rows)

    def _add_chores(self, rows: Rows) -> None:
        """Marks that are due and ids that are too old ride along, a bounded number each."""
        if self._marks_due is not None and self._marks_due <= time.monotonic():
            rows.marks = self._marks.next_slice()
            rows.marks_at = time.time_ns() // 1_000_000, self._clock.served_ms()
            if not rows.marks:
                self._marks_due = None
        rows.expire_before = self._clock.expire_before(self._clock.now_ms())

    def _commit(self, rows: Rows) -> None:
        started = time.perf_counter()
        expired = self._store.write(rows)
        self.commit_seconds.add(time.perf_counter() - started)
        self.batch_messages.add(len(rows.messages))
        self.messages += len(rows.messages)
        self.marks_written += len(rows.marks)
        self.holds.note(rows.marks)
        self._decider.committed()
        if rows.messages:
            self._note(None)
        if rows.expire_before is not None and not expired:
            self._clock.expired_all(rows.expire_before)
        self._checkpointer.grow(rows.pages())

    def _answer(self, results: list[Result], moved: list[Moved], appends: list[Append]) -> None:
        size = sum([append.size for append in appends])
        self._current = []
        self._post(Outcome(results, moved, size))

    def _after_marks(self, rows: Rows) -> None:
        if rows.marks and not self._marks.slice_written():
            # The signal of those that came meanwhile may have been taken, and ignored, already.
            later = time.monotonic() + self._options.write_behind_s
            self._marks_due = later if self._marks.has_dirty() else None

    def _fail(self, appends: list[Append], error: sqlite3.Error) -> None:
        """Refuses the batch and goes on, or raises when the disk cannot be trusted any more."""
        if not failures.is_passing(error):
            raise error
        self._store.rollback()
        self._decider.forget()
        self._note(f"batches are refused: {error}")
        if self._marks_due is not None:
            self._marks_due = time.monotonic() + self._options.write_behind_s
        self._refuse(appends, error)

    def _note(self, trouble: str | None) -> None:
        """Says it once, not for each batch; and when it is over."""
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble is None:
                _logger.info("appends are stored again")
            else:
                _logger.warning(trouble)

    def _refuse(self, appends: list[Append], error: sqlite3.Error | None) -> None:
        """One error object each: they are raised in different tasks."""
        if not appends:
            return
        self.refused_full += len(appends)
        results: list[Result] = [
            (append, failures.full() if error is None else failures.refusal(error))
            for append in appends
        ]
        self._answer(results, [], appends)

    def _finish(self) -> None:
        """After CLOSE: the marks, then everything from the WAL into the database."""
        while len(self._marks):
            before = self.marks_written
            self._marks_due = 0.0
            self._step([])
            if self.marks_written == before:
                _logger.error("marks lost: the disk is full", marks=len(self._marks))
                break
        self._checkpointer.run_last()

    def _break(self, error: Exception) -> None:
        """The disk cannot be trusted: everybody who waits is told, nothing is touched again."""
        refusal = failures.refusal(error)
        self.error = refusal if isinstance(refusal, StorageBroken) else StorageBroken(str(error))
        self.error.__cause__ = error
        _logger.error("the log is broken", error=str(self.error), exc_info=error)
        self._closing = True
        detail, cure = self.error.detail, self.error.cure
        work = [*self._current, *self._intake.drain()]
        results: list[Answer] = [(one, StorageBroken(detail, cure=cure)) for one in work]
        self._post(Outcome(results, [], 0, broken=self.error))

    def statistics(self, *, age_waits: bool, **loop_side: int) -> LogStatistics:
        return LogStatistics(
            **loop_side,
            age_waits=age_waits,
            dirty_marks=len(self._marks),
            batches=sum(self.batch_messages.counts),
            messages=self.messages,
            marks=self.marks_written,
            checkpoints=self._checkpointer.count,
            refused_full=self.refused_full,
            wal_bytes=self._space.wal_bytes(),
            database_bytes=self._space.database_bytes(),
            reusable_bytes=self._reusable_bytes,
            free_bytes=self._space.free_bytes(),
            garbage=len(self._sweeper.garbage) + len(self._sweeper.aside),
            damaged=len(self._sweeper.damage),
            swept_messages=self._sweeper.swept_messages,
            cut_messages=self._changer.cut_messages,
            deleted_channels=self._changer.deleted_channels,
            purged_channels=self._sweeper.purged_channels,
            commit_seconds=self.commit_seconds.snapshot(),
            batch_messages=self.batch_messages.snapshot(),
        )
