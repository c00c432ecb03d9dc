"""A clock that jumps removes nothing; one that stays where it went to is believed in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.namespaces import Retention
from pushd.log import Log
from pushd.log.retention import ClockGuard, RetentionService
from tests.log.support import (
    OPTIONS,
    append,
    entry,
    read,
)

MINUTE, HOUR, YEAR = 60.0, 3_600.0, 365 * 86_400.0


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady = 1e9, 500.0
        self.guard = ClockGuard(lambda: self.wall, lambda: self.steady)

    def pass_(self, seconds: float, jump: float = 0.0) -> bool:
        self.wall += seconds + jump
        self.steady += seconds
        now = self.guard.look()
        assert now in (None, self.wall)
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
