"""Compacting: a smaller file with the same in it; the old log or the new at any kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from pushd.errors import CannotStart, CompactFailed, NotALog
from pushd.log import sweeper
from pushd.log.checkpoint import Checkpointer
from pushd.log.lock import LockFile
from pushd.log.store import DATABASE, connect_reader
from pushd.log.tools import compact as compacting
from pushd.log.tools.compact import compact
from pushd.log.tools.verify import verify
from tests.chaos.faultdisk import FaultDisk
from tests.log.killing import killer
from tests.log.support import append, entry, on_disk, open_and_close, opened, read, trim
from tests.log.vaults import change, fill_log, fingerprint, nothing, rows

ROOT = Path(__file__).parents[2]
TABLES = (
    "channels",
    "idempotency",
    "cursors",
    "devices",
    "reads",
    "revocations",
    "groups",
    "members",
)
LARGE = 300


async def fill(directory: Path) -> None:
    """Something of everything, and much that was removed; some of it waits to be swept."""
    async with opened(directory) as log:
        await fill_log(log)
        for number in range(LARGE):
            await append(log, entry("large", "x" * 5_000, id=str(number)))
        await trim(log, "large", LARGE - 9)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("whole") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeper, "PAUSE_S", 3600.0)
        trio.run(fill, directory)
    assert verify(directory, nothing).waiting_to_be_swept == 1
    return directory


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "data"))


def content(data: Path) -> list[object]:
    """All that can be asked for, and the order in which it was stored."""
    readable = (
        "SELECT m.* FROM messages AS m JOIN channels AS c ON c.log_id = m.log_id"
        " WHERE seq >= first ORDER BY m.rowid"
    )
    # What is swept, is counted no more.
    wanted = [rows(data / DATABASE, f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES[1:]]
    heads = "SELECT id, name, log_id, epoch, head, first, last_at, first_at FROM channels"
    return [rows(data / DATABASE, readable), rows(data / DATABASE, heads), *wanted]


def files(data: Path) -> set[str]:
    return {path.name for path in data.iterdir()}


async def test_it_is_small_and_has_all_that_was_there(data: Path) -> None:
    before, size = content(data), (data / DATABASE).stat().st_size
    done = await trio.to_thread.run_sync(compact, data, nothing)
    assert content(data) == before
    assert verify(data, nothing).problems == []
    assert (done.before, done.after) == (size, (data / DATABASE).stat().st_size)
    assert done.after < size / 4
    assert done.report.messages == 66 + 10
    assert done.report.waiting_to_be_swept == 0
    assert files(data) == {DATABASE, "pushd.lock"}
    assert (data / DATABASE).stat().st_mode & 0o777 == 0o600
    async with opened(data) as log:
        assert (log.heads["large"].first, log.heads["large"].seq) == (LARGE - 9, LARGE)
        assert len(await read(log, "large", after=LARGE - 10)) == 10
        assert (await append(log, entry("large", "x" * 5_000, id="7")))[0].duplicate
        assert (await append(log, entry("large")))[0].seq == LARGE + 1
    assert on_disk(data, "large") == [*range(LARGE - 9, LARGE + 2)]


def test_what_was_only_in_the_wal_is_kept(data: Path, tmp_path: Path) -> None:
    with killer(tmp_path) as killed:
        killed.leave_a_wal(data)
    compact(data, nothing)
    assert rows(data / DATABASE, "SELECT value FROM meta WHERE key = 'a'") == [("b",)]


def test_a_log_in_use_and_none_at_all(data: Path, tmp_path: Path) -> None:
    before = fingerprint(data)
    lock = LockFile(data, "127.0.0.1:8080")
    try:
        with pytest.raises(CannotStart, match=f"process {os.getpid()} .*127.0.0.1:8080"):
            compact(data, nothing)
    finally:
        lock.release()
    assert fingerprint(data)[DATABASE] == before[DATABASE]
    with pytest.raises(NotALog):
        compact(tmp_path / "nothing", nothing)
    assert not (tmp_path / "nothing").exists()


def test_without_room_nothing_is_begun(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(data)
    monkeypatch.setattr(compacting, "free_bytes", lambda _: 1 << 20)
    with pytest.raises(CompactFailed, match=r"1.0 MiB free; .* MiB are needed"):
        compact(data, nothing)
    assert content(data) == before
    assert files(data) == {DATABASE, "pushd.lock"}
    # Room for what is kept is enough.
    needed = (16 << 20) + (1 << 20)
    assert needed < (16 << 20) + (data / DATABASE).stat().st_size
    monkeypatch.setattr(compacting, "free_bytes", lambda _: needed)
    compact(data, nothing)


def test_while_the_wal_cannot_be_emptied_nothing_is_done(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's shell came in meanwhile: what is in the -wal only would be lost."""
    shells = []

    def run_last(checkpointer: Checkpointer) -> None:
        shell = connect_reader(data)
        shell.execute("BEGIN")
        shell.execute("SELECT * FROM meta").fetchall()
        shells.append(shell)
        last(checkpointer)

    last = Checkpointer.run_last
    monkeypatch.setattr(Checkpointer, "run_last", run_last)
    monkeypatch.setattr("pushd.log.checkpoint.PAGES", 1_000_000)
    monkeypatch.setattr("pushd.log.store.BUSY_MS", 10)
    with pytest.raises(CompactFailed, match="could not be emptied"):
        compact(data, nothing)
    shells[0].close()
    open_and_close(data)
    report = verify(data, nothing)
    assert (report.problems, report.messages) == ([], 66 + 10)


# What is wrong with the log before; what is said.
UNSOUND = {
    "a hole": (lambda file: change(file, "DELETE FROM messages WHERE seq = 7"), "missing"),
    "damaged inside": (lambda file: spoil(file, 6), "not sound|damaged"),
}


def spoil(file: Path, page: int) -> None:
    with file.open("r+b") as opened_file:
        opened_file.seek(page * 4096)
        opened_file.write(b"\xff" * 64)


@pytest.mark.parametrize("case", UNSOUND)
def test_a_log_that_is_not_sound_is_left_alone(data: Path, case: str) -> None:
    open_and_close(data)
    break_it, expected = UNSOUND[case]
    break_it(data / DATABASE)  # type: ignore[no-untyped-call]
    with pytest.raises((CompactFailed, CannotStart), match=expected) as caught:
        compact(data, nothing)
    assert "pushctl restore" in caught.value.detail + caught.value.cure
    assert files(data) == {DATABASE, "pushd.lock"}


# What may have gone wrong in the new file; none of it may take the old one's place.
LOST = [
    "DELETE FROM revocations",
    "DELETE FROM members WHERE user = 'alice'",
    "UPDATE messages SET sender = 'eve' WHERE sender = 'bob' AND seq = 9",
    "UPDATE channels SET head = head + 1, last_at = last_at + 1 WHERE epoch IS NULL",
    "DELETE FROM messages WHERE seq = 20",
]


@pytest.mark.parametrize("sql", LOST)
def test_a_new_file_that_differs_is_thrown_away(
    data: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    before = content(data)

    def written(directory: Path, progress: object) -> Path:
        target = write(directory, progress)  # type: ignore[arg-type]
        change(target, sql)
        return target

    write = compacting._write
    monkeypatch.setattr(compacting, "_write", written)
    with pytest.raises(CompactFailed, match=r"The new file (is not|has other)"):
        compact(data, nothing)
    assert content(data) == before
    assert files(data) == {DATABASE, "pushd.lock"}


@pytest.mark.parametrize(
    "fault", ["write ENOSPC pushd.db.restoring 3", "sync EIO pushd.db.restoring", "sync EIO data$"]
)
def test_a_disk_that_refuses(data: Path, tmp_path: Path, fault: str) -> None:
    before = content(data)
    disk = FaultDisk(tmp_path)
    disk.refuse(fault)
    command = [sys.executable, "-m", "pushd", "compact", "--data", data]
    said = subprocess.run(
        command, cwd=ROOT, env=disk.environment(), capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert said.stderr.count("error: ") == 1, said.stderr
    assert "Traceback" not in said.stderr
    assert content(data) == before
    assert files(data) == {DATABASE, "pushd.lock"}


def test_killed_at_any_step_the_old_log_or_the_new_one_is_there(
    whole: Path, tmp_path: Path
) -> None:
    """And the next start tidies up what is not needed."""
    before, size = content(whole), (whole / DATABASE).stat().st_size
    seen = []
    with killer(tmp_path) as killed:
        for step in range(1, 100):
            data = Path(shutil.copytree(whole, tmp_path / str(step)))
            killed.leave_a_wal(data)
            code = killed.run(step, "compact", "--data", data)
            found = (data / DATABASE).stat().st_size < size / 4
            seen.append(found)
            open_and_close(data)
            assert content(data) == before
            assert rows(data / DATABASE, "SELECT value FROM meta WHERE key = 'a'") == [("b",)]
            assert verify(data, nothing).problems == []
            assert files(data) == {DATABASE, "pushd.lock"}
            if code == 0:
                break
    assert code == 0, "there are more steps"
    # It tips over once, late, and some steps are after it.
    assert seen == sorted(seen)
    assert 8 <= seen.index(True) <= len(seen) - 2
