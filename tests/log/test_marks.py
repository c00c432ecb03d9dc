"""Marks only rise, are written behind, and are seen on every step of their way."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.core.positions import START, Cursor
from pushd.log import Log, Marks
from pushd.log.marks import SEEN, MarkBuffer, MarkKey, newest
from tests.log.support import OPTIONS, answer, append, delete, entry, marks, opened

NEVER = replace(OPTIONS, write_behind_s=3600.0)


async def fill(log: Log, *channels: str, count: int = 9) -> None:
    await append(log, *(entry(channel) for channel in channels for _ in range(count)))


def cursor(log: Log, channel: str, seq: int) -> Cursor:
    return Cursor(log.heads[channel].epoch, seq)


async def test_marks_are_seen_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, NEVER) as log:
        await fill(log, "news", "sports")
        log.record_delivered("alice", "phone", "news", cursor(log, "news", 4))
        log.record_delivered("alice", "phone", "news", cursor(log, "news", 2))
        log.record_delivered("alice", "tablet", "news", cursor(log, "news", 7))
        log.record_read("alice", "sports", cursor(log, "sports", 3))
        log.record_read("bob", "news", cursor(log, "news", 9))
        expected = {
            "news": Marks(cursor(log, "news", 4), None),
            "sports": Marks(None, cursor(log, "sports", 3)),
            "unwritten": Marks(None, None),
        }
        assert await marks(log, "alice", "phone", "news", "sports", "unwritten") == expected
        assert log.statistics().dirty_marks == 4
    async with opened(tmp_path, NEVER) as log:
        assert log.statistics().dirty_marks == 0
        assert await marks(log, "alice", "phone", "news", "sports", "unwritten") == expected
        assert (await marks(log, "alice", None, "news"))["news"] == Marks(None, None)
        log.record_delivered("alice", "phone", "news", cursor(log, "news", 3))
    async with opened(tmp_path) as log:
        assert await marks(log, "alice", "phone", "news", "sports", "unwritten") == expected


async def test_marks_beyond_the_head_or_of_another_life_are_ignored(tmp_path: Path) -> None:
    async with opened(tmp_path, NEVER) as log:
        await fill(log, "news", count=3)
        for wrong in (cursor(log, "news", 4), Cursor("zzzzzzzzz", 1), START):
            log.record_delivered("alice", "phone", "news", wrong)
            log.record_read("alice", "news", wrong)
        log.record_delivered("alice", "phone", "unwritten", START)
        assert (await marks(log, "alice", "phone", "news"))["news"] == Marks(None, None)
        assert log.statistics().dirty_marks == 0


async def test_marks_are_written_without_any_publish(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(OPTIONS, write_behind_s=0.01)) as log:
        await fill(log, "news")
        for seq in (1, 2, 3):
            log.record_read("alice", "news", cursor(log, "news", seq))
            while log.statistics().dirty_marks:
                await marks(log, "alice", None, "news")
        statistics = log.statistics()
        assert statistics.marks == 3
        assert (await marks(log, "alice", None, "news"))["news"].read == cursor(log, "news", 3)


async def test_very_many_marks_are_written_at_once_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.log.marks.FLUSH_KEYS", 250)
    monkeypatch.setattr("pushd.log.marks.SLICE", 100)
    async with opened(tmp_path, NEVER) as log:
        await fill(log, "news")
        for number in range(250):
            log.record_read(f"user-{number}", "news", cursor(log, "news", 5))
        while log.statistics().dirty_marks:
            assert (await marks(log, "user-249", None, "news"))["news"].read is not None
        assert log.statistics().marks == 250


KEYS = st.tuples(st.sampled_from("ab"), st.sampled_from([None, "d"]), st.integers(1, 2))
CURSORS = st.builds(Cursor, st.sampled_from(["000000001", "000000002"]), st.integers(0, 5))
STEPS = st.lists(st.one_of(st.tuples(KEYS, CURSORS), st.sampled_from(["take", "written"])))


@given(STEPS)
def test_no_mark_is_missed_on_its_way(steps: list[tuple[MarkKey, Cursor] | str]) -> None:
    """Whatever is recorded, taken, retried and written: memory and disk together know the most."""
    signals: Counter[str] = Counter()
    buffer = MarkBuffer(lambda: signals.update(["first"]), lambda: signals.update(["many"]))
    model: dict[MarkKey, Cursor] = {}
    disk: dict[MarkKey, Cursor] = {}
    taken: list[tuple[MarkKey, Cursor]] = []
    for step in steps:
        if step == "take":
            taken = buffer.next_slice()
        elif step == "written":
            if taken:
                for key, value in taken:
                    disk[key] = max(value, disk.get(key, value))
                assert buffer.slice_written() is False
                taken = []
        else:
            key, value = step
            dirty_before = buffer.has_dirty()
            firsts = signals["first"]
            buffer.record(key, value)
            assert signals["first"] == firsts + (not dirty_before)
            model[key] = max(value, model.get(key, value))
        known = dict(disk)
        for key, value in buffer.all_unwritten():
            known[key] = max(value, known.get(key, value))
        assert known == model
        for user in "ab":
            on_disk = (
                {c: v for (u, d, c), v in disk.items() if (u, d) == (user, "d")},
                {c: v for (u, d, c), v in disk.items() if (u, d) == (user, None)},
            )
            delivered, read = newest(on_disk, buffer.unwritten(user, "d", [1, 2]))
            assert delivered == {c: v for (u, d, c), v in model.items() if (u, d) == (user, "d")}
            assert read == {c: v for (u, d, c), v in model.items() if (u, d) == (user, None)}


# -- the first sight of a user


async def since(log: Log, user: str) -> Cursor | None:
    found = await marks(log, user, None, "all", "news")
    assert found["news"].since is None
    return found["all"].since


async def test_the_first_sight_of_a_user_stays(tmp_path: Path) -> None:
    async with opened(tmp_path, NEVER) as log:
        log.record_seen("early")  # before anything was sent to all
        await fill(log, "all", count=3)
        assert await since(log, "alice") is None
        log.record_seen("alice")
        first = cursor(log, "all", 3)
        await fill(log, "all", count=2)
        log.record_seen("alice")
        log.record_read("alice", "all", cursor(log, "all", 5))
        assert await since(log, "alice") == first
        assert (await marks(log, "alice", None, "all"))["all"].read == cursor(log, "all", 5)
    for _ in range(2):
        async with opened(tmp_path, NEVER) as log:
            # It is on disk; what is recorded once more changes nothing, here or there.
            log.record_seen("alice")
            assert await since(log, "alice") == first
            assert await since(log, "early") == START
            assert await since(log, "bob") is None
            of_user = await answer(lambda done, log=log: log.read_user("alice", done))
            assert of_user["all"].since == first
            assert await answer(lambda done, log=log: log.read_user("bob", done)) == {}


async def test_the_first_sight_is_no_receipt_and_outlives_the_channel(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await fill(log, "all", count=3)
        log.record_seen("alice")
        first = cursor(log, "all", 3)
        receipts = await answer(lambda done: log.read_receipts("all", 1, 10, None, done))
        assert receipts.users == {}
        await delete(log, "all")
        assert await since(log, "alice") == first
        log.record_seen("bob")
        assert await since(log, "bob") == START
        await answer(lambda done: log.erase_user("alice", done))
        assert await since(log, "alice") is None


@given(st.lists(st.sampled_from(["record", "take", "written"])))
def test_of_the_first_sight_the_first_one_counts(steps: list[str]) -> None:
    buffer = MarkBuffer(lambda: None, lambda: None)
    key: MarkKey = ("a", None, SEEN)
    disk: dict[int, Cursor] = {}
    taken: list[tuple[MarkKey, Cursor]] = []
    first: Cursor | None = None
    for number, step in enumerate(steps):
        if step == "record":
            buffer.record(key, Cursor("000000001", number))
            first = first or Cursor("000000001", number)
        elif step == "take":
            taken = buffer.next_slice()
        elif taken:
            disk.setdefault(SEEN, taken[0][1])
            buffer.slice_written()
            taken = []
        _, known = newest(({}, disk), buffer.unwritten("a", None, [SEEN]))
        assert known.get(SEEN) == first
