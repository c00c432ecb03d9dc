"""Keeps the ladders (see core.fading) as high as the last part of each window reaches.

Looked up by the reader's thread, a step or two at a time: for a channel that is written to steadily
about every twentieth part of its window. Messages that are there do not change their keys.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeGuard

import trio

from pushd.core.fading import Ladder
from pushd.core.namespaces import Retention
from pushd.errors import PushdError, StorageBroken
from pushd.log import failures
from pushd.log.live import Live
from pushd.log.reader import Job
from pushd.log.requests import MESSAGE_OVERHEAD, Head

# A ladder has so many steps; it reaches beyond the last part by half of that.
STEPS: Final = 12
# Rows whose sizes are added up in one statement, and statements of one turn of the reader.
PIECE: Final = 2_000
PIECES: Final = 4
# Jobs handed to the reader at once.
AT_ONCE: Final = 32

# Which is the first message that is not older: halves what is left. What is not there is old.
_AT: Final = "coalesce((SELECT at FROM messages WHERE log_id = ?1 AND seq = (low + high) / 2), -1)"
_FIRST_SINCE: Final = (
    "WITH RECURSIVE look (low, high) AS (SELECT ?2, ?3 UNION ALL SELECT"
    f" iif({_AT} < ?4, (low + high) / 2 + 1, low), iif({_AT} < ?4, high, (low + high) / 2)"
    " FROM look WHERE low < high) SELECT max(low) FROM look"
)
_SIZES: Final = (
    "SELECT max(seq), max(total), count(*) FROM (SELECT seq, sum(size) OVER (ORDER BY seq) AS total"
    f" FROM (SELECT seq, length(data) + {MESSAGE_OVERHEAD} AS size FROM messages"
    " WHERE log_id = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?)) GROUP BY total / ?"
)
# While rows wait to be swept their bytes are counted: then it is not known.
_BYTES: Final = (
    "SELECT first, bytes FROM channels WHERE id = ?2 AND log_id = ?1"
    " AND NOT EXISTS (SELECT 1 FROM garbage WHERE log_id = ?1)"
)
_NEWER: Final = (
    f"SELECT coalesce(sum(length(data) + {MESSAGE_OVERHEAD}), 0) FROM messages"
    " WHERE log_id = ? AND seq > ?"
)


class FindAges:
    """Steps at these times, which rise. Answers a ladder."""

    __slots__ = ("_after", "_head", "_log_id", "_times", "done")

    def __init__(
        self, head: Head, after: int, times: list[int], done: Callable[[Any], None]
    ) -> None:
        self.done = done
        self._log_id, self._head = head.log_id, head.seq
        self._after = after
        self._times = times

    def run(self, connection: sqlite3.Connection) -> Ladder:
        low = self._after + 1
        steps: dict[int, int] = {}
        with _quietly():
            for time in self._times:
                asked = (self._log_id, low, self._head + 1, time)
                (low,) = connection.execute(_FIRST_SINCE, asked).fetchone()
                steps[low - 1] = time
        return tuple(steps.items())


class FindSizes:
    """Steps of ``unit`` bytes until the key is ``until``. ``start``: the last step there is.

    Answers a ladder; an empty one: it cannot be known just now.
    """

    __slots__ = ("_added", "_channel_id", "_head", "_log_id", "_start", "_unit", "_until", "done")

    def __init__(
        self,
        head: Head,
        start: tuple[int, int] | None,
        unit: int,
        until: int,
        done: Callable[[Any], None],
    ) -> None:
        self.done = done
        self._channel_id, self._log_id = head.channel_id, head.log_id
        self._head, self._added = head.seq, head.added
        self._start = start
        self._unit = unit
        self._until = until

    def run(self, connection: sqlite3.Connection) -> Ladder:
        with _quietly():
            return self._climb(connection)

    def _climb(self, connection: sqlite3.Connection) -> Ladder:
        start = self._start or self._begin(connection)
        if start is None:
            return ()
        steps: list[tuple[int, int]] = [] if self._start else [start]
        seq, key = start
        for _ in range(PIECES):
            asked = (self._log_id, seq, self._head, PIECE, self._unit)
            rows = sorted(connection.execute(_SIZES, asked).fetchall())
            # Swept meanwhile, since it was cut just now.
            if rows and sum(count for _, _, count in rows) != rows[-1][0] - seq:
                return ()
            for upto, total, _ in rows:
                steps.append((upto, key + total))
                if key + total >= self._until:
                    return tuple(steps)
            if not rows:
                break
            seq, key = steps[-1]
        return tuple(steps)

    def _begin(self, connection: sqlite3.Connection) -> tuple[int, int] | None:
        """What was committed since the head was looked at is not in ``added`` yet."""
        row = connection.execute(_BYTES, (self._log_id, self._channel_id)).fetchone()
        if row is None:
            return None
        (newer,) = connection.execute(_NEWER, (self._log_id, self._head)).fetchone()
        first, size = row
        return first - 1, self._added - (size - newer)


@contextmanager
def _quietly() -> Iterator[None]:
    """Damage is told of by retention, which meets it as well, and by who reads."""
    try:
        yield
    except sqlite3.Error as error:
        if failures.is_damage(error):
            raise failures.unreadable(error) from error
        raise


class Fader:
    """On the loop. ``read`` hands a job to the reader. ``interval_s``: between two looks."""

    def __init__(self, live: Live, read: Callable[[Job], None], interval_s: float) -> None:
        self._live = live
        self._read = read
        self.spare_ms = int(interval_s * 2000)
        # Where the disk is damaged, by log id.
        self._broken: set[int] = set()

    def jobs(self, head: Head, keep: Retention, now_ms: int) -> list[Job]:
        """What has to be looked up of this channel."""
        if not keep.last or head.first > head.seq or head.log_id in self._broken:
            return []
        jobs = (self._ages(head, keep, now_ms), self._sizes(head, keep))
        return [job for job in jobs if job is not None]

    async def look(self, jobs: list[Job]) -> None:
        """Until all are done. Each sets what it has found."""
        while jobs:
            some, jobs = jobs[:AT_ONCE], jobs[AT_ONCE:]
            left = len(some)
            told = trio.Event()

            def counted(done: Callable[[Any], None], answer: object) -> None:
                nonlocal left
                left -= 1
                if not left:
                    told.set()  # noqa: B023
                done(answer)

            for job in some:
                job.done = partial(counted, job.done)
                self._read(job)
            await told.wait()

    def _ages(self, head: Head, keep: Retention, now_ms: int) -> Job | None:
        if keep.age_s is None:
            return None
        part = int(keep.age_s * 1000 * keep.last)
        spare = max(part // 2, self.spare_ms)
        threshold = now_ms - int(keep.age_s * 1000) + part
        ladder = head.ladders.ages
        seq, top = ladder[-1] if ladder else (0, head.first_at)
        # What comes is no older than the newest message, whatever the clock says then.
        if top >= min(threshold + spare // 2, head.at) or seq >= head.seq:
            return None
        step = max(1, (part + spare) // STEPS)
        upto = min(threshold + spare, head.at)
        times = list(range(upto, max(top, threshold - part), -step))

        def found(steps: Ladder | PushdError) -> None:
            if self._is_found(steps, head):
                head.ladders = head.ladders._replace(ages=_grown(ladder, steps, head.first))

        return FindAges(head, max(seq, head.first - 1), times[::-1], found)

    def _sizes(self, head: Head, keep: Retention) -> Job | None:
        if keep.bytes is None:
            return None
        part = int(keep.bytes * keep.last)
        threshold = head.added - keep.bytes + part
        ladder = head.ladders.sizes
        start = ladder[-1] if ladder and ladder[-1][0] >= head.first - 1 else None
        seq, top = start or (0, head.added - head.bytes)
        if top >= threshold + part // 4 or seq >= head.seq:
            return None

        def found(steps: Ladder | PushdError) -> None:
            if self._is_found(steps, head):
                kept = ladder if start else ()
                head.ladders = head.ladders._replace(sizes=_grown(kept, steps, head.first))

        unit = max(1, part * 3 // 2 // STEPS)
        return FindSizes(head, start, unit, threshold + part // 2, found)

    def _is_found(self, steps: Ladder | PushdError, head: Head) -> TypeGuard[Ladder]:
        if isinstance(steps, StorageBroken):
            self._broken.add(head.log_id)
        current = self._live.of_life(head.channel, head.log_id) is head
        return current and not isinstance(steps, PushdError)


def _grown(ladder: Ladder, steps: Ladder, first: int) -> Ladder:
    """Without what lies below the window. Of two steps at one seq the later knows more."""
    whole = list(dict([*ladder, *steps]).items())
    while len(whole) > 1 and whole[1][0] < first:
        del whole[0]
    return tuple(whole)
