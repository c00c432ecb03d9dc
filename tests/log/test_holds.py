"""A window that is held for slow active devices: to whom it is held, and how long at most."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pushd.core.namespaces import Hold, Retention
from pushd.core.positions import Cursor
from pushd.log import Log, expire, slowest
from pushd.log.requests import MESSAGE_OVERHEAD
from pushd.log.slowest import Scan
from tests.log.clocks import Clock
from tests.log.invariants import check
from tests.log.support import (
    OPTIONS,
    append,
    delete,
    entry,
    idle,
    on_disk,
    opened,
    swept,
    trim,
    written,
)

MINUTE = 60.0
# Between 31 and 32 minutes after it was heard of, a device may count or not.
ACTIVE = replace(OPTIONS, write_behind_s=3600.0, active_s=30.5 * MINUTE)


async def go_round(log: Log, keep: Retention, now_s: float | None) -> None:
    """Until it has nothing to cut."""
    log.retention = lambda _: keep
    first = {}
    while first != (first := {name: head.first for name, head in log.heads.items()}):
        await log._make_retention()._go_round(now_s)
        await swept(log)


@dataclass
class Device:
    seq: int
    heard_s: float


# What happens: messages of these sizes, a device gets so many more, a device asks again for what it
# has, time passes (minutes), an administrator trims so many, the server stops for so long.
DEVICES = st.sampled_from(["phone", "tablet", "laptop"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.lists(st.integers(2, 200), min_size=1, max_size=6)),
        st.tuples(st.just("pull"), DEVICES, st.integers(0, 8)),
        st.tuples(st.just("begin"), DEVICES, st.integers(0, 8)),
        st.tuples(st.just("wait"), st.integers(1, 20)),
        st.tuples(st.just("trim"), st.integers(1, 3)),
        st.tuples(st.just("stop"), st.integers(0, 40)),
        st.tuples(st.just("round")),
    ),
    min_size=3,
    max_size=25,
)
SIX, ROUND = ("publish", [10] * 6), ("round",)
SLOW, ALL = ("pull", "phone", 1), ("pull", "phone", 6)
LAST_TWO = Retention(None, 2, None, Hold(90 * MINUTE, None, None))
KEEPS = st.builds(
    Retention,
    st.none() | st.integers(1, 30).map(lambda minutes: minutes * MINUTE),
    st.none() | st.integers(1, 10),
    st.none() | st.integers(100, 1000),
    st.builds(
        Hold,
        st.integers(31, 90).map(lambda minutes: minutes * MINUTE),
        st.none() | st.integers(10, 20),
        st.none() | st.integers(1000, 3000),
    ),
    last=st.sampled_from([0.0, 0.1, 0.9]),
)


@settings(max_examples=80, deadline=None)
@given(STEPS, KEEPS, st.sampled_from([0, 2000]))
@example([SIX, SLOW, SIX, ROUND, ("pull", "phone", 9)], LAST_TWO, 2000)
# One that begins behind what is known.
@example([SIX, ALL, SIX, ALL, ROUND, ("begin", "laptop", 0), SIX], LAST_TWO, 2000)
# It has fallen out, before it was looked for or after.
@example([SIX, SLOW, ("trim", 3), ("trim", 2), SIX], LAST_TWO, 2000)
@example([SIX, SLOW, SIX, ROUND, ("trim", 3), SIX], LAST_TWO, 2000)
# It comes no more; it comes and stands still; nobody can come.
@example([SIX, SLOW, SIX, ROUND, ("wait", 20), ("wait", 20)], LAST_TWO, 2000)
@example([SIX, SLOW, SIX, ROUND, ("wait", 20), ("pull", "phone", 0), ("wait", 20)], LAST_TWO, 0)
@example([SIX, SLOW, SIX, ROUND, ("stop", 20), ("stop", 20), ("stop", 20), ROUND], LAST_TWO, 2000)
def test_what_is_held_is_what_active_devices_lack(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Any, ...]],
    keep: Retention,
    piece: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slowest, "PIECE", piece)
        patch.setattr(expire, "BUDGET_S", 0.0)
        world = World(tmp_path_factory.mktemp("log"), Clock(patch), keep)
        trio.run(world.run, steps)


class World:
    """The log beside a model of it."""

    def __init__(self, directory: Path, clock: Clock, keep: Retention) -> None:
        self.directory, self.clock, self.keep = directory, clock, keep
        self.messages: list[tuple[float, int]] = []
        self.first = 1
        self.devices: dict[str, Device] = {}
        self.log: Log

    async def run(self, steps: list[tuple[Any, ...]]) -> None:
        left = deque(steps)
        while left:
            async with opened(self.directory, ACTIVE) as self.log:
                while left and left[0][0] != "stop":
                    name, *arguments = left.popleft()
                    self.clock.now_s += 1.0
                    await getattr(self, f"do_{name}")(*arguments)
                await self.do_round()
                await self.note()
            if left:
                self.stopped(left.popleft()[1])
        check(self.directory)

    async def do_publish(self, sizes: list[int]) -> None:
        for size in sizes:
            await append(self.log, entry("c", "x" * (size - 2)))
            self.messages.append((self.clock.now_s, size + MESSAGE_OVERHEAD))

    async def do_pull(self, device: str, more: int) -> None:
        """One that is known goes on from where it was; reset when that is gone."""
        known = self.devices.get(device)
        start = self.first - 1 if known is None else max(known.seq, self.first - 1)
        await self.record(device, min(start + more, len(self.messages)))

    async def do_begin(self, device: str, at: int) -> None:
        """From a cursor of its own, that may lie behind the one on record."""
        await self.record(device, min(self.first - 1 + at, len(self.messages)))

    async def record(self, device: str, seq: int) -> None:
        if not self.messages or not seq:
            return
        self.log.record_delivered("u", device, "c", Cursor(self.log.heads["c"].epoch, seq))
        await written(self.log)
        known = self.devices.get(device)
        rises = known is None or seq > known.seq
        self.devices[device] = Device(seq if rises else known.seq, self.clock.now_s)

    async def do_wait(self, minutes: int) -> None:
        self.clock.now_s += minutes * MINUTE

    async def do_trim(self, count: int) -> None:
        """No device keeps an administrator from it."""
        if self.messages:
            self.first = min(self.first + count, len(self.messages) + 1)
            await trim(self.log, "c", self.first)

    async def note(self) -> None:
        """The time, as retention does every ten minutes."""
        service = self.log._retention
        assert service is not None
        service._noted = -math.inf
        service._note(self.clock.now_s)
        await idle(self.log)

    def stopped(self, minutes: int) -> None:
        """Nobody can be heard of meanwhile."""
        self.clock.now_s += minutes * MINUTE
        for device in self.devices.values():
            device.heard_s += minutes * MINUTE

    async def do_round(self) -> None:
        await go_round(self.log, self.keep, self.clock.now_s)
        if not self.messages:
            return
        head = self.log.heads["c"]
        expected = self.expected(31 * MINUTE), self.expected(32 * MINUTE)
        assert head.first in expected, (head, expected, self.devices)
        self.first = head.first
        assert on_disk(self.directory, "c") == list(range(head.first, len(self.messages) + 1))

    def expected(self, active_s: float) -> int:
        """The hard bounds may make a device fall out, which then holds nothing."""
        now = self.clock.now_s
        active = [each.seq for each in self.devices.values() if now - each.heard_s < active_s]
        usual = self.first_within(*self.keep[:3])
        assert self.keep.hold is not None
        hard = self.first_within(*self.keep.hold)
        first, before = self.first, 0
        while first > before:
            waited_for = [seq for seq in active if seq >= first - 1]
            held = min(usual, max(hard, min(waited_for, default=usual) + 1))
            before, first = first, max(first, held)
        return first

    def first_within(self, age_s: float | None, most: int | None, size: int | None) -> int:
        first, head = self.first, len(self.messages)
        if most is not None:
            first = max(first, head + 1 - most)
        if age_s is not None:
            oldest = int((self.clock.now_s - age_s) * 1000)
            young = (seq for seq, (at, _) in enumerate(self.messages, 1) if at * 1000 >= oldest)
            first = max(first, next(young, head + 1))
        while size is not None and first < head:
            if sum(each for _, each in self.messages[first - 1 :]) <= size:
                break
            first += 1
        return first


async def test_nothing_is_held_where_no_rule_says_so(tmp_path: Path, clock: Clock) -> None:
    async with opened(tmp_path, ACTIVE) as log:
        await append(log, *(entry("c") for _ in range(9)))
        log.record_delivered("u", "phone", "c", Cursor(log.heads["c"].epoch, 1))
        await written(log)
        await go_round(log, Retention(None, 2, None), clock.now_s)
        assert log.heads["c"].first == 8


# Nobody else looks at devices.
HOLDS = Retention(None, 2, None, Hold(3600.0, None, None), last=0.0)


async def test_a_device_of_many_is_found_in_pieces(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that appears behind what was looked at already counts as well."""
    looks: list[Scan] = []
    look = Scan.look

    def counted(scan: Scan, connection: Any) -> None:
        looks.append(scan)
        look(scan, connection)

    monkeypatch.setattr(Scan, "look", counted)
    monkeypatch.setattr(slowest, "PIECE", 10)
    monkeypatch.setattr(expire, "BUDGET_S", 0.0)
    async with opened(tmp_path, ACTIVE) as log:
        await append(log, *(entry("c") for _ in range(9)))
        epoch = log.heads["c"].epoch
        for number in range(100):
            log.record_delivered(f"u{number:03}", "phone", "c", Cursor(epoch, 9))
        log.record_delivered("u050", "slow", "c", Cursor(epoch, 3))
        await written(log)
        await go_round(log, HOLDS, clock.now_s)
        assert (log.heads["c"].first, len(looks)) == (4, 10)
        # One look at the device that stands still is enough from now on.
        await go_round(log, HOLDS, clock.now_s)
        assert len(looks) == 10
        log.record_delivered("u000", "slow", "c", Cursor(epoch, 5))
        log.record_delivered("u050", "slow", "c", Cursor(epoch, 9))
        await written(log)
        await go_round(log, HOLDS, clock.now_s)
        assert log.heads["c"].first == 6
        await delete(log, "c")
        assert not log._started_engine.writer.holds._floors


async def test_while_it_is_not_known_nothing_goes_but_what_is_beyond_the_hold(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.log.holds.Holds._look", lambda *_: False)
    answers: list[Any] = []
    async with opened(tmp_path, ACTIVE) as log:
        await append(log, *(entry("c") for _ in range(9)))
        log.retention = lambda _: Retention(None, 2, None, Hold(3600.0, 6, None))
        service = log._make_retention()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service._go_round, clock.now_s)
            while log.heads["c"].first < 4:
                await idle(log)
            for _ in range(3):  # it goes on asking, in vain
                await idle(log)
            nursery.cancel_scope.cancel()
        assert log.heads["c"].first == 4
        answers.append(service.held.messages(log.heads["c"]))
    assert answers == [4]


async def test_what_is_held_is_looked_at_now_and_then(tmp_path: Path, clock: Clock) -> None:
    """Each time only when it goes beyond the hold."""
    asked: list[Any] = []
    async with opened(tmp_path, ACTIVE) as log:
        await append(log, *(entry("c") for _ in range(9)))
        log.record_delivered("u", "phone", "c", Cursor(log.heads["c"].epoch, 2))
        await written(log)
        log.retention = lambda _: Retention(None, 2, None, Hold(3600.0, 9, None))
        service = log._make_retention()
        request = service._request
        service._request = lambda one: (asked.append(one), request(one))[1]
        for _ in range(3):
            await service._go_round(clock.now_s)
        assert (log.heads["c"].first, len(asked)) == (3, 1)
        assert service.held.messages(log.heads["c"]) == 5
        assert [head.channel for head in service.held.channels()] == ["c"]
        await append(log, *(entry("c") for _ in range(3)))
        await service._go_round(clock.now_s)
        assert (log.heads["c"].first, len(asked)) == (4, 2)
        service.held._again_s = -1.0
        log.record_delivered("u", "phone", "c", Cursor(log.heads["c"].epoch, 12))
        await written(log)
        await append(log, *(entry("c") for _ in range(3)))
        await service._go_round(clock.now_s)
        await service._go_round(clock.now_s)
        assert log.heads["c"].first == 13
        await append(log, *(entry("c") for _ in range(3)))
        await service._go_round(clock.now_s)
        assert service.held.messages(log.heads["c"]) == 4
        log.record_delivered("u", "phone", "c", Cursor(log.heads["c"].epoch, 18))
        await written(log)
        await service._go_round(clock.now_s)
        assert (log.heads["c"].first, list(service.held.channels())) == (17, [])
