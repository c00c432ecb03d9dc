"""The writer at its limits: space, age, cancellation, a disk that fails, a thread that hangs."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pushd.core.positions import Cursor
from pushd.errors import Overloaded, StorageFull
from pushd.log import Append, checkpoint
from pushd.log.store import DATABASE
from tests.log.support import OPTIONS, append, entry, opened, read


async def test_little_free_space_refuses_appends_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, Any]]
) -> None:
    space = {"low": False}
    monkeypatch.setattr("pushd.log.space.FreeSpace.is_low", lambda _: space["low"])
    async with opened(tmp_path) as log:
        await append(log, entry("news"))
        space["low"] = True
        for _ in range(2):
            with pytest.raises(StorageFull):
                await append(log, entry("news"))
        log.record_read("alice", "news", Cursor(log.heads["news"].epoch, 1))
        assert len(await read(log, "news")) == 1
        space["low"] = False
        assert [one["log_level"] for one in logged] == ["warning"]
        assert (await append(log, entry("news")))[0].seq == 2
        assert [one["log_level"] for one in logged] == ["warning", "info"]
        assert log.statistics().refused_full == 2
        assert log.statistics().backlog_bytes == 0


async def test_free_space_is_measured(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(OPTIONS, min_free_bytes=1 << 60)) as log:
        with pytest.raises(StorageFull):
            await append(log, entry("news"))
        assert log.heads == {}


@pytest.mark.parametrize("limits", [{"batch_messages": 10}, {"batch_bytes": 1000}])
async def test_a_batch_has_an_end(tmp_path: Path, limits: dict[str, int]) -> None:
    """Ten messages of a hundred bytes each, however many wait."""
    async with opened(tmp_path, replace(OPTIONS, **limits)) as log:
        one = [entry("news", "x" * 36) for _ in range(2)]
        log.submit_many([Append(one, "p", lambda _: None) for _ in range(100)])
        await append(log, entry("done"))
        sizes = log.statistics().batch_messages
        most = max(bound for bound, n in zip(sizes.bounds, sizes.counts, strict=False) if n)
        assert sizes.total == 201
        assert most <= 16


async def test_a_foreign_writer_delays_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.log.store.BUSY_MS", 1)
    async with opened(tmp_path) as log:
        await append(log, entry("news"))
        shell = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(Overloaded):
            await append(log, entry("news"), entry("new"))
        shell.execute("ROLLBACK")
        shell.close()
        assert [one.seq for one in await append(log, entry("news"), entry("new"))] == [2, 1]


async def test_the_wal_is_checkpointed_and_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "PAGES", 50)
    async with opened(tmp_path) as log:
        for number in range(200):
            await append(log, entry(f"c{number % 7}", "x" * 5000))
        statistics = log.statistics()
        assert statistics.checkpoints >= 5
        assert statistics.wal_bytes < 200 * 5000 / 2


async def test_a_reader_that_never_ends_does_not_stop_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that takes long: the WAL grows meanwhile, and starts over when it is done."""
    monkeypatch.setattr(checkpoint, "PAGES", 10)
    monkeypatch.setattr(checkpoint, "RESTART_PAGES", 40)
    monkeypatch.setattr(checkpoint, "RESTART_WAIT_MS", 1)
    monkeypatch.setattr("pushd.log.startup.WAL_LIMIT", 100_000)
    async with opened(tmp_path) as log:
        await append(log, entry("news"))
        backup = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM messages").fetchone()
        for _ in range(100):
            await append(log, entry("news", "x" * 3000))
        grown = log.statistics().wal_bytes
        assert grown > 100 * 4096
        backup.close()
        for _ in range(30):
            await append(log, entry("news", "x" * 3000))
        assert log.statistics().wal_bytes <= 200_000 < grown
