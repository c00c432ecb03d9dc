"""Whatever is wrong with a log is found, and nothing is found in one that is whole."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import trio

from pushd.errors import NotALog
from pushd.log import wiper
from pushd.log.lock import LOCK, LockFile
from pushd.log.store import DATABASE
from pushd.log.tools.backup import backup
from pushd.log.tools.verify import MOST_PROBLEMS, verify
from tests.log.support import append, delete, entry, opened, upkept, written
from tests.log.vaults import change, fill, fill_log, fingerprint, nothing


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("whole") / "data"
    trio.run(fill, directory)
    return directory


@pytest.fixture
def log(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "data"))


NEWS = "(SELECT log_id FROM channels WHERE name = 'news')"

# What is done to it; what is said of it.
SPOILT = {
    "a hole": (f"DELETE FROM messages WHERE log_id = {NEWS} AND seq = 10",
               "news: 1 of 6…20 are missing, the first is 10"),
    "the first is gone": (f"DELETE FROM messages WHERE log_id = {NEWS} AND seq IN (6, 7)",
                          "2 of 6…20 are missing, the first is 6"),
    "the last is gone": (f"DELETE FROM messages WHERE log_id = {NEWS} AND seq = 20",
                         "1 of 6…20 are missing, the first is 20"),
    "beyond the head": (
        f"INSERT INTO messages SELECT log_id, 22, at, type, sender, id, data FROM messages"
        f" WHERE log_id = {NEWS} AND seq = 20",
        "news: a message 22 lies beyond its head 20"),
    "first beyond head": ("UPDATE channels SET first = 99 WHERE name = 'news'",
                          "news: first 99 does not fit to head 20"),
    "cut, swept by nobody": (
        f"INSERT INTO messages SELECT log_id, 2, at, type, sender, id, data FROM messages"
        f" WHERE log_id = {NEWS} AND seq = 20",
        "news: messages from 2 to 5 were cut and are swept by nobody"),
    "orphans": ("DELETE FROM channels WHERE name = 'many:3'",
                "1 messages .* belong to no channel"),
    "counted wrong": ("UPDATE channels SET bytes = bytes + 1 WHERE name = 'news'",
                      "news: counted as .* bytes"),
    "no JSON": (f"UPDATE messages SET data = CAST('{{oops' AS BLOB) WHERE log_id = {NEWS}"
                " AND seq = 9", "news: message 9 is not JSON"),
    "another body under an id": (
        f"UPDATE messages SET data = CAST('{{\"n\":7}}' AS BLOB) WHERE log_id = {NEWS}"
        " AND seq = 9", "news: message 9 is not what was stored with its id 'news-8'"),
    "another id": (f"UPDATE messages SET id = 'other' WHERE log_id = {NEWS} AND seq = 9",
                   "id 'news-8' names message 9, which has another"),
    "an id of nothing": ("UPDATE idempotency SET seq = 99 WHERE id = 'news-8'",
                         "id 'news-8' names message 99, which is not there"),
    "half a digest": ("UPDATE idempotency SET digest = x'00' WHERE id = 'gone-1'",
                      "1 ids have no proper digest"),
    "ids of nobody": ("UPDATE idempotency SET channel_id = 999 WHERE id = 'gone-1'",
                      "1 ids belong to no channel"),
    "a delivered mark ahead": ("UPDATE cursors SET seq = 21", "1 delivered marks are ahead"),
    "a read mark of the future": ("UPDATE reads SET epoch = 'zzzzzzzzz'", "1 read marks are ahead"),
    "marks of nobody": ("UPDATE reads SET channel_id = 999", "1 read marks belong to no channel"),
    "no epoch": ("UPDATE channels SET epoch = 'x' WHERE name = 'news'", "'x' is no epoch"),
    "an epoch nobody gave": ("UPDATE channels SET epoch = 'zzzzzzzzz' WHERE name = 'news'",
                             "its epoch zzzzzzzzz is later than the last one"),
    "an id nobody gave": ("UPDATE meta SET value = '3' WHERE key = 'last_id'",
                          "is beyond the last one, 3"),
    "no name": ("UPDATE channels SET name = 'a b' WHERE name = 'news'", "the name is not allowed"),
    "a member of nothing": ("UPDATE members SET group_id = 99 WHERE user = 'carl'",
                            "1 members belong to no group"),
    "a group of nobody": ("DELETE FROM members WHERE user = 'carl'",
                          "group new: it has no members"),
    "no group's name": ("UPDATE groups SET name = 'a:b' WHERE name = 'new'",
                        "group a:b: the name is not allowed"),
    "half a life": ("UPDATE channels SET log_id = NULL WHERE name = 'news'",
                    "news: it has an epoch, but no messages"),
    "half deleted": ("UPDATE channels SET deleted_at = NULL WHERE name = 'gone'",
                     "gone: deleted, but only in part"),
    "a wrong time": ("UPDATE channels SET first_at = 1 WHERE name = 'news'",
                     "the time of its first message is not 1"),
    "a newest that is later": ("UPDATE channels SET last_at = 1 WHERE name = 'news'",
                               "its newest message is later than its time"),
}  # fmt: skip


def test_of_a_whole_log_nothing_is_said(log: Path) -> None:
    report = verify(log, nothing)
    assert report.problems == []
    assert (report.channels, report.deleted_channels) == (33, 1)
    assert report.messages == 15 + 20 + 30 + 1
    assert (report.delivered_marks, report.read_marks, report.revocations) == (1, 1, 1)


def test_each_stage_is_announced_before_it_begins(log: Path) -> None:
    told: list[tuple[str, int]] = []
    verify(log, lambda what, done, _total: told.append((what, done)))
    stages = list(dict.fromkeys(what for what, _ in told))
    assert stages == ["pages checked", "channels checked", "messages checked", "ids checked"]
    assert told[0] == ("pages checked", 0)


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_wrong_is_said(log: Path, case: str) -> None:
    sql, expected = SPOILT[case]
    change(log / DATABASE, sql)
    report = verify(log, nothing)
    assert any(re.search(expected, problem) for problem in report.problems), report.problems


def test_an_index_that_lacks_something(log: Path) -> None:
    change(
        log / DATABASE,
        "CREATE TABLE other (x)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX reads_by_channel ON reads (user, seq)'"
        " WHERE name = 'reads_by_channel'",
    )
    assert any("SQLite" in problem for problem in verify(log, nothing).problems)


def test_a_flipped_bit_in_a_backup(log: Path, tmp_path: Path) -> None:
    """Where SQLite sees nothing: a digit in a text."""
    made = tmp_path / "b.db"
    backup(log, made, nothing)
    content = made.read_bytes()
    assert verify(made, nothing).is_sound
    at = content.rindex(b'{"n": 17}')
    made.write_bytes(content[:at] + b'{"n": 16}' + content[at + 9 :])
    problems = verify(made, nothing).problems
    assert any("not those that were backed up" in problem for problem in problems)


ALICE = "log_id = (SELECT log_id FROM channels WHERE name = 'user:alice')"


@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE messages SET sender = 'eve' WHERE {ALICE} AND seq = 3",
        f"UPDATE messages SET type = 'x' WHERE {ALICE} AND seq = 3",
        f"UPDATE messages SET at = at - 1 WHERE {ALICE} AND seq = 3",
        f"UPDATE messages SET seq = -seq WHERE {ALICE} AND seq IN (3, 4);"
        f"UPDATE messages SET seq = 7 + seq WHERE {ALICE} AND seq < 0",
    ],
    ids=["sender", "type", "time", "order"],
)
def test_a_message_that_was_changed_in_a_backup(log: Path, tmp_path: Path, sql: str) -> None:
    """In a way that could be right: only the seal tells."""
    made = tmp_path / "b.db"
    backup(log, made, nothing)
    change(made, *sql.split(";"))
    assert len(verify(made, nothing).problems) == 1
    assert "not those that were backed up" in verify(made, nothing).problems[0]


@pytest.mark.parametrize("joined", ["epoch = 'zzzzzzzzz'", "seq = 21"])
def test_who_has_joined_ahead(log: Path, joined: str) -> None:
    epoch = "(SELECT epoch FROM channels WHERE name = 'group:staff')"
    change(
        log / DATABASE,
        "UPDATE channels SET name = 'group:staff' WHERE name = 'news'",
        f"UPDATE members SET epoch = {epoch}, seq = 20 WHERE user = 'alice'",
    )
    assert verify(log, nothing).is_sound
    change(log / DATABASE, f"UPDATE members SET {joined} WHERE user = 'alice'")
    [problem] = verify(log, nothing).problems
    assert problem == "1 members have joined ahead of their group's channel"


def test_a_log_of_before_there_were_groups_is_sound(log: Path) -> None:
    """Its migrations are still to come."""
    change(
        log / DATABASE,
        "DROP TABLE groups",
        "DROP TABLE members",
        "DELETE FROM _sqlite_migrations WHERE name = '0002_groups'",
    )
    report = verify(log, nothing)
    assert (report.problems, report.pending) == ([], ["0002_groups"])


def test_many_problems_are_counted(log: Path) -> None:
    change(
        log / DATABASE,
        "UPDATE channels SET bytes = 1, first_at = 1, head = 50, epoch = 'zzzzzzzzz'"
        " WHERE epoch > ''",
    )
    report = verify(log, nothing)
    assert len(report.problems) == MOST_PROBLEMS
    assert report.more > 0


# What is done to the file of a backup; what is said.
UNREADABLE = {
    "missing": (lambda path: path.unlink(), "No such file"),
    "empty": (lambda path: os.truncate(path, 0), "is empty"),
    "cut short": (lambda path: os.truncate(path, path.stat().st_size // 2), "cut short|malformed"),
    "no database": (lambda path: path.write_bytes(b"hello" * 1000), "not a database"),
    "of another program": (
        lambda path: change(path, "PRAGMA application_id = 7"),
        "of another program",
    ),
    "with a trigger": (
        lambda path: change(
            path,
            "CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM revocations; END",
        ),
        "triggers or views, which no pushd has made: 't'",
    ),
    "with a view": (lambda path: change(path, "CREATE VIEW v AS SELECT 1"), "triggers or views"),
    "of a newer version": (
        lambda path: change(path, "UPDATE meta SET value = '3' WHERE key = 'format'"),
        "written by a newer pushd",
    ),
    "of a preview": (
        lambda path: change(path, "UPDATE meta SET value = '1' WHERE key = 'format'"),
        "by a preview",
    ),
    "with migrations to come that nobody knows": (
        lambda path: change(path, "UPDATE _sqlite_migrations SET name = '9999_x' WHERE id = 1"),
        "unknown to it: 9999_x",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_refused(log: Path, tmp_path: Path, case: str) -> None:
    spoil, expected = UNREADABLE[case]
    made = tmp_path / "b.db"
    backup(log, made, nothing)
    spoil(made)  # type: ignore[no-untyped-call]
    try:
        said = str(verify(made, nothing).problems)  # damage deeper inside is no refusal
    except NotALog as error:
        said = error.detail
    assert re.search(expected, said)


async def test_a_log_that_is_served_killed_or_stopped_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that may differ is the -shm file, which holds nothing."""
    data = tmp_path / "data"

    def check(kind: str) -> None:
        before = fingerprint(data)
        report = verify(data, nothing)
        assert (report.kind, report.problems) == (kind, [])
        made = tmp_path / f"{data.name}, {kind}.db"
        assert backup(data, made, nothing).report.messages == report.messages
        after = fingerprint(data)
        for found in (before, after):
            found.pop(f"{DATABASE}-shm", None)
        assert before == after

    monkeypatch.setattr(wiper, "DELAY_S", 3600.0)
    async with opened(data) as log:
        await fill_log(log)
        # From here on the server itself changes nothing, however long it takes.
        await written(log)
        await upkept(log)
        check("data directory, in use")
        killed = tmp_path / "killed"
        shutil.copytree(data, killed)
    check("data directory, not in use")
    stopped, data = data, killed
    assert (killed / f"{DATABASE}-wal").stat().st_size
    check("data directory, not in use")
    (stopped / LOCK).unlink()
    assert verify(stopped, nothing).is_sound
    assert not (stopped / LOCK).exists()


def test_while_it_is_restored_nobody_reads_it(log: Path) -> None:
    lock = LockFile(log, doing="restore")
    try:
        with pytest.raises(NotALog, match="doing a restore"):
            verify(log, nothing)
    finally:
        lock.release()


async def test_what_waits_to_be_swept_is_no_fault(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(data) as log:
        for number in range(50):
            await append(log, entry("a", "x" * 100, id=str(number)))
    change(
        data / DATABASE,
        "INSERT INTO garbage SELECT log_id, id, 20 FROM channels",
        "UPDATE channels SET first = 21,"
        " first_at = (SELECT at FROM messages AS m WHERE m.log_id = channels.log_id AND seq = 21)",
    )
    report = verify(data, nothing)
    assert (report.problems, report.waiting_to_be_swept, report.messages) == ([], 1, 30)
    async with opened(data) as log:
        await delete(log, "a")
    report = verify(data, nothing)
    assert (report.problems, report.channels, report.deleted_channels) == ([], 0, 1)
    assert report.messages == 0, "nobody can read one"
