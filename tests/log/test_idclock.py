"""How long an id is remembered."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pushd.log.idclock import DAY_MS, IdClock
from pushd.log.store import connect_reader
from tests.log.support import append, entry, opened


async def test_an_id_is_free_again_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted a slice at a time, oldest first, and never before the window has passed."""
    passed = {"ms": 0}
    real = IdClock.now_ms
    monkeypatch.setattr(IdClock, "now_ms", lambda clock: real(clock) + passed["ms"])

    def left() -> int:
        with closing(connect_reader(tmp_path)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM idempotency").fetchone()
        return int(count)

    async with opened(tmp_path) as log:
        await append(log, *(entry("news", n, id=f"{n}") for n in range(300)))
        passed["ms"] = DAY_MS - 60_000
        assert (await append(log, entry("news", 7, id="7")))[0].duplicate
        passed["ms"] = DAY_MS + 60_000
        again = await append(log, entry("news", 7, id="7"))
        assert [(one.seq, one.duplicate) for one in again] == [(301, False)]
        assert (await append(log, entry("news", 7, id="7")))[0] == again[0]._replace(duplicate=True)
        passed["ms"] = 2 * DAY_MS + 60_000
        counts = []
        while left() > 1:
            await append(log, entry("other"))
            counts.append(left())
        assert counts[0] > 200
        assert counts == sorted(counts, reverse=True)
    # A clock that is set back does not make ids younger, nor forget them.
    async with opened(tmp_path) as log:
        assert log.heads["news"].seq == 301


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
