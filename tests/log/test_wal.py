"""A damaged write-ahead log is refused; one that a crash has cut short is not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pushd.errors import CannotStart
from pushd.log.lock import LOCK
from pushd.log.startup import open_log
from pushd.log.store import DATABASE, Store, connect_writer
from pushd.log.tools.backup import backup
from pushd.log.tools.compact import compact
from pushd.log.tools.restore import adopt, restore
from pushd.log.tools.verify import verify
from pushd.log.walcheck import look
from tests.log.support import OPTIONS, open_and_close, opened, shut
from tests.log.vaults import nothing, rows

PAGE = 4096
FRAME = 24 + PAGE
COMMITS = 5
WAL = f"{DATABASE}-wal"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a process that was killed after COMMITS commits, each of one page."""
    alive: Path = tmp_path_factory.mktemp("alive")
    left: Path = tmp_path_factory.mktemp("killed")
    log = open_log(alive, OPTIONS)
    log.store.checkpoint("TRUNCATE")
    for number in range(COMMITS):
        log.store.connection.execute("INSERT INTO meta VALUES (?, '')", (f"commit {number}",))
    for name in (DATABASE, WAL):
        shutil.copy(alive / name, left)
    shut(log)
    assert (left / WAL).stat().st_size == 32 + COMMITS * FRAME
    return left


def flip(at: int) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 0x40
        path.write_bytes(content)

    return spoil


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def keep(path: Path) -> None:
    pass


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


# How it is spoilt, and how many commits are left; None: refused.
CASES: dict[str, tuple[Callable[[Path], None], int | None]] = {
    "whole": (keep, 5),
    "never synced": (zeros, 0),
    "empty": (cut(0), 0),
    "half a header": (cut(20), 0),
    "the last commit torn": (cut(32 + 5 * FRAME - 1), 4),
    "the last commit torn in its header": (cut(32 + 4 * FRAME + 7), 4),
    "cut at a commit": (cut(32 + 3 * FRAME), 3),
    "the last commit spoilt, as by a torn write": (flip(32 + 4 * FRAME + 1000), 4),
    "the page of an earlier commit spoilt": (flip(32 + FRAME + 1000), None),
    "the last but one spoilt, which was acked": (flip(32 + 3 * FRAME + 1000), None),
    "the first page spoilt": (flip(32 + 24), None),
    "the checksum of a frame spoilt": (flip(32 + FRAME + 20), None),
    "the salt of a frame spoilt": (flip(32 + FRAME + 9), None),
    "the magic number spoilt": (flip(0), None),
    "the salt of the header spoilt": (flip(17), None),
    "the checksum of the header spoilt": (flip(30), None),
}


@pytest.mark.parametrize("case", CASES)
def test_acked_commits_are_never_dropped_in_silence(
    killed: Path, tmp_path: Path, case: str
) -> None:
    spoil, expected = CASES[case]
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path / WAL)
    if expected is None:
        before = (tmp_path / WAL).read_bytes()
        for _ in range(2):
            with pytest.raises(CannotStart, match=r"is damaged.*move .* away"):
                open_log(tmp_path, OPTIONS)
            assert (tmp_path / WAL).read_bytes() == before
        # The cure that the refusal names.
        (tmp_path / WAL).unlink()
    log = open_log(tmp_path, OPTIONS)
    rows = log.store.connection.execute("SELECT count(*) FROM meta WHERE key GLOB 'commit *'")
    (left,) = rows.fetchone()
    shut(log)
    assert left < COMMITS if expected is None else left == expected


def test_a_log_that_has_started_over_is_not_damaged(tmp_path: Path) -> None:
    """After a checkpoint the file begins anew over frames of the generation before."""
    with closing(connect_writer(tmp_path)) as connection:
        for pragma in ("journal_mode = WAL", "wal_autocheckpoint = 0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE t (x)")
        for _ in range(20):
            connection.execute("INSERT INTO t VALUES (1)")
        Store(connection).checkpoint()
        connection.execute("INSERT INTO t VALUES (2)")
        shape = look(tmp_path / WAL)
        assert shape.readable
        assert shape.commits == (1,)
        assert (tmp_path / WAL).stat().st_size > 32 + 20 * FRAME


# A server that is killed after a commit.
KILLED = """
import os, signal, sys
from pathlib import Path
from pushd.log import LogOptions
from pushd.log.startup import open_log
log = open_log(Path(sys.argv[1]), LogOptions(min_free_bytes=0))
log.store.connection.execute(sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_after(sql: str, directory: Path) -> None:
    command = [sys.executable, "-c", KILLED, directory, sql]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (directory / WAL).stat().st_size


ADDED = "INSERT INTO meta VALUES ('added', '')"


def refuse_twice(directory: Path) -> None:
    for _ in range(2):
        with pytest.raises(CannotStart, match=r"-wal is gone: process \d+ .* was killed"):
            open_log(directory, OPTIONS)


@pytest.mark.parametrize("then", ["put back", "adopted", "accepted", "restored"])
def test_a_log_whose_server_was_killed_and_whose_wal_is_gone_is_refused(
    tmp_path: Path, then: str
) -> None:
    """Its newest commits would be gone in silence, and their numbers be given again."""
    data = tmp_path / "data"
    open_and_close(data)
    backup(data, tmp_path / "b.db", nothing)
    kill_after(ADDED, data)
    (data / WAL).rename(tmp_path / "away")
    refuse_twice(data)
    assert "-wal is gone" in str(verify(data, nothing).problems)
    with pytest.raises(CannotStart, match="-wal is gone"):
        compact(data, nothing)
    match then:
        case "put back":
            (tmp_path / "away").rename(data / WAL)
        case "adopted":
            adopt(data)
        case "accepted":
            (data / LOCK).unlink()
        case "restored":
            restore(tmp_path / "b.db", data, lambda _: True, nothing)
    for _ in range(2):
        open_and_close(data)
        assert verify(data, nothing).problems == []
    found = rows(data / DATABASE, "SELECT count(*) FROM meta WHERE key = 'added'")
    assert found == [(then == "put back",)]


def test_it_is_remembered_over_a_start_that_is_refused_for_another_reason(tmp_path: Path) -> None:
    kill_after(ADDED, tmp_path)
    whole = (tmp_path / WAL).read_bytes()
    flip(0)(tmp_path / WAL)
    with pytest.raises(CannotStart, match="is damaged"):
        open_log(tmp_path, OPTIONS)
    (tmp_path / WAL).unlink()
    refuse_twice(tmp_path)
    (tmp_path / WAL).write_bytes(whole)
    open_and_close(tmp_path)


def test_a_refused_start_that_has_emptied_the_wal_is_no_reason_for_another(tmp_path: Path) -> None:
    kill_after("UPDATE meta SET value = '3' WHERE key = 'format'", tmp_path)
    for _ in range(2):
        with pytest.raises(CannotStart, match="by a newer pushd"):
            open_log(tmp_path, OPTIONS)
    assert not (tmp_path / WAL).exists()


def test_a_directory_that_is_begun_anew_lacks_no_wal(tmp_path: Path) -> None:
    kill_after(ADDED, tmp_path)
    for path in tmp_path.iterdir():
        if path.name != LOCK:
            path.unlink()
    open_and_close(tmp_path)


async def test_killed_at_its_very_end_a_server_lacks_no_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is noted before the file goes."""
    seen = []

    def close(store: Store) -> None:
        seen.append((tmp_path / LOCK).read_bytes())
        really_close(store)

    really_close = Store.close
    monkeypatch.setattr(Store, "close", close)
    async with opened(tmp_path):
        assert (tmp_path / LOCK).read_bytes()
    assert seen == [b""]
