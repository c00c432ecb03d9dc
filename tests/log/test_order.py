"""What the loop is told, and when: no read fails before its reason is known, or tells old news."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.log import Append, Change, Head, MissingMessages, sweeper
from pushd.log.changer import Changer
from pushd.log.crossing import Outcome
from pushd.log.live import Deleted, FirstMoved, Redacted, Revoked, Swept
from pushd.log.reader import ReadMessages
from pushd.log.rows import Moved
from pushd.log.store import connect_reader
from tests.log.support import append, delete, entry, opened, outcome, read, redact, swept, trim


async def test_a_read_fails_only_when_the_head_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads of the oldest messages there are, all the time, while these are cut and swept."""
    monkeypatch.setattr(sweeper, "PAUSE_S", 0.0)
    counts = {"whole": 0, "missing": 0, "unexplained": 0}
    async with opened(tmp_path) as log:
        await append(log, *(entry("news", number) for number in range(1, 1001)))
        reading = True

        def again() -> None:
            head = log.heads["news"]
            after = head.first - 1
            if not reading or after == head.seq:
                return

            def done(answer: Any) -> None:
                if isinstance(answer, list):
                    counts["whole"] += 1
                    assert head.first - 1 <= after
                else:
                    assert isinstance(answer, MissingMessages)
                    counts["missing"] += 1
                    counts["unexplained"] += head.first - 1 <= after
                again()

            log.read_messages(head, after, head.seq, 3, 1 << 20, done)

        for _ in range(4):
            again()
        for before in range(2, 1001):
            await trim(log, "news", before)
        reading = False
    assert counts["missing"]
    assert counts["whole"]
    assert not counts["unexplained"]


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Reads take place, and their answers wait: (one has been read, it may go on)."""
    has_read, may_answer = threading.Event(), threading.Event()
    real = ReadMessages.run

    def slow(job: ReadMessages, connection: Any) -> Any:
        found = real(job, connection)
        has_read.set()
        may_answer.wait()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ReadMessages, "run", slow)
        try:
            yield has_read, may_answer
        finally:
            may_answer.set()


@pytest.mark.parametrize(
    ("change", "stays_true"),
    [("trim 3", False), ("trim 2", True), ("redact 4", False), ("delete", False), ("none", True)],
)
async def test_what_was_read_before_a_change_is_not_given_out_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, stays_true: bool
) -> None:
    """Message 2 to 4 are read from the disk; then the channel is changed; then the answer comes."""
    async with opened(tmp_path) as log:
        await append(log, *(entry("news", number) for number in range(1, 6)))
        head = log.heads["news"]
        answers: list[Any] = []
        with held_up(monkeypatch) as (has_read, may_answer):
            log.read_messages(head, 1, 4, 100, 1 << 20, answers.append)
            await trio.to_thread.run_sync(has_read.wait)
            match change.split():
                case ["trim", before]:
                    await trim(log, "news", int(before))
                case ["redact", seq]:
                    await redact(log, "news", int(seq))
                case ["delete"]:
                    await delete(log, "news")
                    await append(log, *(entry("news", number) for number in range(1, 6)))
            may_answer.set()
            while not answers:
                await append(log, entry("other"))
        [answer] = answers
        assert isinstance(answer, list) == stays_true
        if not stays_true:
            assert isinstance(answer, MissingMessages)


async def test_changes_are_told_in_order_before_their_answers(tmp_path: Path) -> None:
    """Heads first, then who follows them, then who asked; each as it was at that commit."""
    heard: list[Any] = []
    async with opened(tmp_path) as log:
        log.on_advance = lambda advances: heard.extend(
            ("advance", one.head.epoch, one.head.seq) for one in advances
        )

        def changed(changes: list[Change]) -> None:
            for channel, head in changes:
                assert log.heads.get(channel) is head
                heard.append(("change", None if head is None else head.first))

        log.on_change = changed

        def note(what: str) -> Any:
            return lambda answer: heard.append((what, type(answer).__name__))

        log.submit(Append([entry("a"), entry("a")], "p", note("append")))
        log.trim("a", 2, note("trim"))
        log.submit(Append([entry("a")], "p", note("append")))
        log.delete("a", note("delete"))
        log.submit(Append([entry("a")], "p", note("append")))
        await append(log, entry("end"))
        epochs = [one[1] for one in heard if one[0] == "advance"][:3]
        second, first = epochs[2], epochs[0]
        assert heard[:10] == [
            ("advance", first, 2),
            ("append", "list"),
            ("change", 2),
            ("trim", "Position"),
            ("advance", first, 3),
            ("append", "list"),
            ("change", None),
            ("delete", "Position"),
            *heard[8:10],
        ]
        assert heard[8] == ("advance", second, 1)
        assert second > first


def is_on_disk(disk: Any, told: Any) -> bool:
    """Whether another connection sees what the writer is about to tell."""

    def has(sql: str, *values: object) -> bool:
        return disk.execute(sql, values).fetchone() is not None

    match told:
        case Moved():
            key = (told.log_id, told.seq)
            return has("SELECT 1 FROM channels WHERE log_id = ? AND head >= ?", *key)
        case FirstMoved(_, log_id, first):
            return has("SELECT 1 FROM channels WHERE log_id = ? AND first >= ?", log_id, first)
        case Deleted(_, log_id):
            return not has("SELECT 1 FROM channels WHERE log_id = ?", log_id)
        case Redacted(_, log_id):
            return has("SELECT 1 FROM messages WHERE log_id = ? AND type = 'redacted'", log_id)
        case Revoked((_, value), span):
            return has("SELECT 1 FROM revocations WHERE value = ?", value) == (span is not None)
        case Swept(_, log_id):
            return not has("SELECT 1 FROM messages WHERE log_id = ? AND seq < 3", log_id)
    raise AssertionError(told)


async def test_what_is_told_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody hears of it, and not only soon after."""
    seen: list[tuple[str, bool]] = []
    async with opened(tmp_path) as log:
        assert log._engine is not None
        post = log._engine._post
        with closing(connect_reader(tmp_path)) as disk:

            def posted(callback: Any, value: Any) -> None:
                if isinstance(value, Outcome):
                    seen.extend(
                        (type(told).__name__, is_on_disk(disk, told))
                        for told in (*value.moved, *value.effects)
                    )
                post(callback, value)

            monkeypatch.setattr(log._engine, "_post", posted)
            await append(log, *(entry("a", number) for number in range(9)))
            await trim(log, "a", 3)
            await swept(log)
            await redact(log, "a", 5)
            await outcome(lambda done: log.revoke("user", "bob", 4e9, done))
            await outcome(lambda done: log.unrevoke("user", "bob", done))
            await delete(log, "a")
            await swept(log)  # or the writer's thread still asks the disk when it is closed
            monkeypatch.undo()
    assert [what for what, there in seen if not there] == []
    kinds = {"Moved", "FirstMoved", "Swept", "Redacted", "Revoked", "Deleted"}
    assert {what for what, _ in seen} == kinds


async def test_one_change_is_told_for_many_of_a_channel(tmp_path: Path) -> None:
    """What waited together is told together, as it is in the end."""
    heard: list[list[Change]] = []
    async with opened(tmp_path) as log:
        await append(log, *(entry("a", n) for n in range(9)), *(entry("b", n) for n in range(9)))
        a: Head = log.heads["a"]
        log.on_change = heard.append
        answers: list[Any] = []
        for before in (2, 5, 3):
            log.trim("a", before, answers.append)
        log.redact("b", 1, answers.append)
        log.delete("b", answers.append)
        await outcome(lambda done: log.trim("a", 6, done))
    assert [one for told in heard for one in told if one.channel == "b"][-1] == ("b", None)
    assert [one for told in heard for one in told if one.channel == "a"][-1] == ("a", a)
    assert all(len({one.channel for one in told}) == len(told) for told in heard)


async def test_a_callback_of_changes_that_fails_harms_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, entry("a"), entry("a"))

        def broken(_: list[Change]) -> None:
            raise RuntimeError("broken callback")

        log.on_change = broken
        await trim(log, "a", 2)
        assert len(await read(log, "a", after=1)) == 1


@pytest.mark.parametrize("change", ["trim", "delete"])
async def test_the_loop_is_told_before_the_rows_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Of every cut: first the commit, then the word, then the sweeping."""
    order: list[str] = []
    real_sweep = Changer.sweep_if_due

    def sweep(changer: Changer) -> bool:
        before = changer._sweeper.swept_messages
        done = real_sweep(changer)
        if changer._sweeper.swept_messages > before:
            order.append("swept")
        return done

    monkeypatch.setattr(Changer, "sweep_if_due", sweep)
    async with opened(tmp_path) as log:
        await append(log, entry("a"), entry("a"))
        assert log._engine is not None
        changer = log._engine.writer._changer
        post = changer._post

        def posted(result: Any) -> None:
            if any(isinstance(effect, FirstMoved | Deleted) for effect in result.effects):
                order.append("told")
            post(result)

        monkeypatch.setattr(changer, "_post", posted)
        await (trim(log, "a", 2) if change == "trim" else delete(log, "a"))
        assert log.statistics().cut_messages == (1 if change == "trim" else 2)
        while log.statistics().garbage or "swept" not in order:
            await append(log, entry("b"))
        assert log.statistics().swept_messages == log.statistics().cut_messages
    assert order == ["told", "swept"]
