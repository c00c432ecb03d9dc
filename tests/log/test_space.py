"""Free space is kept for what must still be written: marks, trims, and the WAL's way home."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pushd.errors import CannotStart, NotALog
from pushd.log import checkpoint
from pushd.log.space import FreeSpace
from pushd.log.tools import source
from tests.log.support import OPTIONS, append, entry, open_and_close, opened, trim

FREE = 1 << 20


class Disk:
    """As ``os.statvfs`` tells it."""

    f_frsize = 1
    f_bavail = FREE


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr("pushd.log.space._EVERY_S", 0.0)
    found = Disk()
    monkeypatch.setattr("os.statvfs", lambda _: found)
    return found


@pytest.mark.parametrize(
    ("pending", "after", "low"),
    [(0, 0, False), (1, 0, False), (1, 1, True), (1 << 30, 1 << 29, True)],
)
def test_what_the_wal_holds_is_not_free(
    disk: Disk, tmp_path: Path, pending: int, after: int, low: bool
) -> None:
    """Unless it can be brought into the database at once."""
    left = [pending]
    space = FreeSpace(
        tmp_path, FREE, pending=lambda: left[0], settle=lambda: left.__setitem__(0, after)
    )
    assert space.is_low() is low


async def test_trims_on_a_disk_that_is_nearly_full_do_not_let_the_wal_grow(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what frees it; a WAL that has filled it could not even be checkpointed."""
    monkeypatch.setattr(checkpoint, "HURRY_PAGES", 1)
    disk.f_bavail = 8 * FREE
    async with opened(tmp_path, replace(OPTIONS, min_free_bytes=FREE)) as log:
        for _ in range(20):
            await append(log, entry("news", "x" * 60_000))
        disk.f_bavail = FREE // 8
        before = log.statistics().checkpoints
        for seq in range(1, 7):
            await trim(log, "news", seq + 1)
        # Each is answered before its own checkpoint, and after that of the one before it.
        assert log.statistics().checkpoints >= before + 5


async def test_a_start_with_little_space_says_so(
    tmp_path: Path, disk: Disk, logged: list[dict[str, Any]]
) -> None:
    disk.f_bavail = 0
    async with opened(tmp_path, replace(OPTIONS, min_free_bytes=FREE)):
        pass
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == [
        "little disk space is free: appends are refused"
    ]


def test_a_disk_that_is_full_is_not_taken_for_one_that_is_broken(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite calls it an I/O error when there is no room for the -shm file."""
    open_and_close(tmp_path)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("pushd.log.startup.connect_reader", refuse)
    monkeypatch.setattr("pushd.log.tools.source.look", refuse)
    for free, words in ((0, "full"), (FREE, "disk I/O error")):
        disk.f_bavail = free
        with pytest.raises(CannotStart, match=words):
            open_and_close(tmp_path)
        with pytest.raises(NotALog, match=words), source.opened(tmp_path):
            pass


async def test_what_is_in_the_file_and_on_the_disk_is_told(tmp_path: Path, disk: Disk) -> None:
    async with opened(tmp_path) as log:
        found = log.statistics()
        assert found.free_bytes == FREE
        assert found.database_bytes == (tmp_path / "pushd.db").stat().st_size
