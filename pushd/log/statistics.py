"""Counters of the log: cheap to keep, copied on demand."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

# Upper bounds; one more bucket takes what is above the last.
SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
MESSAGES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]`` observations were at most ``bounds[i]``, the last above all; not cumulative."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus has them: (upper bound, observations up to it)."""
        bounds = [*(repr(bound) for bound in self.bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


class Tally:
    """A histogram under way. One thread adds, others may look."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One more observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def snapshot(self) -> Histogram:
        """As it is now."""
        return Histogram(self.bounds, tuple(self.counts), self.total)


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """A frozen moment. Bytes and counts are since the start, except what is said to wait."""

    channels: int
    backlog_bytes: int
    waiting_reads: int
    # Nothing is removed for its age until the wall clock is to be believed.
    age_waits: bool
    dirty_marks: int
    batches: int
    messages: int
    marks: int
    checkpoints: int
    refused_full: int
    wal_bytes: int
    database_bytes: int
    # Within the database: what was swept and is written over before the file grows.
    reusable_bytes: int
    # Of the disk.
    free_bytes: int
    # Channels whose cut or deleted messages wait to be swept from the disk.
    garbage: int
    # Channels, and kinds of upkeep, that met damage and are left alone until the next start.
    damaged: int
    swept_messages: int
    # By trimming, retention and deletion.
    cut_messages: int
    deleted_channels: int
    # Names whose deletion nothing remembers any more.
    purged_channels: int
    commit_seconds: Histogram
    batch_messages: Histogram
