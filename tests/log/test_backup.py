"""A backup is whole or not there, and what had its name before stays until then."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from pushd.errors import BackupFailed, CannotStart, NotALog
from pushd.log import checkpoint
from pushd.log.checkpoint import Checkpointer
from pushd.log.startup import open_log
from pushd.log.store import DATABASE, Store, connect_reader, connect_writer
from pushd.log.tools.backup import PARTIAL, backup
from pushd.log.tools.source import opened as opened_source
from pushd.log.tools.verify import verify
from pushd.log.tools.walframes import count_valid
from tests.chaos.faultdisk import FaultDisk
from tests.log.support import OPTIONS, append, entry, opened, shut, upkept
from tests.log.vaults import change, fill, fingerprint, nothing, rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("whole") / "data"
    trio.run(fill, directory)
    return directory


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "data"))


def run(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pushd", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_its_owner_can_read_it_and_nothing_else_is_left(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "backups" / "b.db"
    target.parent.mkdir()
    made = backup(data, target, nothing)
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["b.db"]
    assert made.report.problems == []
    # Not in WAL mode: whoever opens it makes no files beside it.
    assert target.read_bytes()[18:20] == b"\x01\x01"
    sums = subprocess.run(["sha256sum", target], capture_output=True, text=True, check=True)
    assert sums.stdout.split()[0] == made.sha256


PUT_THERE = ["symbolic link", "hard link", "pipe", "somebody else's"]


@pytest.mark.parametrize("kind", PUT_THERE)
def test_it_goes_into_no_file_that_somebody_has_put_there(
    data: Path, tmp_path: Path, kind: str
) -> None:
    """In a directory of many: it would overwrite another file, or be read by whoever owns it."""
    target, victim = tmp_path / "b.db", tmp_path / "victim"
    partial = tmp_path / f"b.db{PARTIAL}"
    victim.write_text("precious")
    if kind == "symbolic link":
        partial.symlink_to(victim)
    elif kind == "hard link":
        partial.hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(partial)
    elif os.geteuid() == 0:
        partial.touch()
        os.chown(partial, 1234, 1234)
    else:
        pytest.skip("only root can give files away")
    with pytest.raises(BackupFailed, match="partial"):
        backup(data, target, nothing)
    assert victim.read_text() == "precious"
    assert not target.exists()
    assert partial.lstat(), "it is not ours to remove"


def test_it_replaces_another_only_when_told(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.db"
    target.write_text("something dear")
    with pytest.raises(BackupFailed, match="exists"):
        backup(data, target, nothing)
    assert target.read_text() == "something dear"
    backup(data, target, nothing, overwrite=True)
    assert verify(target, nothing).is_sound


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("data/pushd.db", "part of the log itself"),
        ("data/pushd.db-wal", "part of the log itself"),
        ("data", "is a directory"),
        ("nowhere/b.db", "is not a directory"),
    ],
)
def test_where_it_may_not_go(data: Path, target: str, why: str) -> None:
    with pytest.raises(BackupFailed, match=why):
        backup(data, data.parent / target, nothing, overwrite=True)
    assert verify(data, nothing).is_sound


def test_a_log_that_is_not_sound_leaves_its_copy_under_another_name(
    data: Path, tmp_path: Path
) -> None:
    target = tmp_path / "b.db"
    backup(data, target, nothing)
    before = target.read_bytes()
    change(data / DATABASE, "DELETE FROM messages WHERE seq = 7")
    with pytest.raises(BackupFailed, match=r"(?s)not sound.*b\.db\.damaged"):
        backup(data, target, nothing, overwrite=True)
    assert target.read_bytes() == before
    assert not verify(tmp_path / "b.db.damaged", nothing).is_sound


def test_no_room_is_said_before_it_begins(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.log.tools.backup.free_bytes", lambda _: 200 << 20)
    with pytest.raises(BackupFailed, match=r"has 200\.0 MiB free; .* for the log"):
        backup(data, tmp_path / "b.db", nothing)
    assert not (tmp_path / f"b.db{PARTIAL}").exists()


@pytest.mark.parametrize("fault", ["write ENOSPC b.db.partial 3", "sync EIO b.db.partial"])
def test_a_disk_that_refuses_leaves_what_was_there(data: Path, tmp_path: Path, fault: str) -> None:
    target = tmp_path / "b.db"
    target.write_text("the last one")
    disk = FaultDisk(tmp_path)
    disk.refuse(fault)
    before = fingerprint(data)
    done = run("backup", target, "--data", data, "--force", **disk.environment())
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert ("full" in done.stderr) == ("ENOSPC" in fault)
    assert target.read_text() == "the last one"
    assert not (tmp_path / f"b.db{PARTIAL}").exists()
    assert fingerprint(data) == before


def test_killed_at_any_time_it_is_whole_or_not_there(data: Path, tmp_path: Path) -> None:
    """By SIGKILL; the next one takes up what is left. SIGTERM leaves nothing."""
    rng = random.Random(3)
    target = tmp_path / "b.db"
    command = [sys.executable, "-m", "pushd", "backup", target, "--data", data, "--force"]
    before = fingerprint(data)
    for number in range(12):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process, trio_free_timeout(process, rng.uniform(0.2, 0.9)):
            process.send_signal(signal.SIGTERM if number % 3 == 2 else signal.SIGKILL)
            process.communicate()
        if target.exists():
            assert verify(target, nothing).is_sound
    assert run("backup", target, "--data", data, "--force").returncode == 0
    assert verify(target, nothing).is_sound
    assert not (tmp_path / f"b.db{PARTIAL}").exists()
    assert fingerprint(data) == before


class trio_free_timeout:  # noqa: N801
    """Waits so long for the end of the process, on entry."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process, self._seconds = process, seconds

    def __enter__(self) -> None:
        try:
            self._process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            return

    def __exit__(self, *_: object) -> None:
        pass


def test_two_backups_to_one_name(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.db"

    def again(what: str, _done: int, _total: int) -> None:
        if what == "copied":
            with pytest.raises(BackupFailed, match="Another backup"):
                backup(data, target, nothing)

    backup(data, target, again)
    assert verify(target, nothing).is_sound


def test_no_server_starts_while_a_log_that_is_not_served_is_read(
    data: Path, tmp_path: Path
) -> None:
    """Its start would change the file under the backup."""
    refused: list[str] = []

    def start(what: str, _done: int, _total: int) -> None:
        if what == "copied":
            with pytest.raises(CannotStart) as caught:
                open_log(data, OPTIONS)
            refused.append(caught.value.detail)

    backup(data, tmp_path / "b.db", start)
    assert refused
    assert all("a backup of it is made" in detail for detail in refused)
    shut(open_log(data, OPTIONS))


@pytest.mark.parametrize("named", ["", DATABASE])
async def test_of_a_killed_server_the_last_commit_is_in_it(tmp_path: Path, named: str) -> None:
    """It lies in the -wal, also when only the database is named."""
    data, killed = tmp_path / "data", tmp_path / "killed"
    async with opened(data) as log:
        await append(log, entry("news", 1))
        await upkept(log)  # the writer's thread leaves its connection to this one
        assert log._engine is not None
        log._engine.writer._store.checkpoint("TRUNCATE")
        await append(log, entry("news", 2))
        shutil.copytree(data, killed)
    assert (killed / f"{DATABASE}-wal").stat().st_size
    made = backup(killed / named, tmp_path / "b.db", nothing)
    assert made.report.messages == 2
    assert rows(tmp_path / "b.db", "SELECT data FROM messages") == [(b"1",), (b"2",)]


@pytest.mark.parametrize("named", ["", DATABASE])
def test_a_wal_that_lost_acked_commits_is_not_backed_up(
    data: Path, tmp_path: Path, named: str
) -> None:
    log = open_log(data, OPTIONS)
    for number in range(5):
        log.store.connection.execute("INSERT INTO meta VALUES (?, '')", (f"commit {number}",))
    killed = Path(shutil.copytree(data, tmp_path / "killed"))
    shut(log)
    with (killed / f"{DATABASE}-wal").open("r+b") as wal:
        wal.seek(32 + 24 + 100)
        wal.write(b"\xff\xff\xff")
    with pytest.raises(NotALog, match="damaged: commits that were acked"):
        backup(killed / named, tmp_path / "b.db", nothing)


def test_what_a_killed_backup_left_is_not_in_the_next(data: Path, tmp_path: Path) -> None:
    (tmp_path / f"b.db{PARTIAL}").write_bytes(b"no database " * 100_000)
    made = backup(data, tmp_path / "b.db", nothing)
    assert made.report.problems == []
    assert made.bytes < 1_000_000
    assert not (tmp_path / f"b.db{PARTIAL}").exists()


def test_frames_are_counted_as_sqlite_counts_them(tmp_path: Path) -> None:
    """Whole, cut anywhere, and with a bit flipped anywhere."""
    log = open_log(tmp_path / "alive", OPTIONS)
    log.store.checkpoint("TRUNCATE")
    for number in range(12):
        log.store.connection.execute(
            "INSERT INTO meta VALUES (?, ?)", (f"commit {number}", "x" * 3000)
        )
    rng = random.Random(5)
    for number in range(40):
        directory = tmp_path / str(number)
        directory.mkdir()
        for name in (DATABASE, f"{DATABASE}-wal"):
            shutil.copy(tmp_path / "alive" / name, directory)
        wal = directory / f"{DATABASE}-wal"
        content = bytearray(wal.read_bytes())
        if number % 3 == 1:
            content = content[: rng.randrange(len(content))]
        elif number % 3 == 2:
            content[rng.randrange(32, len(content))] ^= 1 << rng.randrange(8)
        wal.write_bytes(content)
        counted = count_valid(wal)
        with closing(connect_writer(directory)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            _, frames, _ = Store(connection).checkpoint("PASSIVE")
        # SQLite drops what follows the last whole commit; here each frame that ends one counts.
        assert frames <= counted
        assert (frames == 0) == (counted == 0) or counted < 3
    shut(log)


def test_a_long_read_does_not_make_the_writer_wait_again_and_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for readers grows rarer while a backup reads, and starts over when it is done."""
    monkeypatch.setattr(checkpoint, "PAGES", 10)
    monkeypatch.setattr(checkpoint, "RESTART_PAGES", 40)
    monkeypatch.setattr(checkpoint, "RESTART_WAIT_MS", 0)
    log = open_log(data, OPTIONS)
    modes: list[str] = []
    real = log.store.checkpoint
    monkeypatch.setattr(log.store, "checkpoint", lambda mode: (modes.append(mode), real(mode))[1])
    checkpointer = Checkpointer(log.store)

    def write(commits: int) -> None:
        for _ in range(commits):
            log.store.connection.execute("INSERT OR REPLACE INTO meta VALUES ('a', ?)", ("x",))
            checkpointer.grow(1)
            checkpointer.run_if_due()

    with opened_source(data):
        write(1000)
    # Each time the file has doubled: 40, 80, … 1,000 pages.
    assert 2 <= modes.count("RESTART") <= 6
    write(200)
    modes.clear()
    reader = connect_reader(data)
    with closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        write(60)
    assert "RESTART" in modes
    shut(log)
