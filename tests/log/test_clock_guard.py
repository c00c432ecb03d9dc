"""A clock that jumps, or is ahead at a start, removes nothing; in the end it is believed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.namespaces import Retention
from pushd.log import Log
from pushd.log.believed import load
from pushd.log.clockguard import ClockGuard
from pushd.log.ledger import Ledger
from pushd.log.retention import RetentionService
from pushd.log.store import DATABASE, connect_reader
from tests.log.support import OPTIONS, append, entry, idle, opened, read
from tests.log.vaults import change

MINUTE, HOUR, DAY, YEAR = 60.0, 3_600.0, 86_400.0, 365 * 86_400.0


class Clocks:
    """``away``: how long ago the last known time was, None: nothing is known."""

    def __init__(self, away: float | None = None) -> None:
        self.wall, self.steady = 1e9, 500.0
        known = None if away is None else self.wall - away
        self.guard = ClockGuard(lambda: self.wall, lambda: self.steady, known)

    def pass_(self, seconds: float, jump: float = 0.0) -> bool:
        self.wall += seconds + jump
        self.steady += seconds
        now = self.guard.look()
        assert now in (None, self.wall)
        assert self.guard.waits == (now is None)
        return now is not None


def test_clocks_that_go_alike_are_believed() -> None:
    clocks = Clocks()
    for _ in range(1000):
        # Slewed, or looked at late: less than a minute at a time, however much in sum.
        assert clocks.pass_(MINUTE, 30.0)
    assert clocks.pass_(YEAR)
    assert clocks.pass_(MINUTE, -30.0)


@pytest.mark.parametrize("jump", [YEAR, -YEAR, 61.0, -61.0])
def test_a_jump_is_not_believed_until_it_is_taken_back(jump: float) -> None:
    clocks = Clocks()
    assert clocks.pass_(MINUTE)
    assert not clocks.pass_(MINUTE, jump)
    for _ in range(50):
        assert not clocks.pass_(MINUTE)
    assert clocks.pass_(MINUTE, -jump)
    # A second one is as suspect as the first.
    assert not clocks.pass_(MINUTE, jump)


def test_a_jump_that_stays_is_believed_in_the_end() -> None:
    clocks = Clocks()
    assert not clocks.pass_(MINUTE, YEAR)
    assert not clocks.pass_(HOUR / 2)
    # It jumps again: from then on anew.
    assert not clocks.pass_(MINUTE, HOUR)
    assert not clocks.pass_(HOUR - 1)
    assert clocks.pass_(2)
    assert clocks.pass_(MINUTE)


@pytest.mark.parametrize("away", [0.0, MINUTE, DAY - HOUR, -MINUTE, -YEAR])
def test_a_start_within_a_day_of_the_last_known_time_is_believed(away: float) -> None:
    """Also one before it: a clock that is behind removes too little, which can be done later."""
    clocks = Clocks(away)
    assert not clocks.guard.waits
    assert clocks.pass_(MINUTE)
    # From then on as ever.
    assert not clocks.pass_(MINUTE, 61.0)


@pytest.mark.parametrize("away", [DAY + 1, YEAR])
def test_a_start_far_ahead_waits_for_an_hour(away: float) -> None:
    clocks = Clocks(away)
    assert clocks.guard.waits
    assert not clocks.pass_(HOUR - 1)
    assert clocks.pass_(2)
    assert clocks.pass_(MINUTE)


def test_a_clock_that_is_set_right_after_the_start_is_believed_at_once() -> None:
    clocks = Clocks(YEAR)
    assert not clocks.pass_(MINUTE)
    assert clocks.pass_(MINUTE, HOUR - YEAR)
    clocks = Clocks(YEAR)
    # Set to something else: the hour begins anew.
    assert not clocks.pass_(HOUR / 2, -YEAR / 2)
    assert not clocks.pass_(HOUR - 1)
    assert clocks.pass_(2)


class Rounds:
    """Of the running service, whose clocks stand still; the wall clock is ``ahead_s`` ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.notes = 0
        self.ahead_s = 0.0
        began_ns = time.time_ns()
        monkeypatch.setattr("time.time", lambda: began_ns / 1e9 + self.ahead_s)
        monkeypatch.setattr("time.time_ns", lambda: began_ns + int(self.ahead_s * 1e9))
        monkeypatch.setattr("pushd.log.retention.steady_clock", lambda: 1_000.0)
        go, note = RetentionService._go_round, Ledger.note_clock

        def counted(service: RetentionService, now: float | None) -> Any:
            self.count += 1
            return go(service, now)

        def noted(ledger: Ledger, wall_ms: int) -> None:
            self.notes += 1
            note(ledger, wall_ms)

        monkeypatch.setattr(RetentionService, "_go_round", counted)
        monkeypatch.setattr(Ledger, "note_clock", noted)

    async def some(self, log: Log) -> None:
        until = self.count + 5
        while self.count < until:
            await idle(log)


@asynccontextmanager
async def kept_a_day(directory: Path) -> AsyncIterator[Log]:
    """'old' is bounded by age, everything else by number."""
    async with opened(directory, replace(OPTIONS, retention_interval_s=0.01)) as log:
        log.retention = lambda channel: (
            Retention(DAY, None, None) if channel == "old" else Retention(None, 2, None)
        )
        yield log


@pytest.mark.parametrize("noted", [True, False])
async def test_a_clock_that_is_ahead_at_the_start_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[Any], noted: bool
) -> None:
    """Neither where retention has noted the time, nor where there are only messages."""
    rounds = Rounds(monkeypatch)
    async with opened(tmp_path) as log:
        await append(log, *(entry("old") for _ in range(3)), *(entry("many") for _ in range(3)))
    assert rounds.notes == 1
    # Messages of a clock that was ahead are no proof of the time, but where nothing else is.
    forget = "DELETE FROM meta WHERE key = 'believed_at'"
    mislead = "UPDATE channels SET last_at = last_at * 2"
    change(tmp_path / DATABASE, mislead if noted else forget)
    assert not [line for line in logged if line["log_level"] == "warning"]
    rounds.ahead_s = YEAR
    for _ in range(2):
        async with kept_a_day(tmp_path) as log:
            await rounds.some(log)
            assert log.statistics().age_waits
            assert (log.heads["old"].first, log.heads["many"].first) == (1, 2)
    assert rounds.notes == (1 if noted else 2)
    warnings = [line["event"] for line in logged if line["log_level"] == "warning"]
    assert len(warnings) == 2, "one for each start"
    assert all("far ahead of the last known time" in warning for warning in warnings)
    # It was right: after an hour age counts, and the next start knows.
    monkeypatch.setattr(ClockGuard, "SETTLE_S", 0.0)
    async with kept_a_day(tmp_path) as log:
        while log.heads["old"].first < 4:
            await idle(log)
        await rounds.some(log)
        assert not log.statistics().age_waits
    assert rounds.notes == (2 if noted else 3), "seldom, not every round"
    monkeypatch.undo()
    with closing(connect_reader(tmp_path)) as connection:
        believed = load(connection, None)
    assert believed is not None
    assert believed.ids_ms is not None
    assert abs(believed.wall_ms / 1000 - time.time() - YEAR) < HOUR


async def test_the_time_is_noted_again_after_a_while_and_when_it_went_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = Rounds(monkeypatch)
    noted = []
    for ahead in (0.0, 9 * MINUTE, 11 * MINUTE, -HOUR):
        rounds.ahead_s = ahead
        async with kept_a_day(tmp_path) as log:
            await rounds.some(log)
        noted.append(rounds.notes)
    assert noted == [1, 1, 2, 3]


async def test_a_clock_that_jumps_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the running service: a year ahead, for a while; number and bytes go on meanwhile."""
    rounds = 0
    jump = {"s": 0.0}
    real: Callable[[], float] = time.time
    monkeypatch.setattr("time.time", lambda: real() + jump["s"])

    def count(service: RetentionService, now: float | None) -> Any:
        nonlocal rounds
        rounds += 1
        return go(service, now)

    go = RetentionService._go_round
    monkeypatch.setattr(RetentionService, "_go_round", count)
    log = Log(tmp_path, replace(OPTIONS, retention_interval_s=0.01))
    log.retention = lambda channel: (
        Retention(86_400.0, None, None) if channel == "old" else Retention(None, 2, None)
    )

    async def some_rounds() -> None:
        until = rounds + 5
        while rounds < until:
            await read(log, "old")

    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        await append(log, *(entry("old") for _ in range(3)), *(entry("many") for _ in range(3)))
        await some_rounds()
        jump["s"] = YEAR
        await append(log, entry("many"))
        await some_rounds()
        assert (log.heads["old"].first, log.heads["many"].first) == (1, 3)
        jump["s"] = 0.0
        await some_rounds()
        assert len(await read(log, "old")) == 3
        # And when it is to be believed, age counts.
        monkeypatch.setattr(ClockGuard, "look", lambda _: real() + 2 * 86_400.0)
        while log.heads["old"].first < 4:
            await trio.lowlevel.checkpoint()
        log.close()
