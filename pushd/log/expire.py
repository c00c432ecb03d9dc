"""Cutting what is too old, too many or too much, on the writer's thread within a budget."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pushd.log import failures
from pushd.log.changes import Request
from pushd.log.damage import KEEPING
from pushd.log.ledger import Channel, Ledger
from pushd.log.requests import MissingMessages

# Retention looks at so many messages of a channel at once to count their bytes.
LOOK_AT: Final = 1_000
# And is given so much of the writer's time at once.
BUDGET_S: Final = 0.004


class Bounds(NamedTuple):
    """None: no bound of that kind."""

    oldest_at_ms: int | None
    messages: int | None
    bytes: int | None


class Due(NamedTuple):
    """A channel that seems to hold more than it may. ``usual``: those bounds that it exceeds.

    ``hold``: what lies beyond the usual ones may stay within these for as long as an active device
    has not got it. None: it goes.
    """

    channel: str
    log_id: int
    usual: Bounds
    hold: Bounds | None = None


class Expired(NamedTuple):
    """``came_to``: how many of the channels, in their order. ``held``: by log id, the seq before
    which nothing is there but for slow devices."""

    came_to: int
    held: dict[int, int]


class Expire(Request):
    """Cuts what is too old, too many or too much, and not held; answers ``Expired``."""

    __slots__ = ("dues",)

    def __init__(self, dues: list[Due], done: Callable[[Any], None]) -> None:
        super().__init__(done)
        self.dues = dues

    def apply(self, ledger: Ledger) -> Expired:
        ends = time.perf_counter() + BUDGET_S
        held: dict[int, int] = {}
        for count, due in enumerate(self.dues, 1):
            channel = ledger.find(due.channel)
            if channel is None or channel.log_id != due.log_id or channel.first > channel.head:
                continue
            if ledger.damage.is_known(KEEPING, channel.name):
                continue
            try:
                sure = _expire(ledger, channel, due, held, ends)
            except MissingMessages as error:
                ledger.damage.found(KEEPING, channel.name, error)
                sure = True
            except sqlite3.Error as error:
                # Rolled back, and done without this channel: its transaction is of no use any more.
                if failures.is_damage(error):
                    ledger.damage.found(KEEPING, channel.name, error)
                raise
            if not sure:
                return Expired(count - 1, held)
            if time.perf_counter() > ends:
                return Expired(count, held)
        return Expired(len(self.dues), held)


def _expire(ledger: Ledger, channel: Channel, due: Due, held: dict[int, int], ends: float) -> bool:
    """False: more has to be looked at to know whether something is held."""
    usual = first = _first_within(ledger, channel, due.usual)
    sure = True
    if due.hold is not None and usual > channel.first:
        slowest, sure = ledger.holds.delivered_to_all(channel, usual - 1, ends)
        if slowest + 1 < usual:
            first = min(usual, max(slowest + 1, _first_within(ledger, channel, due.hold)))
            held[channel.log_id] = usual
    if first > channel.first:
        ledger.cut(channel, first, due=True)
    return sure


def _first_within(ledger: Ledger, channel: Channel, bounds: Bounds) -> int:
    """The first message to be kept."""
    first = channel.first
    if bounds.messages is not None:
        first = max(first, channel.head + 1 - bounds.messages)
    if bounds.oldest_at_ms is not None:
        first = max(first, ledger.first_since(channel, bounds.oldest_at_ms))
    # Bytes are counted when they are swept; before that they would be cut twice.
    if first == channel.first and bounds.bytes is not None and ledger.is_swept(channel):
        first = ledger.first_within(channel, bounds.bytes, LOOK_AT)
    return first
