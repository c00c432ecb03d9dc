"""Messages that nobody can read any more leave the disk, whatever happens meanwhile."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pushd.errors import StorageFull
from pushd.log import Log, sweeper
from pushd.log.ledger import Garbage, Ledger
from tests.log.invariants import check, check_heads
from tests.log.support import (
    OPTIONS,
    append,
    delete,
    entry,
    idle,
    on_disk,
    opened,
    read,
    swept,
    trim,
)


async def go_on(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has swept a slice, and then waits for very long, sweeps without pauses."""
    await idle(log)  # that slice is over
    monkeypatch.setattr(sweeper, "PAUSE_S", 0.0)
    log._started_engine.writer._sweeper.due = 0.0


async def test_a_huge_channel_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []
    some = sweeper.Sweeper._sweep_some

    def noted(self: Any, garbage: Garbage) -> bool:
        turns.append(garbage.channel)
        return some(self, garbage)

    monkeypatch.setattr(sweeper.Sweeper, "_sweep_some", noted)
    monkeypatch.setattr(sweeper, "CHUNK", 2)
    monkeypatch.setattr(sweeper, "BUDGET_S", 0.0)
    monkeypatch.setattr(sweeper, "PAUSE_S", 3600.0)
    async with opened(tmp_path) as log:
        await append(log, *(entry("huge") for _ in range(400)), *(entry("small") for _ in range(3)))
        await delete(log, "huge")
        await trim(log, "small", 3)
        await go_on(log, monkeypatch)
        await swept(log)
        assert turns[:5] == ["huge", "huge", "small", "huge", "small"]
        assert set(turns[5:]) == {"huge"}
        statistics = log.statistics()
        assert (statistics.swept_messages, statistics.cut_messages) == (402, 402)
        assert statistics.deleted_channels == 1
        assert on_disk(tmp_path) == [("small", 3)]


async def test_sweeping_goes_on_after_a_restart_and_beside_appends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "CHUNK", 3)
    monkeypatch.setattr(sweeper, "BUDGET_S", 0.0)
    monkeypatch.setattr(sweeper, "PAUSE_S", 3600.0)
    async with opened(tmp_path) as log:
        await append(
            log, *(entry("news", n) for n in range(50)), *(entry("old") for _ in range(50))
        )
        # Cut again, and deleted, while what was cut first still waits.
        await trim(log, "old", 10)
        await trim(log, "news", 10)
        await trim(log, "news", 30)
        await delete(log, "old")
        assert log.statistics().garbage == 2
    check(tmp_path)
    assert len(on_disk(tmp_path)) > 21
    monkeypatch.setattr(sweeper, "PAUSE_S", 0.0)
    async with opened(tmp_path) as log:
        assert [one["data"] for one in await read(log, "news", after=29)] == list(range(29, 50))
        while log.statistics().garbage:
            await append(log, entry("news", "more"))
            check(tmp_path)
        assert on_disk(tmp_path, "news")[0] == 30
        assert {name for name, _ in on_disk(tmp_path)} == {"news"}


async def test_a_life_that_begins_while_the_one_before_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is swept is taken from the bytes of its own life, on the disk and in memory."""
    monkeypatch.setattr(sweeper, "CHUNK", 2)
    monkeypatch.setattr(sweeper, "BUDGET_S", 0.0)
    monkeypatch.setattr(sweeper, "PAUSE_S", 3600.0)
    async with opened(tmp_path) as log:
        await append(log, *(entry("news", number) for number in range(60)))
        await delete(log, "news")
        await append(log, entry("news", "new"))
        assert log.statistics().garbage == 1, "the old life is still there"
        await go_on(log, monkeypatch)
        await swept(log)
        check_heads(log)
        assert on_disk(tmp_path) == [("news", 1)]
    check(tmp_path)


async def test_a_full_database_refuses_changes_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says 'full' in the middle of a change, and of a slice of sweeping."""
    broken = Counter({"change": 0, "sweep": 0})
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    monkeypatch.setattr(sweeper, "RETRY_S", 0.01)
    sweep = sweeper.Sweeper._sweep

    def sweep_then_fail(self: Any, ends: float) -> Any:
        done = sweep(self, ends)
        if broken["sweep"]:
            broken["sweep"] -= 1
            raise full
        return done

    monkeypatch.setattr(sweeper.Sweeper, "_sweep", sweep_then_fail)
    cut = Ledger.cut

    def cut_then_fail(self: Ledger, channel: Any, first: int) -> None:
        cut(self, channel, first)
        if broken["change"]:
            broken["change"] -= 1
            raise full

    monkeypatch.setattr(Ledger, "cut", cut_then_fail)
    async with opened(tmp_path) as log:
        await append(log, *(entry("news", n) for n in range(9)))
        broken["change"] = 1
        with pytest.raises(StorageFull):
            await trim(log, "news", 5)
        assert log.heads["news"].first == 1
        assert len(await read(log, "news")) == 9
        check(tmp_path)
        broken["sweep"] = 3
        await trim(log, "news", 5)
        await append(log, entry("news", 9))
        await swept(log)
        assert on_disk(tmp_path, "news") == [5, 6, 7, 8, 9, 10]
        assert log.heads["news"].bytes == 6 * (64 + 1)
        check(tmp_path)


async def test_space_that_was_swept_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is nearly full, what retention has freed within the file counts as free."""
    free = {"bytes": 1 << 30}

    class State:
        f_frsize = 1

        @property
        def f_bavail(self) -> int:
            return free["bytes"]

    monkeypatch.setattr("pushd.log.space._EVERY_S", 0.0)
    async with opened(tmp_path, replace(OPTIONS, min_free_bytes=1 << 20)) as log:
        monkeypatch.setattr("os.statvfs", lambda _: State())
        await append(log, *(entry("news", "x" * 60_000) for _ in range(16)))
        free["bytes"] = 1 << 19
        with pytest.raises(StorageFull):
            await append(log, entry("news"))
        await trim(log, "news", 17)
        await swept(log)
        await append(log, entry("news", "x" * 60_000))
        # The write-ahead log needs some of the disk itself.
        free["bytes"] = 1 << 17
        with pytest.raises(StorageFull):
            await append(log, entry("news"))
