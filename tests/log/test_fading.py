"""Ladders are true, reach as far as they must, and nobody falls out untold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.fading import NO_LADDERS
from pushd.core.namespaces import Namespaces, Retention, Rules
from pushd.core.positions import Cursor
from pushd.core.pulling import Position
from pushd.errors import Expired, StorageBroken
from pushd.log import Log, fading
from pushd.log.fading import Fader
from pushd.log.requests import MESSAGE_OVERHEAD, Head
from pushd.places import Places
from tests.log.clocks import Clock
from tests.log.support import OPTIONS, append, delete, entry, opened, redact, swept, trim

LATER = replace(OPTIONS, write_behind_s=3600.0)


async def go_round(log: Log, keep: Retention, now_s: float) -> None:
    log.retention = lambda _: keep
    await log._make_retention()._go_round(now_s)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.lists(st.integers(2, 300), min_size=1, max_size=9)),
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("trim"), st.integers(1, 5)),
        st.tuples(st.just("restart")),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=30, deadline=None)
@given(
    STEPS,
    st.integers(20, 400).map(float),
    st.integers(100, 5000),
    st.sampled_from([1, 3, 2000]),
)
def test_ladders_are_true(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Any, ...]],
    age_s: float,
    size: int,
    piece: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fading, "PIECE", piece)
        clock = Clock(patch)
        keep = Retention(age_s, None, size)
        trio.run(climb, tmp_path_factory.mktemp("log"), clock, steps, keep)


async def climb(
    directory: Path, clock: Clock, steps: list[tuple[Any, ...]], keep: Retention
) -> None:
    messages: list[tuple[int, int]] = []
    left: Iterator[tuple[Any, ...]] = iter([*steps, ("wait", 1)])
    ended = False
    while not ended:
        async with opened(directory, LATER) as log:
            ended = True
            for name, *arguments in left:
                if name == "restart":
                    ended = False
                    break
                await act(log, clock, messages, name, *arguments)
                for _ in range(4):
                    await go_round(log, keep, clock.now_s)
                    await swept(log)
                if messages:
                    check_ladders(log.heads["c"], messages, keep, clock.now_s)


async def act(
    log: Log, clock: Clock, messages: list[tuple[int, int]], name: str, argument: Any
) -> None:
    if name == "publish":
        for size in argument:
            clock.now_s += 1
            await append(log, entry("c", "x" * (size - 2)))
            messages.append((int(clock.now_s * 1000), size + MESSAGE_OVERHEAD))
    elif name == "wait":
        clock.now_s += argument
    elif messages:
        await trim(log, "c", min(log.heads["c"].first + argument, len(messages) + 1))


def check_ladders(
    head: Head, messages: list[tuple[int, int]], keep: Retention, now_s: float
) -> None:
    ages, sizes = head.ladders
    for seq, at in ages:
        assert all(each >= at for each, _ in messages[seq:]), (ages, messages)
        # As high as it may be: it is the first of them.
        assert seq < head.first or messages[seq - 1][0] < at
    for seq, key in sizes:
        if seq >= head.first - 1:
            assert head.added - key == sum(size for _, size in messages[seq:])
    if head.first > head.seq:
        return
    assert keep.age_s is not None
    assert keep.bytes is not None
    threshold = (now_s - keep.age_s * (1 - keep.last)) * 1000
    if head.first_at < min(threshold, head.at):
        assert ages[-1][1] >= min(threshold, head.at)
    # One step is never wider than a twelfth of one and a half parts, or one message.
    unit = keep.bytes * keep.last * 1.5 / fading.STEPS
    if head.bytes > keep.bytes * (1 - keep.last):
        assert sizes[-1][0] >= head.seq or sizes[-1][1] >= head.added - keep.bytes * (1 - keep.last)
        for (seq, _), (following, _) in pairwise(sizes):
            inner = sum(size for _, size in messages[seq : following - 1])
            assert inner <= max(unit, 1), sizes


async def test_what_is_young_is_not_looked_up(tmp_path: Path, clock: Clock) -> None:
    jobs: list[Any] = []
    keep = Retention(100.0, None, 10_000)
    async with opened(tmp_path, LATER) as log:
        await append(log, entry("c", "x" * 100))
        clock.now_s += 1
        await append(log, *(entry("c", "x" * 100) for _ in range(8)))
        fader = Fader(log._live, jobs.append, 1.0)
        for ago, wanted in [(10, 0), (80, 0), (88, 1), (200, 1)]:
            now_ms = int((clock.now_s + ago) * 1000)
            assert len(fader.jobs(log.heads["c"], keep, now_ms)) == wanted, ago
            assert fader.jobs(log.heads["c"], keep._replace(last=0.0), now_ms) == []
        await append(log, *(entry("c", "x" * 100) for _ in range(45)))
        now_ms = int(clock.now_s * 1000)
        assert len(fader.jobs(log.heads["c"], keep, now_ms)) == 1


async def test_a_ladder_that_is_high_enough_is_left_alone(tmp_path: Path, clock: Clock) -> None:
    """Looked up each minute (a round), and never for what does not change."""
    looked: list[float] = []
    keep = Retention(1000.0, None, None)
    async with opened(tmp_path, LATER) as log:
        log.retention = lambda _: keep
        service = log._make_retention()
        service._fader._read = lambda job: (looked.append(clock.now_s), log._read(job))[0]
        for _ in range(60):
            clock.now_s += 30
            await append(log, entry("c"))
            await service._go_round(clock.now_s)
        assert 8 <= len(looked) <= 16
        assert len(log.heads["c"].ladders.ages) <= 2 * fading.STEPS
        for _ in range(20):
            clock.now_s += 60
            await service._go_round(clock.now_s)
        before = len(looked)
        for _ in range(20):
            clock.now_s += 5
            await service._go_round(clock.now_s)
        assert len(looked) == before, "nothing comes any more"


async def test_what_happens_while_sizes_are_looked_up(tmp_path: Path, clock: Clock) -> None:
    """The job is of the head when it was made."""
    keep = Retention(None, None, 900)
    sizes = [100] * 8

    async def put(log: Log, size: int) -> None:
        await append(log, entry("c", "x" * (size - MESSAGE_OVERHEAD - 2)))

    async with opened(tmp_path, LATER) as log:
        for size in sizes:
            await put(log, size)
        head = log.heads["c"]
        fader = Fader(log._live, log._read, 1.0)
        jobs = fader.jobs(head, keep, 0)
        for size in (70, 80):
            await put(log, size)
        await fader.look(jobs)
        sizes += [70, 80]
        assert head.ladders.sizes
        for seq, key in head.ladders.sizes:
            assert head.added - key == sum(sizes[seq:])
        assert head.ladders.sizes[-1][0] < 8
        for _ in range(3):
            await put(log, 150)
        jobs = fader.jobs(head, keep, 0)
        assert jobs
        known = head.ladders.sizes
        await trim(log, "c", 7)
        await swept(log)
        await fader.look(jobs)
        # What it would have added up is gone: it says nothing, and begins anew the next time.
        assert head.ladders.sizes == known[-1:]
        await fader.look(fader.jobs(head, keep, 0))
        sizes += [150, 150, 150]
        for seq, key in head.ladders.sizes[1:]:
            assert head.added - key == sum(sizes[seq:])


async def test_what_cannot_be_read_is_not_tried_again_and_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def broken(*_: object) -> None:
        asked.append(1)
        raise StorageBroken("The page is damaged.")

    monkeypatch.setattr(fading.FindAges, "run", broken)
    keep = Retention(100.0, None, None)
    async with opened(tmp_path, LATER) as log:
        await append(log, entry("c"))
        clock.now_s += 1
        await append(log, entry("c"))
        log.retention = lambda _: keep
        service = log._make_retention()
        clock.now_s += 95
        for _ in range(3):
            await service._go_round(clock.now_s)
        assert (len(asked), log.heads["c"].ladders) == (1, NO_LADDERS)


async def test_a_ladder_is_of_one_life(tmp_path: Path, clock: Clock) -> None:
    async with opened(tmp_path, LATER) as log:
        await append(log, entry("c"))
        clock.now_s += 1
        await append(log, entry("c"))
        clock.now_s += 95
        await go_round(log, Retention(100.0, None, None), clock.now_s)
        assert log.heads["c"].ladders.ages
        await redact(log, "c", 1)
        await delete(log, "c")
        await append(log, entry("c"))
        assert log.heads["c"].ladders is NO_LADDERS


# -- nobody falls out untold -----------------------------------------------------------------------


@dataclass
class Client:
    """Pulls each ``every`` ticks, so many messages at most. ``told``: in the last answer."""

    every: int
    limit: int
    cursor: int = 0
    told: bool = False
    fell_out: int = 0


TICK = 5
PULL_EVERY = 4 * TICK
LOOK_EVERY = 2 * TICK
# What may come in the time of a pull and two looks is no more than the last part of the window.
SPAN = PULL_EVERY + 2 * LOOK_EVERY
A_TICK = 15
MESSAGES = SPAN * A_TICK // TICK
BYTES = MESSAGES * (100 + MESSAGE_OVERHEAD)
KEEPS = [
    Retention(2.0 * SPAN, None, None, last=0.5),
    Retention(None, 2 * MESSAGES, None, last=0.5),
    Retention(None, None, 2 * BYTES, last=0.5),
    Retention(2.0 * SPAN, 3 * MESSAGES, 2 * BYTES, last=0.5),
    Retention(4.0 * SPAN, 4 * MESSAGES, 4 * BYTES, last=0.25),
]
# For how many ticks so many messages each of that size come.
RATES = st.lists(
    st.tuples(st.integers(1, 25), st.integers(0, A_TICK), st.integers(2, 100)),
    min_size=2,
    max_size=3,
)
CLIENTS = st.lists(
    st.builds(Client, st.integers(1, PULL_EVERY // TICK), st.integers(1, 60)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=10, deadline=None)
@given(RATES, CLIENTS, st.sampled_from(KEEPS))
def test_who_pulls_often_enough_is_told_before_it_falls_out(
    tmp_path_factory: pytest.TempPathFactory,
    rates: list[tuple[int, int, int]],
    clients: list[Client],
    keep: Retention,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        clients = [replace(client) for client in clients]
        trio.run(follow, tmp_path_factory.mktemp("log"), clock, rates, clients, keep)


@pytest.mark.parametrize("keep", KEEPS, ids=["age", "messages", "bytes", "any", "a quarter"])
async def test_who_is_too_slow_falls_out_and_was_told(
    tmp_path: Path, clock: Clock, keep: Retention
) -> None:
    """One that gets less than comes, one that gets hardly anything, one that keeps up."""
    clients = [Client(4, 20), Client(4, 2), Client(1, 15)]
    # Small ones first: when the large ones come, many of them go at once.
    rates = [(10, 0, 2), (20, A_TICK, 2), (60, A_TICK, 100)]
    await follow(tmp_path, clock, rates, clients, keep)
    assert [client.fell_out > 0 for client in clients] == [True, True, False]


async def follow(
    directory: Path,
    clock: Clock,
    rates: list[tuple[int, int, int]],
    clients: list[Client],
    keep: Retention,
) -> None:
    """A tick at a time: messages, then retention, then who pulls."""
    async with opened(directory, LATER) as log:
        places = Places(log, Namespaces(Rules(retention=keep), {}))
        log.retention = lambda _: keep
        service = log._make_retention()
        ticks = [(count, size) for number, count, size in rates for _ in range(number)]
        for tick, (count, size) in enumerate(ticks):
            clock.now_s += TICK
            if count:
                await append(log, *(entry("c", "x" * (size - 2)) for _ in range(count)))
            if tick * TICK % LOOK_EVERY == 0:
                await service._go_round(clock.now_s)
            for client in clients:
                if tick % client.every == 0 and "c" in log.heads:
                    pull(log, places, client)


def pull(log: Log, places: Places, client: Client) -> None:
    head = log.heads["c"]
    at = Position(head.epoch, head.first, head.seq)
    try:
        after = places.after("c", Cursor(head.epoch, client.cursor), at)
    except Expired:
        assert client.told, (client, head, head.ladders)
        client.fell_out += 1
        after = head.first - 1
    client.cursor = min(after + client.limit, head.seq)
    told = places.fading("c", client.cursor)
    client.told = told is not None
    if told is not None:
        assert 1 <= told.messages <= head.seq - client.cursor
        assert told.in_ms is None or told.in_ms >= 0
