"""Trims, deletions, redactions, erasure, revocations: what they do, and what they leave alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pushd.core.positions import Cursor
from pushd.core.pulling import Position
from pushd.errors import BadRequest, Conflict, NotFound, NotReady, Overloaded
from pushd.log import Append, Change, Log, Marks, MissingMessages
from pushd.log.store import DATABASE
from tests.log.invariants import check
from tests.log.support import (
    OPTIONS,
    answer,
    append,
    delete,
    entry,
    idle,
    marks,
    on_disk,
    opened,
    outcome,
    read,
    redact,
    swept,
    trim,
    written,
)
from tests.log.vaults import rows


async def fill(log: Log, channel: str, count: int) -> None:
    await append(log, *(entry(channel, number) for number in range(1, count + 1)))


def heard(log: Log) -> list[Change]:
    changes: list[Change] = []
    log.on_change = changes.extend
    return changes


@pytest.mark.parametrize("restart", [False, True])
async def test_a_trim_keeps_what_is_not_older(tmp_path: Path, restart: bool) -> None:
    async with opened(tmp_path) as log:
        await fill(log, "news", 10)
        epoch = log.heads["news"].epoch
        changes = heard(log)
        assert await trim(log, "news", 4) == Position(epoch, 4, 10)
        assert changes == [Change("news", log.heads["news"])]
        assert await trim(log, "news", 3) == Position(epoch, 4, 10)
        assert len(changes) == 1
        if not restart:
            assert log.heads["news"].first == 4
    async with opened(tmp_path) as log:
        head = log.heads["news"]
        assert (head.first, head.seq) == (4, 10)
        assert head.first_at == head.at or head.first_at < head.at
        assert [one["data"] for one in await read(log, "news", after=3)] == [4, 5, 6, 7, 8, 9, 10]
        await swept(log)
        assert on_disk(tmp_path, "news") == [4, 5, 6, 7, 8, 9, 10]


async def test_a_trim_of_all_leaves_an_empty_window_that_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await fill(log, "news", 3)
        with pytest.raises(BadRequest, match="at most 4"):
            await trim(log, "news", 5)
        await trim(log, "news", 4)
        head = log.heads["news"]
        assert (head.first, head.seq) == (4, 3)
        [stored] = await append(log, entry("news", "next"))
        assert (stored.seq, head.first, head.seq) == (4, 4, 4)
        assert head.first_at == stored.at
        assert [one["data"] for one in await read(log, "news", after=3)] == ["next"]
    async with opened(tmp_path) as log:
        assert log.heads["news"].first_at == stored.at
        with pytest.raises(NotFound):
            await trim(log, "other", 1)
        for wrong in (-1, 1 << 60):
            with pytest.raises(BadRequest):
                await trim(log, "news", wrong)
        with pytest.raises(BadRequest):
            await trim(log, "\ud800", 1)


@pytest.mark.parametrize("restart", [False, True])
async def test_a_deleted_channel_begins_a_later_life(tmp_path: Path, restart: bool) -> None:
    async with opened(tmp_path) as log:
        [first] = await append(log, entry("news", "old", id="x"))
        old = log.heads["news"]
        changes = heard(log)
        assert await delete(log, "news") == Position(first.epoch, 1, 1)
        assert changes == [Change("news", None)]
        assert "news" not in log.heads
        with pytest.raises(NotFound):
            await delete(log, "news")
        with pytest.raises(MissingMessages):
            await answer(lambda done: log.read_messages(old, 0, 1, 1, 100, done))
        if not restart:
            await begins_anew(log, first.epoch)
    async with opened(tmp_path) as log:
        if restart:
            assert "news" not in log.heads
            await begins_anew(log, first.epoch)
        assert log.heads["news"].channel_id == old.channel_id
        assert log.heads["news"].log_id != old.log_id
        await swept(log)
        assert on_disk(tmp_path, "news") == [1]
        assert on_disk(tmp_path) == [("news", 1)]
        check(tmp_path)


async def begins_anew(log: Log, old_epoch: str) -> None:
    # The id is still used: answered with what was stored first, and nothing begins.
    [again] = await append(log, entry("news", "old", id="x"))
    assert (again.epoch, again.seq, again.duplicate) == (old_epoch, 1, True)
    assert "news" not in log.heads
    with pytest.raises(Conflict):
        await append(log, entry("news", "other", id="x"))
    [new] = await append(log, entry("news", "new"))
    assert (new.seq, new.duplicate) == (1, False)
    assert new.epoch > old_epoch
    assert [one["data"] for one in await read(log, "news")] == ["new"]
    [again] = await append(log, entry("news", "old", id="x"))
    assert (again.epoch, again.seq, again.duplicate) == (old_epoch, 1, True)


async def test_an_id_stays_used_after_its_message_is_trimmed(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        [first] = await append(log, entry("news", id="x"))
        await trim(log, "news", 2)
        await swept(log)
        assert await append(log, entry("news", id="x")) == [first._replace(duplicate=True)]


async def test_a_redacted_message_keeps_all_but_its_content(tmp_path: Path) -> None:
    secret = "secret words " * 2000  # more than a page
    async with opened(tmp_path) as log:
        given = entry("news", secret, id="x", sender="alice", type="chat")
        [stored] = await append(log, given)
        await append(log, entry("news", "after"))
        before = log.heads["news"].bytes
        changes = heard(log)
        await redact(log, "news", 1)
        assert changes == [Change("news", log.heads["news"])]
        expected = {"seq": 1, "id": "x", "type": "redacted", "sender": "alice", "at": stored.at,
                    "data": None}  # fmt: skip
        redacted, after = await read(log, "news")
        assert (redacted, after["data"]) == (expected, "after")
        assert log.heads["news"].bytes == before - len(secret) - 2 + 4
        await redact(log, "news", 1)
        await trim(log, "news", 2)
        for wrong in (0, 1, 3, 1 << 70):
            with pytest.raises(NotFound):
                await redact(log, "news", wrong)
        [again] = await append(log, given)
        assert again == stored._replace(duplicate=True)
    # The words are gone from the file, pages that are free included.
    assert b"secret words" not in (tmp_path / "pushd.db").read_bytes()


async def test_changes_and_appends_take_effect_in_their_order(tmp_path: Path) -> None:
    """All waiting at once: each sees what those before it have done."""
    async with opened(tmp_path) as log:
        answers: list[Any] = []

        def send(*data: int) -> None:
            log.submit(Append([entry("news", one) for one in data], "p", answers.append))

        send(1, 2, 3)
        log.trim("news", 3, answers.append)
        send(4)
        log.redact("news", 4, answers.append)
        log.delete("news", answers.append)
        log.trim("news", 1, answers.append)
        send(1, 2)
        log.trim("news", 3, answers.append)
        send(3)
        log.delete("other", answers.append)
        await append(log, entry("done"))
        head = log.heads["news"]
        assert (head.first, head.seq) == (3, 3)
        assert [type(one).__name__ for one in answers] == [
            *("list", "Position", "list", "Position", "Position", "NotFound"),
            *("list", "Position", "list", "NotFound"),
        ]
        assert [stored.seq for stored in answers[2]] == [4]
        assert [stored.seq for stored in answers[6]] == [1, 2]
        assert answers[4][1:] == (3, 4)
        assert answers[6][0].epoch > answers[0][0].epoch


async def test_marks_of_a_name_survive_its_deletion_and_not_its_erasure(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        neighbours = {f"user:{name}" for name in ("bo", "bob-", "bob1", "bobby", "c")}
        await append(log, entry("user:bob"), entry("user:bob:calls"), *map(entry, neighbours))
        await append(log, entry("news", sender="bob"))
        at = {name: Cursor(head.epoch, 1) for name, head in log.heads.items()}
        for user in ("bob", "alice"):
            log.record_read(user, "news", at["news"])
            log.record_delivered(user, "phone", "news", at["news"])
            log.record_seen(user)
        log.record_read("bob", "user:bob", at["user:bob"])
        await written(log)
        # On their way yet.
        log.record_read("bob", "user:bob:calls", at["user:bob:calls"])
        log.record_delivered("bob", "tablet", "news", at["news"])
        await delete(log, "user:bob")
        await append(log, entry("user:bob"))
        assert (await marks(log, "bob", None, "user:bob"))["user:bob"].read == at["user:bob"]
        await answer(lambda done: log.revoke("user", "bob", time.time() + 60, done))
        changes = heard(log)
        erased = await answer(lambda done: log.erase_user("bob", done))
        assert sorted(erased.inboxes) == ["user:bob", "user:bob:calls"]
        assert sorted(changes) == [(name, None) for name in sorted(erased.inboxes)]
        assert set(log.heads) == {*neighbours, "news"}
        assert (await marks(log, "bob", "phone", "news"))["news"] == Marks(None, None)
    for table in ("cursors", "reads", "devices", "seen"):
        assert set(rows(tmp_path / DATABASE, f"SELECT user FROM {table}")) == {("alice",)}
    async with opened(tmp_path) as log:
        assert (await marks(log, "bob", "phone", "news"))["news"] == Marks(None, None)
        assert (await marks(log, "alice", "phone", "news"))["news"] == Marks(at["news"], at["news"])
        assert ("user", "bob") in log.revocations
        assert [one["sender"] for one in await read(log, "news")] == ["bob"]
        # The devices of an erased user count anew.
        for _ in range(2):
            log.record_delivered("bob", "phone", "news", at["news"])
            await written(log)
            check(tmp_path)
            assert (await marks(log, "bob", "phone", "news"))["news"].delivered == at["news"]
            await answer(lambda done: log.erase_user("bob", done))


async def test_revocations_are_known_at_once_and_after_a_restart(tmp_path: Path) -> None:
    until = float(int(time.time()) + 100)
    async with opened(tmp_path) as log:
        span = await answer(lambda done: log.revoke("user", "bob", until, done))
        assert span[1] == until
        assert abs(span[0] - time.time()) < 60
        # The later one counts, though it ends sooner.
        span = await answer(lambda done: log.revoke("user", "bob", until - 50, done))
        assert span[1] == until - 50
        await answer(lambda done: log.revoke("jti", "t1", until, done))
        assert log.revocations == {
            ("user", "bob"): span,
            ("jti", "t1"): log.revocations["jti", "t1"],
        }
    async with opened(tmp_path) as log:
        assert log.revocations["user", "bob"] == span
        assert await outcome(lambda done: log.unrevoke("user", "bob", done)) is None
        with pytest.raises(NotFound):
            await answer(lambda done: log.unrevoke("user", "bob", done))
        assert list(log.revocations) == [("jti", "t1")]
    async with opened(tmp_path) as log:
        assert list(log.revocations) == [("jti", "t1")]
        for kind, value, wrong in (
            ("device", "x", 1.0),
            ("user", "x", float("inf")),
            ("user", "x", float("nan")),
            ("user", "x", 1e300),
            ("user", "\udc00", 1.0),
        ):
            with pytest.raises(BadRequest):
                log.revoke(kind, value, wrong, lambda _: None)


async def test_changes_are_refused_like_appends(tmp_path: Path) -> None:
    log = Log(tmp_path, OPTIONS)
    with pytest.raises(NotReady):
        log.delete("news", lambda _: None)
    async with opened(tmp_path) as log:
        for _ in range(2):
            await idle(log)  # what the log notes at its start waits no more
        answers: list[object] = []
        for _ in range(log.options.waiting_changes):
            log.delete("news", answers.append)
        with pytest.raises(Overloaded):
            log.delete("news", answers.append)
        while len(answers) < log.options.waiting_changes:
            await append(log, entry("other"))
        log.close()
        with pytest.raises(NotReady):
            log.delete("news", answers.append)
        assert all(isinstance(one, NotFound) for one in answers)
