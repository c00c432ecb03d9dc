"""Marks on their way to the disk: nothing on the way loses one."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.positions import Cursor
from pushd.errors import StorageFull
from pushd.log.crossing import Signal
from pushd.log.reader import LoadMarks
from pushd.log.store import Rows, Store
from tests.log.support import OPTIONS, append, entry, marks, opened, read


async def test_a_full_database_keeps_marks_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own limit of pages: the error comes in the middle of the transaction."""
    tries = []
    limits: list[str] = []
    real = Store.write

    def write(store: Store, rows: Rows) -> int:
        # Only here, in the writer's thread: its connection tells errors of one call to another.
        for limit in limits:
            store.connection.execute(f"PRAGMA max_page_count = {limit}")
        limits.clear()
        tries.extend(rows.marks)
        return real(store, rows)

    monkeypatch.setattr(Store, "write", write)
    async with opened(tmp_path, replace(OPTIONS, write_behind_s=0.01)) as log:
        await append(log, entry("news", "x" * 50_000))
        limits.append("1")  # SQLite takes the present size for it
        for _ in range(2):
            with pytest.raises(StorageFull):
                await append(log, entry("news", "x" * 50_000), entry("new"))
        log.record_read("x" * 20_000, "news", Cursor(log.heads["news"].epoch, 1))
        while len(tries) < 3:
            await read(log, "news")
        assert log.statistics().dirty_marks == 1
        assert "new" not in log.heads
        limits.append("1000000")
        # Without any publish.
        while log.statistics().dirty_marks:
            await read(log, "news")
        stored = await append(log, entry("news"), entry("new"))
        assert [one.seq for one in stored] == [2, 1]


async def test_marks_recorded_during_a_commit_are_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, replace(OPTIONS, write_behind_s=0.01)) as log:
        await append(log, entry("news"))
        cursor = Cursor(log.heads["news"].epoch, 1)
        real = Store.write
        users = iter(["during the first slice", "during the second"])

        def write(store: Store, rows: Rows) -> int:
            for user in itertools.islice(users, 1):
                log.record_read(user, "news", cursor)
            return real(store, rows)

        monkeypatch.setattr(Store, "write", write)
        monkeypatch.setattr("pushd.log.marks.SLICE", 1)
        log.record_read("first", "news", cursor)
        log.record_read("second", "news", cursor)
        while log.statistics().marks < 4:
            await read(log, "news")


async def test_marks_that_become_due_during_a_commit_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, replace(OPTIONS, write_behind_s=0.01)) as log:
        await append(log, entry("news"))
        assert log._engine is not None
        writer = log._engine.writer
        real = Store.write

        def write(store: Store, rows: Rows) -> int:
            due = writer._marks_due or 0.0
            while time.monotonic() <= due:
                pass
            return real(store, rows)

        monkeypatch.setattr(Store, "write", write)
        log.record_read("alice", "news", Cursor(log.heads["news"].epoch, 1))
        await append(log, entry("news"))
        while log.statistics().dirty_marks:
            await read(log, "news")


async def test_all_marks_are_written_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In slices, those included that came while the first of them were being written."""
    monkeypatch.setattr("pushd.log.marks.SLICE", 10)
    async with opened(tmp_path, replace(OPTIONS, write_behind_s=0.0)) as log:
        await append(log, entry("news"))
        cursor = Cursor(log.heads["news"].epoch, 1)
        for number in range(95):
            log.record_read(f"user-{number}", "news", cursor)
        await append(log, entry("news"))
        for number in range(90, 200):
            log.record_read(f"user-{number}", "news", cursor)
        log.close()
        log.record_read("late", "news", cursor)
    async with opened(tmp_path) as log:
        for number in range(200):
            assert (await marks(log, f"user-{number}", None, "news"))["news"].read == cursor
        assert (await marks(log, "late", None, "news"))["news"].read is None


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_marks_are_seen_wherever_they_are_during_a_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Recorded before and written while the reader is past it; or recorded only then."""
    has_read, may_answer = threading.Event(), threading.Event()
    real = LoadMarks.run

    def slow(job: LoadMarks, connection: sqlite3.Connection) -> Any:
        found = real(job, connection)
        has_read.set()
        may_answer.wait()
        return found

    monkeypatch.setattr(LoadMarks, "run", slow)
    async with opened(tmp_path, replace(OPTIONS, write_behind_s=3600.0)) as log:
        await append(log, entry("news"))
        cursor = Cursor(log.heads["news"].epoch, 1)
        if moment == "before":
            log.record_read("alice", "news", cursor)
        found: list[Any] = []
        log.load_marks("alice", None, ["news"], found.append)
        await trio.to_thread.run_sync(has_read.wait)
        if moment == "after":
            log.record_read("alice", "news", cursor)
        else:
            log._put(Signal.FLUSH)
            while log.statistics().dirty_marks:
                await append(log, entry("other"))
        may_answer.set()
        while not found:
            await append(log, entry("other"))
        assert found[0]["news"].read == cursor
