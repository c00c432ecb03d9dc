"""What is no longer needed leaves the disk: in slices, so that publishes hardly notice."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from pushd.log import members
from pushd.log.damage import SWEEPING, TIDYING, Damage
from pushd.log.idclock import DAY_MS, IdClock
from pushd.log.ledger import Garbage
from pushd.log.live import Effect, Revoked, Swept
from pushd.log.requests import MESSAGE_OVERHEAD
from pushd.log.store import EXPIRE_IDS, Store

# One slice: so long at most, then the writer's other work comes first for a while.
BUDGET_S: Final = 0.004
PAUSE_S: Final = 0.02
# After a disk that was full.
RETRY_S: Final = 1.0
# Rows, and bytes of rows, that one statement deletes; and bytes that a slice does, which go to the
# disk once more, as zeros.
CHUNK: Final = 128
CHUNK_BYTES: Final = 1 << 18
SLICE_BYTES: Final = 1 << 20

_SIZES: Final = (
    "SELECT seq, length(data) FROM messages WHERE log_id = ? AND seq <= ? ORDER BY seq LIMIT ?"
)
_SWEEP: Final = "DELETE FROM messages WHERE log_id = ? AND seq <= ?"
_SHRINK: Final = "UPDATE channels SET bytes = bytes - ? WHERE id = ? AND log_id = ?"
_SWEPT: Final = "DELETE FROM garbage WHERE log_id = ?"
_WAITING: Final = (
    "SELECT g.log_id, g.channel_id, coalesce(c.name, ''), g.upto"
    " FROM garbage AS g LEFT JOIN channels AS c ON c.id = g.channel_id"
)
# Its ids are of the day it was deleted or earlier ones.
_TOMBSTONE: Final = (
    "SELECT id, name FROM channels WHERE deleted_at IS NOT NULL AND deleted_at < ?"
    " ORDER BY deleted_at LIMIT 1"
)
_MARKS_OF: Final = (
    "DELETE FROM cursors WHERE (user, device, channel_id) IN"
    " (SELECT user, device, channel_id FROM cursors WHERE channel_id = ? LIMIT ?)",
    "DELETE FROM reads WHERE (user, channel_id) IN"
    " (SELECT user, channel_id FROM reads WHERE channel_id = ? LIMIT ?)",
)
# Only of those that were ended for good: an ordinary one waits until its ids have expired.
_IDS_OF: Final = (
    "DELETE FROM idempotency WHERE (day, channel_id, publisher, id) IN"
    " (SELECT day, channel_id, publisher, id FROM idempotency"
    " WHERE day = ? AND channel_id = ? LIMIT ?)"
)
_PURGE: Final = "DELETE FROM channels WHERE id = ?"
_OVER: Final = (
    "DELETE FROM revocations WHERE (kind, value) IN"
    " (SELECT kind, value FROM revocations WHERE until < ? LIMIT ?) RETURNING kind, value"
)

# Does some of its work; True when all of it is done.
Job = Callable[[], bool]


class Sweeper:
    """The writer's. ``due``: when the next slice is (monotonic clock), None: nothing waits."""

    def __init__(self, store: Store, clock: IdClock, idle_s: float) -> None:
        self.swept_messages = 0
        self.purged_channels = 0
        self._store = store
        self._execute = store.connection.execute
        self._clock = clock
        self._idle_ms = int(idle_s * 1000)
        rows = [Garbage(*row) for row in self._execute(_WAITING)]
        self.garbage = {garbage.log_id: garbage for garbage in rows}
        # What met damage: until the next start nothing more of these is tried.
        self.aside: dict[int, Garbage] = {}
        self._broken: set[Job] = set()
        self.damage = Damage()
        # What the slice is at.
        self._at: Garbage | Job | None = None
        self.due: float | None = 0.0 if rows else None
        self._jobs: dict[Job, None] = {}
        # Of the slice under way.
        self._effects: list[Effect] = []
        self._forgotten: list[str] = []
        self._swept = self._swept_bytes = self._swept_members = self._purged = 0
        self._no_ids_before: int | None = None
        self.sweep_members()

    def add(self, garbage: Iterable[Garbage]) -> None:
        """Committed by others; to be swept from now on."""
        for one in garbage:
            if one.log_id in self.aside:
                self.aside[one.log_id] = one
            else:
                self.garbage[one.log_id] = one
                self.wake()

    def tidy(self, *, wall_clock_is_good: bool) -> None:
        """Looks once whatever else has grown old."""
        jobs = [self._expire_ids, self._purge, self._sweep_members]
        if wall_clock_is_good:
            jobs += [self._drop_devices, self._end_revocations]
        self._jobs.update(dict.fromkeys(job for job in jobs if job not in self._broken))
        self.wake()

    def sweep_members(self) -> None:
        """A group was deleted."""
        if self._sweep_members not in self._broken:
            self._jobs[self._sweep_members] = None
            self.wake()

    def wake(self) -> None:
        """There is something to do, now."""
        if self.due is None:
            self.due = time.monotonic()

    def slice(self) -> tuple[list[Effect], list[str]]:
        """One transaction. Answers what the loop, and the names that the decider, should hear.

        Raises sqlite3.Error; after the rollback call ``failed()``.
        """
        self._effects, self._forgotten = [], []
        self._swept = self._swept_bytes = self._swept_members = self._purged = 0
        jobs = deque(self._jobs)
        with self._store.transaction():
            ends = time.perf_counter() + BUDGET_S
            touched = self._sweep(ends)
            # However late it is: each slice does something of both.
            while jobs:
                self._at = job = jobs.popleft()
                if not job():
                    jobs.append(job)
                if time.perf_counter() > ends:
                    break
            self._at = None
        for garbage, done in touched.items():
            # Others come first next time.
            del self.garbage[garbage.log_id]
            if not done:
                self.garbage[garbage.log_id] = garbage
        self._jobs = dict.fromkeys(jobs)
        if self._no_ids_before is not None:
            self._clock.expired_all(self._no_ids_before)
            self._no_ids_before = None
        self.swept_messages += self._swept
        self.purged_channels += self._purged
        waits = bool(self.garbage or self._jobs)
        self.due = time.monotonic() + PAUSE_S if waits else None
        return self._effects, self._forgotten

    def set_aside(self, error: Exception) -> bool:
        """What the slice was at met damage; once rolled back, the others go on. False: it was
        nothing in particular."""
        at, self._at = self._at, None
        if isinstance(at, Garbage):
            self.aside[at.log_id] = self.garbage.pop(at.log_id)
            self.damage.found(SWEEPING, at.channel or f"a deleted channel ({at.log_id})", error)
        elif at is not None:
            self._broken.add(at)
            self._jobs.pop(at, None)
            self.damage.found(TIDYING, at.__name__.strip("_"), error)
        else:
            return False
        self._no_ids_before = None
        self.due = time.monotonic() + PAUSE_S
        return True

    def failed(self) -> None:
        """The slice was rolled back: again in a while."""
        self._at = None
        self._no_ids_before = None
        self.due = time.monotonic() + RETRY_S

    def pages(self) -> int:
        """A guess at the pages that the slice has added to the WAL."""
        return 3 + self._swept // 4 + self._swept_bytes // 4096 + self._swept_members // 4

    def _sweep(self, ends: float) -> dict[Garbage, bool]:
        """Turns among those that wait, so that a huge one does not hold up all others."""
        touched: dict[Garbage, bool] = {}
        turns = deque(islice(self.garbage.values(), CHUNK))
        while turns:
            self._at = garbage = turns.popleft()
            touched[garbage] = done = self._sweep_some(garbage)
            if not done:
                turns.append(garbage)
            if time.perf_counter() > ends or self._swept_bytes >= SLICE_BYTES:
                break
        return touched

    def _sweep_some(self, garbage: Garbage) -> bool:
        log_id, channel_id, channel, upto = garbage
        rows = self._execute(_SIZES, (log_id, upto, CHUNK)).fetchall()
        size = count = last = 0
        for seq, length in rows:
            if count and size + length > CHUNK_BYTES:
                break
            size += length + MESSAGE_OVERHEAD
            count, last = count + 1, seq
        if count:
            self._execute(_SWEEP, (log_id, last))
            self._execute(_SHRINK, (size, channel_id, log_id))
            self._effects.append(Swept(channel, log_id, size))
            self._swept += count
            self._swept_bytes += size
        done = count == len(rows) < CHUNK
        if done:
            self._execute(_SWEPT, (log_id,))
        return done

    def _purge(self) -> bool:
        """Names that were deleted, once nothing can refer to them any more."""
        row = self._execute(_TOMBSTONE, (self._clock.oldest * DAY_MS,)).fetchone()
        if row is None:
            return True
        channel_id, name = row
        days = range(self._clock.oldest, self._clock.now_ms() // DAY_MS + 1)
        deletions: list[tuple[str, tuple[int, ...]]]
        deletions = [(sql, (channel_id, CHUNK)) for sql in _MARKS_OF]
        deletions += [(_IDS_OF, (day, channel_id, CHUNK)) for day in days]
        if all(self._execute(sql, values).rowcount < CHUNK for sql, values in deletions):
            self._execute(_PURGE, (channel_id,))
            self._forgotten.append(name)
            self._purged += 1
        return False

    def _sweep_members(self) -> bool:
        count = members.sweep(self._execute, CHUNK)
        self._swept_members += count or 0
        return count is None

    def _drop_devices(self) -> bool:
        before = time.time_ns() // 1_000_000 - self._idle_ms
        return self._store.devices.drop_idle(before, CHUNK // 4) < CHUNK // 4

    def _end_revocations(self) -> bool:
        over = self._execute(_OVER, (time.time_ns() // 1_000_000, CHUNK)).fetchall()
        self._effects += [Revoked(key, None) for key in over]
        return len(over) < CHUNK

    def _expire_ids(self) -> bool:
        before = self._clock.expire_before(self._clock.now_ms())
        if before is None:
            return True
        if self._execute(EXPIRE_IDS, (before, CHUNK)).rowcount == CHUNK:
            return False
        self._no_ids_before = before
        return True
