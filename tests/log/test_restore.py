"""A restore: new epochs for all, nothing lost of the backup, the old log or the new at any kill."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from pushd.core.positions import Cursor
from pushd.errors import CannotStart, NotALog, RestoreRefused
from pushd.log import swap
from pushd.log.lock import LockFile
from pushd.log.startup import open_log
from pushd.log.store import DATABASE
from pushd.log.tools import restore as restoring
from pushd.log.tools.backup import backup
from pushd.log.tools.copying import Progress, copy
from pushd.log.tools.restore import Plan, Restored, adopt, restore
from pushd.log.tools.source import Source
from pushd.log.tools.verify import verify
from tests.chaos.faultdisk import FaultDisk
from tests.log.killing import killer
from tests.log.support import OPTIONS, append, entry, marks, open_and_close, opened, read
from tests.log.vaults import change, epochs, fill, fingerprint, nothing, rows

ROOT = Path(__file__).parents[2]
MESSAGES = (
    "SELECT name, seq, at, type, sender, m.id, data FROM messages AS m JOIN channels AS c"
    " ON c.log_id = m.log_id ORDER BY name, seq"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data`` and a backup of it; the log has gone on afterwards."""
    home: Path = tmp_path_factory.mktemp("whole")
    trio.run(fill, home / "data")
    backup(home / "data", home / "b.db", nothing)
    trio.run(go_on, home / "data")
    return home


async def go_on(data: Path) -> None:
    async with opened(data) as log:
        for number in range(5):
            await append(log, entry("news", "later", id=f"later-{number}"), entry("later", number))


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "home"))


def agree(_plan: Plan) -> bool:
    return True


def restored(home: Path) -> Restored:
    return restore(home / "b.db", home / "data", agree, nothing)


def test_every_epoch_is_later_than_all_that_were(home: Path) -> None:
    data = home / "data"
    # Given out by a clock that was ahead, and unknown to the backup.
    change(
        data / DATABASE,
        "UPDATE channels SET epoch = 'yyyyyyyyy' WHERE name = 'later'",
        "UPDATE meta SET value = 'yyyyyyyyy' WHERE key = 'last_epoch'",
    )
    before = epochs(data)
    done = restored(home)
    after = epochs(data)
    assert len(after) == done.renewed.channels == 33
    assert min(after.values()) > max(before.values()) == "yyyyyyyyy"
    assert len(set(after.values())) == len(after)
    assert rows(data / DATABASE, "SELECT value FROM meta WHERE key = 'last_epoch'") == [
        (max(after.values()),)
    ]


def test_what_the_backup_holds_is_there_and_the_rest_aside(home: Path) -> None:
    data = home / "data"
    held, replaced = rows(home / "b.db", MESSAGES), rows(data / DATABASE, MESSAGES)
    aside = restored(home).aside
    assert aside is not None
    assert rows(data / DATABASE, MESSAGES) == held
    assert rows(aside / DATABASE, MESSAGES) == replaced != held
    assert verify(data, nothing).problems == []
    assert verify(aside, nothing).problems == []
    assert (data / DATABASE).stat().st_mode & 0o777 == 0o600
    # And back again.
    restore(aside / DATABASE, data, agree, nothing)
    assert rows(data / DATABASE, MESSAGES) == replaced


async def test_marks_ids_and_resets_after_it(home: Path) -> None:
    data = home / "data"
    old = epochs(data)["news"]
    await trio.to_thread.run_sync(restored, home)
    async with opened(data) as log:
        head = log.heads["news"]
        assert (head.epoch > old, head.first, head.seq) == (True, 6, 20)
        found = (await marks(log, "alice", "phone", "news"))["news"]
        # Read moves along; delivered stays behind, so that the device gets epoch_changed.
        assert found.read == Cursor(head.epoch, 12)
        assert found.delivered == Cursor(old, 15)
        # A retry of what the backup holds is a duplicate, which names what can be pulled.
        (again,) = await append(log, entry("news", {"n": 19}, id="news-19"))
        assert (again.duplicate, again.epoch, again.seq) == (True, head.epoch, 20)
        # Of what it does not hold, it is stored.
        (lost,) = await append(log, entry("news", "later", id="later-0"))
        assert (lost.duplicate, lost.epoch, lost.seq) == (False, head.epoch, 21)
        assert [message["seq"] for message in await read(log, "news", after=5)] == [*range(6, 22)]
        # A channel that only the replaced log had is new, later than everything.
        (new,) = await append(log, entry("later", "anew"))
        assert new.epoch > max(each.epoch for name, each in log.heads.items() if name != "later")


def test_revocations_of_the_replaced_log_hold(home: Path) -> None:
    data = home / "data"
    change(
        data / DATABASE,
        "INSERT INTO revocations VALUES ('jti', 'new', 5, 9999999999999)",
        "UPDATE revocations SET at = at + 1000 WHERE value = 'mallory'",
    )
    held = rows(data / DATABASE, "SELECT * FROM revocations ORDER BY value")
    # Of two that know of the same one the longer holds.
    change(data / DATABASE, "UPDATE revocations SET until = until - 1000 WHERE value = 'mallory'")
    restored(home)
    assert rows(data / DATABASE, "SELECT * FROM revocations ORDER BY value") == held


def test_into_an_empty_directory(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "data"
    done = restore(home / "b.db", target, agree, nothing)
    assert done.aside is None
    assert target.stat().st_mode & 0o777 == 0o700
    assert rows(target / DATABASE, MESSAGES) == rows(home / "b.db", MESSAGES)
    open_and_close(target)


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff\xff\xff\xff")


# What is wrong with the backup; what is said.
REFUSED = {
    "cut short": (lambda path: os.truncate(path, path.stat().st_size - 8192), "malformed|sound"),
    "damaged inside": (lambda path: flip(path, 5 * 4096), "not sound|damaged"),
    "a hole": (lambda path: change(path, "DELETE FROM messages WHERE seq = 7"), "missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_backup_replaces_nothing(home: Path, case: str) -> None:
    spoil, expected = REFUSED[case]
    spoil(home / "b.db")  # type: ignore[no-untyped-call]
    before = rows(home / "data" / DATABASE, MESSAGES)
    with pytest.raises(Exception, match=expected):
        restored(home)
    assert rows(home / "data" / DATABASE, MESSAGES) == before
    assert sorted(path.name for path in (home / "data").iterdir()) == [DATABASE, "pushd.lock"]


def test_no_is_no(home: Path) -> None:
    before = fingerprint(home / "data")
    plans = []

    def refuse(plan: Plan) -> bool:
        plans.append(plan)
        return False

    with pytest.raises(RestoreRefused):
        restore(home / "b.db", home / "data", refuse, nothing)
    after = fingerprint(home / "data")
    assert before.pop("pushd.lock")[0] == after.pop("pushd.lock")[0]
    assert before == after
    (plan,) = plans
    assert plan.replaced is not None
    assert (plan.backup.messages, plan.replaced.channels) == (66, 34)


def test_a_log_in_use_is_not_replaced(home: Path) -> None:
    lock = LockFile(home / "data", "127.0.0.1:8080")
    try:
        with pytest.raises(CannotStart, match=f"process {os.getpid()} .*127.0.0.1:8080"):
            restored(home)
        with pytest.raises(CannotStart, match=f"process {os.getpid()} "):
            adopt(home / "data")
    finally:
        lock.release()


def test_a_log_cannot_replace_itself(home: Path) -> None:
    for path in (home / "data", home / "data" / DATABASE):
        with pytest.raises(RestoreRefused, match="--adopt"):
            restore(path, home / "data", agree, nothing)


@pytest.mark.parametrize("spoil", ["header", "inside", "wal"])
def test_a_damaged_log_is_replaced_and_kept(home: Path, spoil: str) -> None:
    data = home / "data"
    if spoil == "wal":
        (data / f"{DATABASE}-wal").write_bytes(b"\x01" * 5000)
    else:
        flip(data / DATABASE, 0 if spoil == "header" else 6 * 4096)
    content = (data / DATABASE).read_bytes()
    aside = restored(home).aside
    assert aside is not None
    assert (aside / DATABASE).read_bytes() == content
    assert (aside / f"{DATABASE}-wal").exists() == (spoil == "wal")
    assert verify(data, nothing).problems == []
    open_and_close(data)


def test_of_a_log_that_is_not_understood_the_epochs_and_revocations_count(home: Path) -> None:
    """Of a newer version, say: it cannot be opened, but what must not be lost can be read."""
    data = home / "data"
    change(
        data / DATABASE,
        "UPDATE meta SET value = '9' WHERE key = 'format'",
        "UPDATE meta SET value = 'yyyyyyyyy' WHERE key = 'last_epoch'",
        "INSERT INTO revocations VALUES ('jti', 'new', 5, 9999999999999)",
    )
    restored(home)
    assert min(epochs(data).values()) > "yyyyyyyyy"
    assert rows(data / DATABASE, "SELECT at FROM revocations WHERE value = 'new'") == [(5,)]


def test_a_copy_that_went_wrong_replaces_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(source: Source, target: Path, progress: Progress) -> None:
        copy(source, target, progress)
        change(target, "DELETE FROM messages WHERE seq = 7")

    monkeypatch.setattr(restoring, "copy", spoil)
    before = rows(home / "data" / DATABASE, MESSAGES)
    with pytest.raises(RestoreRefused, match=r"copy .* is not sound: .* missing"):
        restored(home)
    assert rows(home / "data" / DATABASE, MESSAGES) == before
    assert sorted(path.name for path in (home / "data").iterdir()) == [DATABASE, "pushd.lock"]


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), KeyboardInterrupt()])
def test_a_restore_that_fails_leaves_no_copy(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """It may be as large as the log."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(restoring, "renew", fail)
    with pytest.raises((RestoreRefused, KeyboardInterrupt)):
        restored(home)
    assert sorted(path.name for path in (home / "data").iterdir()) == [DATABASE, "pushd.lock"]


def test_an_interrupted_restore_is_finished_by_the_next(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is then the one that goes aside, and is told of before."""
    data = home / "data"
    old, new = rows(data / DATABASE, MESSAGES), rows(home / "b.db", MESSAGES)

    def fail(*_: object) -> None:
        raise OSError("Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(swap, "_set_aside", fail)
        with pytest.raises(CannotStart, match="the next restore, completes it"):
            restored(home)
        # Until then nobody takes it for whole.
        with pytest.raises(NotALog, match="was interrupted"):
            verify(data, nothing)
    plans: list[Plan] = []
    done = restore(home / "b.db", data, lambda plan: not plans.append(plan), nothing)
    (plan,) = plans
    assert plan.finished is not None
    assert rows(plan.finished / DATABASE, MESSAGES) == old
    assert done.aside is not None
    assert rows(done.aside / DATABASE, MESSAGES) == rows(data / DATABASE, MESSAGES) == new
    assert min(epochs(data).values()) > max(epochs(done.aside).values())


def test_a_database_made_anew_within_an_interrupted_restore_is_not_overwritten(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an older version, say: nobody knows which one counts."""
    data = home / "data"

    def fail(*_: object) -> None:
        raise OSError("Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(swap, "sync_directory", fail)
        with pytest.raises(RestoreRefused):
            restored(home)
    assert swap.is_unfinished(data)
    swap._set_aside(data, data / next(data.glob("*.next-*")).name.replace(swap._NEXT, swap._ASIDE))
    (data / DATABASE).write_bytes(b"made anew")
    with pytest.raises(CannotStart, match="was made anew"):
        open_log(data, OPTIONS)
    assert (data / DATABASE).read_bytes() == b"made anew"


def test_a_read_mark_goes_no_farther_than_the_channel(home: Path) -> None:
    """Of a log that went back in time: what is published next is unread."""
    data = home / "data"
    change(data / DATABASE, "UPDATE reads SET seq = 99")
    adopt(data)
    head = "SELECT c.epoch, head FROM reads JOIN channels AS c ON c.id = channel_id"
    assert rows(data / DATABASE, "SELECT epoch, seq FROM reads") == rows(data / DATABASE, head)
    assert verify(data, nothing).problems == []
    # One of an earlier life says nothing of this one.
    change(data / DATABASE, "UPDATE reads SET epoch = '000000001'")
    adopt(data)
    assert rows(data / DATABASE, "SELECT epoch FROM reads") == [("000000001",)]


def test_where_a_user_was_first_seen_moves_to_the_new_epoch(home: Path) -> None:
    data = home / "data"
    change(data / DATABASE, "UPDATE channels SET name = 'all' WHERE name = 'news'")
    of_all = "SELECT epoch, head FROM channels WHERE name = 'all'"
    [(epoch, head)] = rows(data / DATABASE, of_all)
    seen = [("b", epoch, 2), ("c", epoch, head + 9), ("d", "", 0), ("e", "0000000zz", 7)]
    for row in seen:
        change(data / DATABASE, f"INSERT INTO seen VALUES {(*row, 0)}")
    adopt(data)
    [(new, _)] = rows(data / DATABASE, of_all)
    assert new > epoch
    found = rows(data / DATABASE, "SELECT user, epoch, seq FROM seen WHERE user != 'alice'")
    assert found == [("b", new, 2), ("c", new, head), *seen[2:]]


def test_where_members_have_joined_moves_to_the_new_epoch(home: Path) -> None:
    data = home / "data"
    change(data / DATABASE, "UPDATE channels SET name = 'group:staff' WHERE name = 'news'")
    of_staff = "SELECT epoch, head FROM channels WHERE name = 'group:staff'"
    [(epoch, head)] = rows(data / DATABASE, of_staff)
    [(staff,)] = rows(data / DATABASE, "SELECT id FROM groups WHERE name = 'staff'")
    joined = [("b", epoch, 2), ("c", epoch, head + 9), ("d", None, 0), ("e", "0000000zz", 7)]
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as connection:
        for user, at, seq in joined:
            connection.execute("INSERT INTO members VALUES (?, ?, 0, ?, ?)", (staff, user, at, seq))
    adopt(data)
    [(new, _)] = rows(data / DATABASE, of_staff)
    assert new > epoch
    of_members = (
        f"SELECT user, epoch, seq FROM members WHERE group_id = {staff} AND user != 'alice'"
    )
    assert rows(data / DATABASE, of_members) == [("b", new, 2), ("c", new, head), *joined[2:]]


def test_a_restore_brings_the_members_of_the_backup(home: Path) -> None:
    """Those of the replaced log, too late or too early, are none."""
    data = home / "data"
    of_all = "SELECT name, user FROM members JOIN groups ON id = group_id ORDER BY name, user"
    before = rows(data / DATABASE, of_all)
    assert before == [("new", "carl"), ("staff", "alice")]
    change(
        data / DATABASE,
        "DELETE FROM members WHERE user = 'alice'",
        "UPDATE members SET user = 'eve' WHERE user = 'carl'",
    )
    restore(home / "b.db", data, agree, nothing)
    assert rows(data / DATABASE, of_all) == before


def test_adopting_gives_new_epochs_in_place(home: Path) -> None:
    data = home / "data"
    before, messages = epochs(data), rows(data / DATABASE, MESSAGES)
    adopt(data)
    after = epochs(data)
    assert before.keys() == after.keys()
    assert min(after.values()) > max(before.values())
    assert rows(data / DATABASE, MESSAGES) == messages
    assert verify(data, nothing).problems == []


@pytest.mark.parametrize(
    ("table", "column", "where"),
    [
        ("meta", "value", "key = 'last_epoch'"),
        ("channels", "epoch", "name = 'many:3'"),
        ("cursors", "epoch", "true"),
        ("reads", "epoch", "true"),
        ("seen", "epoch", "true"),
        ("members", "epoch", "user = 'alice'"),
        ("idempotency", "epoch", "true"),
    ],
)
def test_an_epoch_that_anything_knows_is_not_given_out_again(
    home: Path, table: str, column: str, where: str
) -> None:
    """A device may have a cursor of it, though nothing else is left of that life."""
    data = home / "data"
    change(data / DATABASE, f"UPDATE {table} SET {column} = 'yyyyyyyyy' WHERE {where}")
    assert rows(data / DATABASE, f"SELECT 1 FROM {table} WHERE {column} = 'yyyyyyyyy'")
    adopt(data)
    assert min(epochs(data).values()) > "yyyyyyyyy"


def test_a_backup_copied_by_hand_is_not_served_before_it_is_adopted(home: Path) -> None:
    copied = home / "copied"
    copied.mkdir()
    shutil.copy(home / "b.db", copied / DATABASE)
    with pytest.raises(CannotStart, match="restore --adopt"):
        open_log(copied, OPTIONS)
    adopt(copied)
    open_and_close(copied)


@pytest.mark.parametrize(
    ("fault", "done"),
    [
        ("write ENOSPC pushd.db.restoring 3", False),
        ("sync EIO pushd.db.restoring", False),
        ("sync EIO data$ 2", True),
    ],
)
def test_a_disk_that_refuses(home: Path, fault: str, done: bool) -> None:
    """Before the decision nothing has changed; after it the next start does the rest."""
    data = home / "data"
    old, new = rows(data / DATABASE, MESSAGES), rows(home / "b.db", MESSAGES)
    disk = FaultDisk(home)
    disk.refuse(fault)
    command = [sys.executable, "-m", "pushd", "restore", home / "b.db", "--data", data, "--force"]
    said = subprocess.run(
        command, cwd=ROOT, env=disk.environment(), capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert said.stderr.count("error: ") == 1, said.stderr
    assert ("Nothing was changed" in said.stderr) != done
    assert ("the next restore, completes it" in said.stderr) == done
    open_and_close(data)
    assert rows(data / DATABASE, MESSAGES) == (new if done else old)
    assert not list(data.glob("*.restoring*"))


def test_killed_at_any_step_the_old_log_or_the_new_one_is_there(
    whole: Path, tmp_path: Path
) -> None:
    """With a -wal that must not meet the new database."""
    old, new = rows(whole / "data" / DATABASE, MESSAGES), rows(whole / "b.db", MESSAGES)
    seen = []
    with killer(tmp_path) as killed:
        for step in range(1, 100):
            home = Path(shutil.copytree(whole, tmp_path / str(step)))
            data = home / "data"
            killed.leave_a_wal(data)
            code = killed.run(step, "restore", home / "b.db", "--data", data, "--force")
            open_and_close(data)
            found = rows(data / DATABASE, MESSAGES)
            assert found in (old, new), step
            seen.append(found == new)
            assert verify(data, nothing).problems == []
            assert {path.name.partition("-")[0] for path in data.iterdir()} <= {
                *(DATABASE, "pushd.lock", "replaced")
            }
            if found == new:
                (aside,) = data.glob("replaced-*")
                assert verify(aside, nothing).problems == []
                assert verify(aside, nothing).messages == len(old)
            if code == 0:
                break
    assert code == 0, "there are more steps"
    # It tips over once, and some steps are on either side.
    assert seen == sorted(seen)
    assert 3 <= seen.index(True) <= len(seen) - 4


def test_without_room_nothing_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking a large backup takes minutes."""
    monkeypatch.setattr("pushd.log.tools.restore.free_bytes", lambda _: 0)
    told: list[str] = []
    with pytest.raises(RestoreRefused, match="0 B free"):
        restore(home / "b.db", home / "data", agree, lambda what, *_: told.append(what))
    assert told == []
