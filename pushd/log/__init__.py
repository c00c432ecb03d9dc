"""The durable log. The only place that knows SQLite; everything else sees these names."""

from __future__ import annotations

from pushd.log.administration import MOST_DISCARDED
from pushd.log.log import Log
from pushd.log.receipts import Receipts, UserMarks
from pushd.log.requests import (
    Advance,
    Append,
    Change,
    Entry,
    Head,
    LogOptions,
    Marks,
    MissingMessages,
    Stored,
)
from pushd.log.slowest import Slowest
from pushd.log.statistics import Histogram, LogStatistics

__all__ = [
    "MOST_DISCARDED",
    "Advance",
    "Append",
    "Change",
    "Entry",
    "Head",
    "Histogram",
    "Log",
    "LogOptions",
    "LogStatistics",
    "Marks",
    "MissingMessages",
    "Receipts",
    "Slowest",
    "Stored",
    "UserMarks",
]
