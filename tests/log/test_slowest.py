"""The active device that is farthest behind: of whom is heard, and of whom no longer."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.positions import Cursor
from pushd.log import Log, Slowest, slowest
from pushd.log.idclock import IdClock
from pushd.log.slowest import Scan
from pushd.log.store import connect_reader
from tests.log.support import OPTIONS, answer, append, delete, entry, opened, written

pytestmark = pytest.mark.usefixtures("looks_are_quick")

HOUR = 3600.0
LATER = replace(OPTIONS, write_behind_s=HOUR)
USERS = ["alice", "bob", "c\u00e4", "\U0001f600"]


class Steady:
    """The clock that nobody sets, set: it stands still in between."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        patch.setattr(IdClock, "now_ms", lambda clock: clock._base + int(self.ahead_s * 1000))


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Steady:
    return Steady(monkeypatch)


async def find(log: Log, channel: str = "news") -> Slowest | None:
    return await answer(lambda done: log.find_slowest(log.heads[channel], done))


async def device_at(log: Log, user: str, seq: int, device: str = "phone") -> None:
    log.record_delivered(user, device, "news", Cursor(log.heads["news"].epoch, seq))
    await written(log)


async def who(log: Log) -> tuple[str, int] | None:
    found = await find(log)
    return None if found is None else (found.user, found.seq)


MARKS = st.lists(
    st.tuples(
        st.sampled_from(USERS),
        st.sampled_from(["phone", "tablet"]),
        st.integers(1, 9),
        st.integers(0, 60),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(MARKS, st.sampled_from([0, 1, 2, 2000]), st.integers(1, 4))
def test_it_is_the_least_of_those_heard_of(
    tmp_path_factory: pytest.TempPathFactory,
    marks: list[tuple[str, str, int, int]],
    piece: int,
    pieces: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slowest, "PIECE", piece)
        patch.setattr(slowest, "PIECES", pieces)
        trio.run(least, tmp_path_factory.mktemp("log"), Steady(patch), marks)


async def least(directory: Path, steady: Steady, marks: list[tuple[str, str, int, int]]) -> None:
    """Each mark is recorded so many minutes before the end, of a day of two hours."""
    devices: dict[tuple[str, str], tuple[int, int]] = {}
    async with opened(directory, replace(LATER, active_s=0.5 * HOUR)) as log:
        await append(log, *(entry("news") for _ in range(9)))
        for user, device, seq, ago in sorted(marks, key=lambda mark: -mark[3]):
            steady.ahead_s = (60 - ago) * 60.0
            await device_at(log, user, seq, device)
            before = devices.get((user, device), (0, 0))[0]
            devices[user, device] = max(seq, before), ago
        steady.ahead_s = HOUR
        found = await find(log)
    # Between half an hour and its 24th part more it may be either.
    sure = [seq for seq, ago in devices.values() if ago < 30]
    maybe = [seq for seq, ago in devices.values() if ago <= 32]
    if found is None:
        assert not sure
    else:
        assert min(maybe) <= found.seq <= min(sure, default=9)
        assert devices[found.user, found.device][0] == found.seq


async def test_who_pulls_and_does_not_get_on_is_heard_of(tmp_path: Path, steady: Steady) -> None:
    async with opened(tmp_path, LATER) as log:
        await append(log, *(entry("news") for _ in range(5)))
        for hour in range(0, 60, 2):
            steady.ahead_s = hour * HOUR
            await device_at(log, "alice", 3 if hour < 10 else 1)
            await device_at(log, "bob", 5)
        assert await who(log) == ("alice", 3), "a mark never falls"
        steady.ahead_s += 23.9 * HOUR
        assert await who(log) == ("alice", 3)
        steady.ahead_s += 1.2 * HOUR
        assert await who(log) is None


async def test_a_stop_makes_nobody_look_gone(
    tmp_path: Path, steady: Steady, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    off_s = 0.0
    monkeypatch.setattr("time.time_ns", lambda: real() + int((off_s + steady.ahead_s) * 1e9))
    monkeypatch.setattr("time.time", lambda: time.time_ns() / 1e9)
    async with opened(tmp_path, LATER) as log:
        await append(log, *(entry("news") for _ in range(5)))
        await device_at(log, "alice", 3)
    off_s = 20 * HOUR
    async with opened(tmp_path, LATER) as log:
        steady.ahead_s = 23.9 * HOUR
        assert await who(log) == ("alice", 3)
        steady.ahead_s = 25.1 * HOUR
        assert await who(log) is None


async def test_a_wall_clock_that_jumps_makes_nobody_look_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    ahead_s = 0.0
    monkeypatch.setattr("time.time_ns", lambda: real() + int(ahead_s * 1e9))
    async with opened(tmp_path, LATER) as log:
        await append(log, *(entry("news") for _ in range(5)))
        await device_at(log, "alice", 3)
        ahead_s = 1000 * HOUR
        await device_at(log, "bob", 4)
        assert await who(log) == ("alice", 3)


async def test_marks_of_another_life_do_not_count(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER) as log:
        await append(log, *(entry("news") for _ in range(5)))
        await device_at(log, "alice", 1)
        await delete(log, "news")
        await append(log, *(entry("news") for _ in range(5)))
        assert await who(log) is None
        await device_at(log, "bob", 2)
        assert await who(log) == ("bob", 2)


async def test_it_is_looked_for_once_for_all_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    look = Scan.look

    def counted(scan: Scan, connection: object) -> None:
        looks.append(1)
        look(scan, connection)  # type: ignore[arg-type]

    monkeypatch.setattr(Scan, "look", counted)
    monkeypatch.setattr("pushd.log.scans._LONG_S", -1.0)
    monkeypatch.setattr("pushd.log.scans._KEPT", 10**9)
    async with opened(tmp_path, LATER) as log:
        await append(log, *(entry("news") for _ in range(5)))
        await device_at(log, "alice", 3)
        found: list[tuple[str, int] | None] = []

        async def ask() -> None:
            found.append(await who(log))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert (found, len(looks)) == ([("alice", 3)] * 5, 1)
        await device_at(log, "alice", 4)
        assert (await who(log), len(looks)) == (("alice", 3), 1), "what took long is kept"
        log._scans._kept.clear()
        assert (await who(log), len(looks)) == (("alice", 4), 2)


async def test_when_it_was_heard_of_is_on_disk(tmp_path: Path) -> None:
    before = time.time_ns() // 1_000_000
    async with opened(tmp_path, LATER) as log:
        await append(log, entry("news"))
        await device_at(log, "alice", 1)
        found = await find(log)
    assert found is not None
    assert before <= found.at <= time.time_ns() // 1_000_000
    with closing(connect_reader(tmp_path)) as connection:
        [(heard,)] = connection.execute("SELECT heard FROM cursors").fetchall()
    assert abs(heard - found.at) < 60_000
