"""What leaves the disk by itself: devices, deleted names, revocations, ids."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pushd.core.positions import Cursor
from pushd.errors import BadRequest
from pushd.log import Log, sweeper
from pushd.log.crossing import Signal
from pushd.log.idclock import DAY_MS, IdClock
from pushd.log.store import connect_reader
from tests.log.invariants import check
from tests.log.support import (
    OPTIONS,
    answer,
    append,
    delete,
    entry,
    marks,
    opened,
    outcome,
    read,
    swept,
    upkept,
    written,
)

DAY_S = DAY_MS // 1000
NEVER = replace(OPTIONS, write_behind_s=3600.0)


def rows(directory: Path, sql: str) -> list[Any]:
    with closing(connect_reader(directory)) as connection:
        return connection.execute(sql).fetchall()


class WallClock:
    """The time that marks are written at. It stands still in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        began = time.time_ns()
        self.ahead_s = 0.0
        monkeypatch.setattr("time.time_ns", lambda: began + int(self.ahead_s * 1e9))


class IdTime:
    """The time that ids age by. It stands still in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed_ms = 0
        monkeypatch.setattr(IdClock, "now_ms", lambda clock: clock._base + self.passed_ms)


async def tidy(log: Log, signal: Signal = Signal.TIDY) -> None:
    """One round of upkeep, to its end: signals and changes are taken in their order."""
    log._put(signal)
    await upkept(log)


# Devices


async def test_the_device_idle_longest_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = WallClock(monkeypatch)
    async with opened(tmp_path, replace(NEVER, devices_per_user=3)) as log:
        await append(log, entry("a"), entry("b"))
        at = {name: Cursor(head.epoch, 1) for name, head in log.heads.items()}

        async def heard(user: str, device: str, channel: str = "a") -> None:
            clock.ahead_s += 60
            log.record_delivered(user, device, channel, at[channel])
            await written(log)

        for device in "123":
            await heard("alice", device)
        await heard("bob", "4")
        await heard("alice", "1", "b")
        await heard("alice", "4")
        devices = "SELECT user, device FROM devices ORDER BY 1, 2"
        assert rows(tmp_path, devices) == [
            ("alice", "1"),
            ("alice", "3"),
            ("alice", "4"),
            ("bob", "4"),
        ]
        assert (await marks(log, "alice", "2", "a"))["a"].delivered is None
        clock.ahead_s += DAY_S
        await heard("alice", "3")
        for device in "56":
            await heard("alice", device)
        assert [device for _, device in rows(tmp_path, devices)] == ["3", "5", "6", "4"]
        check(tmp_path)
    # Who was noted is known from the disk as well.
    async with opened(tmp_path, replace(NEVER, devices_per_user=3)) as log:
        await heard("alice", "7")
        assert [device for _, device in rows(tmp_path, devices)] == ["5", "6", "7", "4"]
        check(tmp_path)


async def test_a_device_that_made_room_may_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same day, too: it is noted anew, so that the bound holds."""
    clock = WallClock(monkeypatch)
    async with opened(tmp_path, replace(NEVER, devices_per_user=2)) as log:
        await append(log, entry("a"))
        for device in "1231231":
            clock.ahead_s += 1
            log.record_delivered("alice", device, "a", Cursor(log.heads["a"].epoch, 1))
            await written(log)
            check(tmp_path)
        assert rows(tmp_path, "SELECT device FROM devices ORDER BY 1") == [("1",), ("3",)]


async def test_a_device_for_every_request_costs_no_more_than_the_bound(tmp_path: Path) -> None:
    async with opened(tmp_path, NEVER) as log:
        await append(log, entry("a"))
        at = Cursor(log.heads["a"].epoch, 1)
        for number in range(3000):
            log.record_delivered("mallory", f"d{number}", "a", at)
        await written(log)
        assert rows(tmp_path, "SELECT count(*) FROM devices") == [(20,)]
        assert rows(tmp_path, "SELECT count(*) FROM cursors") == [(20,)]


async def test_devices_idle_for_long_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = WallClock(monkeypatch)
    async with opened(tmp_path, NEVER) as log:
        await append(log, entry("a"))
        at = Cursor(log.heads["a"].epoch, 1)
        for number in range(100):
            log.record_delivered(f"u{number}", "phone", "a", at)
        log.record_delivered(":webhook", "messages", "a", at)  # the server's own, which stays
        log.record_read("u1", "a", at)
        await written(log)
        clock.ahead_s = 29 * DAY_S
        log.record_delivered("u7", "phone", "a", at)
        log.record_delivered("u7", "tablet", "a", at)
        await written(log)
        await tidy(log)
        clock.ahead_s = 30 * DAY_S - 60
        await tidy(log)
        assert rows(tmp_path, "SELECT count(*) FROM devices") == [(102,)]
        clock.ahead_s = 32 * DAY_S
        await tidy(log, Signal.TIDY_BY_STEADY_CLOCK)
        assert rows(tmp_path, "SELECT count(*) FROM devices") == [(102,)]
        await tidy(log)
        left = [(":webhook", "messages"), ("u7", "phone"), ("u7", "tablet")]
        assert rows(tmp_path, "SELECT user, device FROM devices ORDER BY 1, 2") == left
        assert rows(tmp_path, "SELECT user, device FROM cursors ORDER BY 1, 2") == left
        assert (await marks(log, "u1", "phone", "a"))["a"][:2] == (None, at)
        check(tmp_path)


# Names and ids


async def test_a_deleted_name_is_forgotten_after_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "CHUNK", 4)
    clock = IdTime(monkeypatch)
    async with opened(tmp_path, NEVER) as log:
        stored = await append(log, *(entry("gone", n, id=f"{n}") for n in range(9)), entry("stays"))
        at = Cursor(stored[0].epoch, 1)
        for number in range(10):
            log.record_read(f"u{number}", "gone", at)
            log.record_delivered(f"u{number}", "d", "gone", at)
        log.record_read("u1", "stays", Cursor(log.heads["stays"].epoch, 1))
        await written(log)
        old = log.heads["gone"].channel_id
        await delete(log, "gone")
        await tidy(log)
        clock.passed_ms = DAY_MS - 1
        await tidy(log)
        assert rows(tmp_path, "SELECT name FROM channels ORDER BY 1") == [("gone",), ("stays",)]
        assert (await append(log, entry("gone", 3, id="3")))[0].duplicate
        clock.passed_ms = 2 * DAY_MS
        # Two: the first removes the ids, and then it is known that there are none.
        await tidy(log)
        await tidy(log)
        assert rows(tmp_path, "SELECT name FROM channels") == [("stays",)]
        assert rows(tmp_path, "SELECT count(*) FROM idempotency") == [(0,)]
        assert log.statistics().purged_channels == 1
        assert rows(tmp_path, "SELECT user FROM reads") == [("u1",)]
        # The number is not used again, nor is the epoch older.
        [again] = await append(log, entry("gone", 3, id="3"))
        assert (again.seq, again.duplicate) == (1, False)
        assert again.epoch > at.epoch
        assert log.heads["gone"].channel_id > old
        check(tmp_path)


async def test_what_is_discarded_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of today's ids, too; the next life of the name begins as a new one does."""
    monkeypatch.setattr(sweeper, "CHUNK", 4)
    async with opened(tmp_path, NEVER) as log:
        ids = [entry("gone", n, id=f"{n}") for n in range(9)]
        [stored, *_] = await append(log, *ids, entry("stays", id="s"), entry("again", id="a"))
        found = await answer(lambda done: log.discard(["gone", "never", "again"], done))
        assert found == 2
        assert list(log.heads) == ["stays"]
        [later] = await append(log, entry("again", id="b"))
        await swept(log)
        check(tmp_path)
        await tidy(log)
        assert rows(tmp_path, "SELECT name FROM channels ORDER BY 1") == [("again",), ("stays",)]
        assert rows(tmp_path, "SELECT DISTINCT id FROM idempotency ORDER BY 1") == [
            *(("a",), ("b",), ("s",))
        ]
        check(tmp_path)
        [again] = await append(log, entry("gone", 3, id="3"))
        assert (again.seq, again.duplicate) == (1, False)
        assert again.epoch > later.epoch > stored.epoch
    async with opened(tmp_path, NEVER) as log:
        assert set(log.heads) == {"stays", "again", "gone"}
        with pytest.raises(BadRequest):
            log.discard(["x"] * 101, lambda _: None)


async def test_a_deleted_name_goes_by_the_clock_of_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the wall clock, which may be set back, it would go before them, and they with it."""
    async with opened(tmp_path, NEVER) as log:
        await append(log, entry("gone", 1, id="1"))
        WallClock(monkeypatch).ahead_s = -400 * DAY_S
        await delete(log, "gone")
        await tidy(log)
        assert (await append(log, entry("gone", 1, id="1")))[0].duplicate


async def test_no_number_is_given_out_twice(tmp_path: Path) -> None:
    """Of lives that are over, nor across restarts: their messages may still be there."""
    seen: list[int] = []
    for number in range(4):
        async with opened(tmp_path) as log:
            for channel in ("same", f"new{number}"):
                await append(log, entry(channel))
                seen.append(log.heads[channel].log_id)
            await delete(log, "same")
            await append(log, entry("same"))
            seen.append(log.heads["same"].log_id)
            await delete(log, "same")
    assert len(set(seen)) == len(seen) == 12
    assert seen == sorted(seen)


async def test_a_name_that_lives_again_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = IdTime(monkeypatch)
    async with opened(tmp_path) as log:
        await append(log, entry("news"))
        await delete(log, "news")
        await append(log, entry("news", "again"))
        clock.passed_ms = 5 * DAY_MS
        await tidy(log)
        await tidy(log)
        assert [one["data"] for one in await read(log, "news")] == ["again"]


async def test_revocations_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WallClock(monkeypatch)
    now = time.time()
    async with opened(tmp_path) as log:
        for number in range(300):
            until = now + (10 if number % 2 else 1000)
            await outcome(lambda done, n=number, u=until: log.revoke("jti", f"{n}", u, done))
        await tidy(log)
        assert len(log.revocations) == 300
        clock.ahead_s = 100
        await tidy(log, Signal.TIDY_BY_STEADY_CLOCK)
        assert len(log.revocations) == 300
        await tidy(log)
        await marks(log, "nobody", None)
        assert sorted(log.revocations) == sorted(("jti", f"{n}") for n in range(0, 300, 2))
    async with opened(tmp_path) as log:
        assert len(log.revocations) == 150
