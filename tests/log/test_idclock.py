"""How long an id is remembered."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from pushd.log import Log
from pushd.log.changes import NoteClock
from pushd.log.crossing import Signal
from pushd.log.idclock import DAY_MS, IdClock
from pushd.log.store import connect_reader
from tests.log.support import answer, append, entry, idle, opened


async def test_an_id_is_free_again_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted a slice at a time, oldest first, and never before the window has passed."""
    passed = {"ms": 0}
    # It stands still in between.
    monkeypatch.setattr(IdClock, "now_ms", lambda clock: clock._base + passed["ms"])

    def left() -> int:
        with closing(connect_reader(tmp_path)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM idempotency").fetchone()
        return int(count)

    async with opened(tmp_path) as log:
        await append(log, *(entry("news", n, id=f"{n}") for n in range(300)))
        passed["ms"] = DAY_MS - 1
        assert (await append(log, entry("news", 7, id="7")))[0].duplicate
        passed["ms"] = DAY_MS
        again = await append(log, entry("news", 7, id="7"))
        assert [(one.seq, one.duplicate) for one in again] == [(301, False)]
        assert (await append(log, entry("news", 7, id="7")))[0] == again[0]._replace(duplicate=True)
        passed["ms"] = 2 * DAY_MS
        counts = []
        while left() > 1:
            await append(log, entry("other"))
            counts.append(left())
        assert counts[0] > 200
        assert counts == sorted(counts, reverse=True)
    # A clock that is set back does not make ids younger, nor forget them.
    async with opened(tmp_path) as log:
        assert log.heads["news"].seq == 301


async def test_a_clock_that_is_ahead_at_a_start_forgets_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the next start, when the clock is believed: ids go by a clock of their own."""
    ahead = {"ns": 0}
    real = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: real() + ahead["ns"])
    ms = 1_000_000

    async def retry(*noted: bool) -> None:
        for note in noted:
            async with opened(tmp_path) as log:
                await tidied(log)
                assert (await append(log, entry("news", 1, id="1")))[0].duplicate
                if note:
                    await answer(lambda done: log._request(NoteClock(time.time_ns() // ms, done)))
                (new,) = await append(log, entry("news", ahead["ns"], id=f"{ahead['ns']}"))
                assert not new.duplicate
            async with opened(tmp_path) as log:
                await tidied(log)
                assert (await append(log, entry("news", 1, id="1")))[0].duplicate
                (again,) = await append(log, entry("news", ahead["ns"], id=f"{ahead['ns']}"))
                assert again.duplicate
            ahead["ns"] += 1

    async with opened(tmp_path) as log:
        await append(log, entry("news", 1, id="1"))
    # Of messages alone, then as retention has noted it.
    ahead["ns"] = 400 * DAY_MS * ms
    await retry(False, True, False)
    ahead["ns"] = 800 * DAY_MS * ms
    await retry(False, True, False)
    # Set back: nothing is forgotten either. A stop of less than a day counts.
    ahead["ns"] = -800 * DAY_MS * ms
    await retry(True, False)
    ahead["ns"] += (DAY_MS - 3_600_000) * ms
    await retry(True)
    ahead["ns"] += 2 * 3_600_000 * ms
    async with opened(tmp_path) as log:
        assert not (await append(log, entry("news", 1, id="1")))[0].duplicate


async def tidied(log: Log) -> None:
    log._put(Signal.TIDY)
    await idle(log)


@pytest.mark.parametrize("window_s", [1.0, 3600.0, 86_400.0, 3 * 86_400.0])
def test_days_kept_cover_the_window(window_s: float) -> None:
    clock = IdClock(None, window_s)
    now = clock.now_ms()
    clock.oldest = 0
    before = clock.expire_before(now)
    assert before is not None
    assert before * DAY_MS <= now - clock.window_ms
    clock.expired_all(before)
    assert clock.expire_before(now) is None
    # Younger ids on disk than the wall clock says it is: time has not gone back.
    ahead = IdClock((0, now // DAY_MS + 5), window_s)
    assert ahead.now_ms() >= (now // DAY_MS + 5) * DAY_MS
