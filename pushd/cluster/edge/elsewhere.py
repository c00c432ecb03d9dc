"""What a log can do and a mirror of one cannot: such requests are passed on to the owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from pushd.errors import NotReady, PushdError
from pushd.log import Head, Log, LogStatistics, Slowest
from pushd.log.changes import Request
from pushd.log.reader import Job
from pushd.log.reading import call
from pushd.log.statistics import MESSAGES, SECONDS, Tally


class Elsewhere(Log):
    """Refuses trims, receipts, lists, and whatever else needs the disk."""

    def _request(self, request: Request) -> None:
        raise _elsewhere()

    def _read(self, job: Job) -> None:
        later(job.done, _elsewhere())

    def discard(self, channels: list[str], done: Callable[[int | PushdError], None]) -> None:
        """Nothing: the owner sees to it when sessions end."""
        later(done, 0)

    def find_slowest(
        self,
        head: Head,
        done: Callable[[Slowest | PushdError | None], None],
        *,
        within: bool = False,
    ) -> None:
        """Refused."""
        later(done, _elsewhere())

    def statistics(self) -> LogStatistics:
        """Of the mirror; nothing of a disk."""
        return LogStatistics(
            channels=len(self.heads),
            backlog_bytes=self._backlog,
            waiting_reads=self._waiting_reads,
            age_waits=False,
            dirty_marks=0,
            batches=0,
            messages=0,
            marks=0,
            checkpoints=0,
            refused_full=0,
            wal_bytes=0,
            database_bytes=0,
            reusable_bytes=0,
            free_bytes=0,
            garbage=0,
            damaged=0,
            swept_messages=0,
            cut_messages=0,
            deleted_channels=0,
            purged_channels=0,
            commit_seconds=Tally(SECONDS).snapshot(),
            batch_messages=Tally(MESSAGES).snapshot(),
        )


def later(done: Callable[[Any], None], answer: object) -> None:
    """As any answer of a log: callers need not expect it before this returns."""
    trio.lowlevel.current_trio_token().run_sync_soon(call, done, answer)


def _elsewhere() -> NotReady:
    return NotReady("This node has no log of its own: ask the one that owns it.", retry_after=1)
