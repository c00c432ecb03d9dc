"""What is kept by age, number and bytes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pushd.core.namespaces import Retention
from pushd.errors import Overloaded, StorageFull
from pushd.groups import Groups
from pushd.log import Change, Log, expire, retention
from pushd.log.activity import Activity
from pushd.log.crossing import Signal
from pushd.log.damage import Damage
from pushd.log.holds import Holds
from pushd.log.idclock import IdClock
from pushd.log.ledger import Ledger
from pushd.log.requests import MESSAGE_OVERHEAD, Head
from pushd.log.retention import UNBOUNDED, RetentionService
from pushd.log.startup import open_log
from pushd.log.store import DATABASE
from pushd.log.sweeper import Sweeper
from tests.log.invariants import check
from tests.log.support import (
    OPTIONS,
    append,
    entry,
    on_disk,
    opened,
    outcome,
    read,
    shut,
    swept,
    trim,
)
from tests.log.vaults import change


async def go_round(log: Log, keep: Retention, now_s: float | None = None) -> None:
    log.retention = lambda _: keep
    await log._make_retention()._go_round(now_s)


class Writing:
    """Messages at times of our own: the writer is told them instead of the wall clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000_000.0
        monkeypatch.setattr("time.time_ns", lambda: int(self.now_s * 1e9))

    async def write(self, log: Log, *sizes: int, channel: str = "c", step_s: float = 1.0) -> None:
        for size in sizes:
            self.now_s += step_s
            await append(log, entry(channel, "x" * (size - 2)))


@settings(max_examples=60, deadline=None)
# More waits to be swept than has to be cut.
@example(sizes=[100] * 10, age=None, most=None, size=700, cut=6, look_at=1000)
# Five of a hundred bytes each fit exactly.
@example(sizes=[36] * 10, age=None, most=None, size=500, cut=0, look_at=1000)
@given(
    sizes=st.lists(st.integers(2, 300), min_size=1, max_size=40),
    age=st.none() | st.integers(0, 45),
    most=st.none() | st.integers(1, 45),
    size=st.none() | st.integers(1, 8000),
    cut=st.integers(0, 20),
    look_at=st.sampled_from([3, 1000]),
)
def test_the_newest_that_fit_are_kept(
    sizes: list[int], age: int | None, most: int | None, size: int | None, cut: int, look_at: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(expire, "LOOK_AT", look_at)
        trio.run(keeps, Path(directory), Writing(patch), sizes, Retention(age, most, size), cut)


async def keeps(
    directory: Path, clock: Writing, sizes: list[int], keep: Retention, cut: int
) -> None:
    async with opened(directory) as log:
        await clock.write(log, *sizes)
        # Not swept yet when retention comes.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Sweeper, "wake", lambda _: None)
            await trim(log, "c", min(cut, len(sizes)))
            for _ in range(3):
                await go_round(log, keep, clock.now_s)
        log._put(Signal.TIDY)
        for _ in range(20):
            await go_round(log, keep, clock.now_s)
            await swept(log)
        first = expected_first(sizes, keep, max(cut and min(cut, len(sizes)), 1))
        head = log.heads["c"]
        assert (head.first, head.seq) == (first, len(sizes))
        assert head.bytes == sum(size + MESSAGE_OVERHEAD for size in sizes[first - 1 :])
        assert on_disk(directory, "c") == list(range(first, len(sizes) + 1))
    check(directory)


def expected_first(sizes: list[int], keep: Retention, first: int) -> int:
    """One message a second, the last one now."""
    head = len(sizes)
    if keep.messages is not None:
        first = max(first, head + 1 - keep.messages)
    if keep.age_s is not None:
        first = max(first, head - int(keep.age_s))
    if keep.bytes is not None:
        while first < head and sum(sizes[first - 1 :]) + 64 * (head + 1 - first) > keep.bytes:
            first += 1
    return first


async def test_the_oldest_to_keep_is_found_whatever_the_times(tmp_path: Path) -> None:
    """Several messages of one time, gaps, any first: as looking at each would find it."""
    times = [10, 10, 10, 20, 21, 21, 30, 47, 47, 47, 47, 48, 60]
    async with opened(tmp_path) as log:
        await append(log, *(entry("c") for _ in times))
    opened_log = open_log(tmp_path, OPTIONS)
    connection = opened_log.store.connection
    connection.executemany(
        "UPDATE messages SET at = ? WHERE seq = ?", [(at, seq) for seq, at in enumerate(times, 1)]
    )
    clock = IdClock(None, 0.0)
    ledger = Ledger(connection, 0, clock, Damage(), Holds(connection, Activity(clock, 0.0)))
    channel = ledger.find("c")
    assert channel is not None
    for first in range(1, len(times) + 1):
        for oldest in range(5, 65):
            kept = [seq for seq, at in enumerate(times, 1) if seq >= first and at >= oldest]
            found = ledger.first_since(channel._replace(first=first), oldest)
            assert found == min(kept, default=len(times) + 1), (first, oldest)
    shut(opened_log)


async def test_all_may_be_too_old_and_the_channel_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Writing(monkeypatch)
    heard: list[Change] = []
    keep = Retention(10.0, None, None)
    async with opened(tmp_path) as log:
        log.on_change = heard.extend
        await clock.write(log, 5, 5, 5)
        await go_round(log, keep, clock.now_s + 8)
        assert heard == []
        await go_round(log, keep, clock.now_s + 100)
        assert heard == [Change("c", log.heads["c"])]
        await go_round(log, keep, clock.now_s + 100)
        assert len(heard) == 1
        await clock.write(log, 5)
        assert (log.heads["c"].first, log.heads["c"].seq) == (4, 4)
        await go_round(log, keep, clock.now_s + 9)
        assert len(await read(log, "c", after=3)) == 1


async def test_every_namespace_has_its_own_bounds(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        for channel in ("a:x", "b:x", "c:x"):
            await append(log, *(entry(channel) for _ in range(9)))
        keep = {"a": Retention(None, 3, None), "b": Retention(None, 5, None)}
        log.retention = lambda channel: keep.get(channel[0], retention.UNBOUNDED)
        await log._make_retention()._go_round(None)
        assert {name: head.first for name, head in log.heads.items()} == {
            "a:x": 7,
            "b:x": 5,
            "c:x": 1,
        }


async def test_more_channels_than_one_request_may_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the writer comes to one of them at a time."""
    monkeypatch.setattr(expire, "BUDGET_S", 0.0)
    monkeypatch.setattr(retention, "SLICE", 50)
    monkeypatch.setattr(retention, "REST_S", 0.0)
    async with opened(tmp_path) as log:
        await append(log, *(entry(f"c{number % 120}") for number in range(240)))
        await outcome(lambda done: log.delete("c7", done))
        await go_round(log, Retention(None, 1, None))
        assert {head.first for head in log.heads.values()} == {2}
        assert len(log._live.ring) == len(log.heads) == 119


async def test_what_needs_nothing_asks_nothing_of_the_writer() -> None:
    """Of many channels only heads are looked at, each once a round; the ring loses no one."""
    asked: list[Any] = []
    looked: list[str] = []

    heads = {f"c{n}": Head(f"c{n}", n, "e", 5, 1, 9_000, n, 500, 5_000) for n in range(3_000)}
    live = retention.Live()
    live.load(heads, {}, Groups())

    def rules(channel: str) -> Retention:
        looked.append(channel)
        return Retention(10.0, 5, 500, last=0.0)

    service = RetentionService(live, 60.0, rules, asked.append, asked.append, asked.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "REST_S", 0.0)
        await service._go_round(15.0)
        assert (asked, looked) == ([], list(heads))
        await service._go_round(None)
    assert [head.channel for head in live.ring] == list(heads)


async def test_the_service_runs_with_the_log(tmp_path: Path) -> None:
    options = replace(OPTIONS, retention_interval_s=0.01)
    told = trio.Event()
    log = Log(tmp_path, options)
    log.retention = lambda _: Retention(None, 2, None)
    log.on_change = lambda _: told.set()
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        await append(log, *(entry("news", number) for number in range(5)))
        await told.wait()
        while log.heads["news"].first < 4:
            await read(log, "news", after=4)
        log.close()


async def test_a_damaged_channel_keeps_no_other_from_being_cut(
    tmp_path: Path, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Writing(monkeypatch)
    async with opened(tmp_path) as log:
        for channel in "abc":
            await clock.write(log, 10, 10, channel=channel)
    lost = "DELETE FROM messages WHERE log_id = (SELECT log_id FROM channels WHERE name = 'a')"
    change(tmp_path / DATABASE, lost)
    async with opened(tmp_path) as log:
        await go_round(log, Retention(0.5, None, None), clock.now_s)
        assert {name: head.first for name, head in log.heads.items()} == {"a": 1, "b": 3, "c": 2}
    said = [one["event"] for one in logged if one["log_level"] == "error"]
    assert said == ["retention cannot go on: the log is damaged"]


async def test_a_writer_that_refuses_is_asked_again() -> None:
    """A full disk, or too many changes that wait: the service goes on, for as long as it takes."""
    asked: list[Any] = []
    enough = trio.Event()
    live = retention.Live()
    live.load({"c": Head("c", 1, "e", 9, 1, 0, 1)}, {}, Groups())

    def refuse(request: Any) -> None:
        asked.append(request)
        if len(asked) % 2:
            raise Overloaded("Too many changes wait.")
        request.done(StorageFull("The disk is full."))
        if len(asked) >= 6:
            enough.set()

    rules = Retention(None, 1, None)
    service = RetentionService(live, 0.001, lambda _: rules, refuse, refuse, lambda _: None)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.run)
            await enough.wait()
            nursery.cancel_scope.cancel()
    assert [head.channel for head in live.ring] == ["c"]


async def test_upkeep_is_told_whether_the_wall_clock_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What goes by the steady clock is looked at in any case."""
    believed: list[float | None] = [None]
    heard: list[tuple[float | None, Signal]] = []
    enough = trio.Event()
    monkeypatch.setattr(retention.ClockGuard, "look", lambda _: believed[0])

    def signal(what: Signal) -> None:
        heard.append((believed[0], what))
        believed[0] = 1e9 if believed[0] is None else None
        if len(heard) == 4:
            enough.set()

    service = RetentionService(
        *(retention.Live(), 0.001, lambda _: UNBOUNDED),
        *(lambda request: request.done(None), lambda job: None, signal),
    )
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.run)
            await enough.wait()
            nursery.cancel_scope.cancel()
    assert heard[:4] == [(None, Signal.TIDY_BY_STEADY_CLOCK), (1e9, Signal.TIDY)] * 2


async def test_a_rule_that_fails_does_not_end_the_service(
    tmp_path: Path, logged: list[dict[str, Any]]
) -> None:
    log = Log(tmp_path, replace(OPTIONS, retention_interval_s=0.01))
    fails = [True, True]

    def rules(_: str) -> Retention:
        if fails:
            fails.pop()
            raise RuntimeError("a bug")
        return Retention(None, 1, None)

    log.retention = rules
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        await append(log, entry("news"), entry("news"))
        while log.heads["news"].first < 2:
            await read(log, "news", after=1)
        log.close()
    assert [one["event"] for one in logged].count("retention failed") == 2
