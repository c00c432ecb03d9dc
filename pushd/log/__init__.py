"""The durable log. The only place that knows SQLite; everything else sees these names."""

from __future__ import annotations

from pushd.log.administration import MOST_DISCARDED
from pushd.log.changes import Erased
from pushd.log.lags import MOST_DEVICES, Following
from pushd.log.live import MembersChanged
from pushd.log.log import Log
from pushd.log.members import Membership
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
    Own,
    Stored,
)
from pushd.log.slowest import Slowest
from pushd.log.statistics import Histogram, LogStatistics

__all__ = [
    "MOST_DEVICES",
    "MOST_DISCARDED",
    "Advance",
    "Append",
    "Change",
    "Entry",
    "Erased",
    "Following",
    "Head",
    "Histogram",
    "Log",
    "LogOptions",
    "LogStatistics",
    "Marks",
    "MembersChanged",
    "Membership",
    "MissingMessages",
    "Own",
    "Receipts",
    "Slowest",
    "Stored",
    "UserMarks",
]
