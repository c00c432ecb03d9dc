"""What is refused at the start, and that a refusal changes nothing and locks nothing."""

from __future__ import annotations

import fcntl
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pushd.errors import CannotStart
from pushd.log import Log, startup
from pushd.log.lock import LOCK
from pushd.log.startup import open_log
from pushd.log.store import DATABASE
from tests.log.support import OPTIONS, append, entry, idle, open_and_close, opened, read, shut


def sql(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def refused(directory: Path, words: str) -> None:
    with pytest.raises(CannotStart, match=words):
        open_log(directory, OPTIONS)
    # Nothing stays locked.
    with (directory / LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_directory_and_files_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "data"
    log = open_log(directory, OPTIONS)
    log.store.connection.execute("INSERT INTO meta VALUES ('x', 'y')")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    shut(log)
    assert modes == dict.fromkeys([DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK], 0o600)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_durability_is_what_sqlite_answers(tmp_path: Path) -> None:
    log = open_log(tmp_path, OPTIONS)
    execute = log.store.connection.execute
    assert execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert execute("PRAGMA synchronous").fetchone() == (2,)
    assert execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        log.reader.execute("DELETE FROM messages")
    shut(log)


def not_a_database(directory: Path) -> None:
    (directory / DATABASE).write_bytes(b"this is a text file, not a database\n" * 500)


def another_programs(directory: Path) -> None:
    (directory / DATABASE).unlink()
    sql(directory, "CREATE TABLE recipes (name TEXT)")


def damaged_schema(directory: Path) -> None:
    path = directory / DATABASE
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xa5" * 3996
    path.write_bytes(content)


def damaged_channels(directory: Path) -> None:
    damage(directory, "channels")


def damage(directory: Path, table: str) -> None:
    path = directory / DATABASE
    with closing(sqlite3.connect(path)) as connection:
        [(page,)] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchall()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    path.write_bytes(content)


def from_a_newer_version(directory: Path) -> None:
    sql(
        directory,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('pushd', '9999_future', '')",
    )


def in_a_newer_format(directory: Path) -> None:
    sql(directory, "UPDATE meta SET value = '3' WHERE key = 'format'")


def in_the_format_of_a_preview(directory: Path) -> None:
    sql(directory, "UPDATE meta SET value = '1' WHERE key = 'format'")


def without_a_table(directory: Path) -> None:
    sql(directory, "DROP TABLE channels")


def a_directory(directory: Path) -> None:
    (directory / DATABASE).unlink()
    (directory / DATABASE).mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (not_a_database, "not a database of pushd"),
        (another_programs, "another program"),
        (damaged_schema, "is damaged"),
        (damaged_channels, "is damaged"),
        (from_a_newer_version, "newer pushd .*9999_future"),
        (in_a_newer_format, "newer pushd .*format 3"),
        (in_the_format_of_a_preview, "made by a preview .*start with an empty directory"),
        (without_a_table, "no such table: channels"),
        (a_directory, "cannot be opened"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_refused_with_the_reason_and_left_as_it_was(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    open_and_close(tmp_path)
    spoil(tmp_path)
    path = tmp_path / DATABASE
    before = path.read_bytes() if path.is_file() else b""
    refused(tmp_path, words)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_file_system_without_shared_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks by files stand for a network file system: SQLite then answers another mode."""

    def connect(directory: Path) -> sqlite3.Connection:
        uri = f"{(directory / DATABASE).as_uri()}?vfs=unix-dotfile"
        return sqlite3.connect(uri, uri=True, isolation_level=None)

    monkeypatch.setattr(startup, "connect_writer", connect)
    refused(tmp_path, "journal mode delete, not WAL")


def test_a_reader_that_keeps_the_wal_from_being_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_and_close(tmp_path)
    monkeypatch.setattr("pushd.log.store.BUSY_MS", 1)
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        sql(tmp_path, "INSERT INTO meta VALUES ('x', 'y')")
        refused(tmp_path, "Another program reads")
        reader.execute("COMMIT")
        reader.execute("BEGIN EXCLUSIVE")
        refused(tmp_path, "Another program")
    open_and_close(tmp_path)


READ_ONLY = """
import os, sys
from pathlib import Path
from pushd.errors import CannotStart
from pushd.log import LogOptions
from pushd.log.startup import open_log
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    open_log(Path(sys.argv[1]), LogOptions())
except CannotStart as refusal:
    print(refusal.detail)
"""


@pytest.mark.parametrize(
    ("modes", "words"),
    [
        ({".": 0o555, DATABASE: 0o444, LOCK: 0o666}, "read-only"),
        ({".": 0o777, DATABASE: 0o444, LOCK: 0o666}, "read-only"),
        ({".": 0o777, DATABASE: 0o000, LOCK: 0o666}, "owner and mode"),
        ({".": 0o555, DATABASE: 0o666, LOCK: 0o666}, "owner|read-only"),
        ({".": 0o555, DATABASE: 0o444, LOCK: 0o444}, "lock file .*Permission denied"),
    ],
)
def test_what_cannot_be_written_is_refused(modes: dict[str, int], words: str) -> None:
    """In another process, without the rights of root."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "data"
        Path(name).chmod(0o755)
        open_and_close(directory)
        for file, mode in modes.items():
            (directory / file).chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, directory], capture_output=True, text=True, check=True
        )
        directory.chmod(0o755)
    assert re.search(words, done.stdout), done


@pytest.mark.parametrize("table", ["idempotency", "garbage"])
async def test_damage_that_only_the_writer_sees_is_told_as_well(tmp_path: Path, table: str) -> None:
    open_and_close(tmp_path)
    damage(tmp_path, table)
    for _ in range(2):  # the lock is free again
        with pytest.raises(CannotStart, match="is damaged"):
            await Log(tmp_path, OPTIONS).run()


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotStart, match="cannot be made"):
        open_log(tmp_path / "file" / "data", OPTIONS)
    with pytest.raises(CannotStart, match="is a file: name a directory"):
        open_log(tmp_path / "file", OPTIONS)


async def test_a_start_completes_the_wal_and_needs_no_shm(tmp_path: Path) -> None:
    """What a killed process leaves: a full -wal, no -shm, and a lock file that tells stories."""
    async with opened(tmp_path / "one") as log:
        await append(log, *(entry("news", number) for number in range(50)))
        await idle(log)  # the time is noted: the other start need not do so, into its -wal
        (tmp_path / "two").mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / "one" / f"{DATABASE}{suffix}", tmp_path / "two")
    (tmp_path / "two" / LOCK).write_text('{"pid": 1, "host": "old", "since": "long ago"}')
    async with opened(tmp_path / "two") as log:
        assert (tmp_path / "two" / f"{DATABASE}-wal").stat().st_size == 0
        assert [one["data"] for one in await read(log, "news")] == list(range(50))


async def test_a_directory_may_have_any_name(tmp_path: Path) -> None:
    directory = tmp_path / "a b%20?mode=rwc#ä&'\""
    async with opened(directory) as log:
        await append(log, entry("news", 1))
        assert [one["data"] for one in await read(log, "news")] == [1]
    assert sorted(path.name for path in directory.iterdir()) == [DATABASE, LOCK]
