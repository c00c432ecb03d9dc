"""One batch at a time, without threads: what a batch decides does not depend on luck."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pushd.errors import BadRequest, Conflict, PushdError
from pushd.log import Append, Entry, Stored, decide
from pushd.log.decide import Decided, Decider
from pushd.log.idclock import DAY_MS, IdClock
from pushd.log.startup import Opened, open_log
from tests.log.support import OPTIONS, entry, shut

NOW = 1_763_650_000_123


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Opened]:
    opened = open_log(tmp_path, OPTIONS)
    yield opened
    shut(opened)


@pytest.fixture
def decider(log: Opened) -> Decider:
    return Decider(log.store, None, IdClock(None, 86_400.0))


def batch(*appends: list[Entry], publisher: str = "p") -> list[Append]:
    return [Append(entries, publisher, lambda _: None) for entries in appends]


def answers(decided: Decided) -> dict[Append, list[Stored] | PushdError]:
    assert len(dict(decided.results)) == len(decided.results)
    return dict(decided.results)


def commit(log: Opened, decider: Decider, decided: Decided) -> None:
    log.store.write(decided.rows)
    decider.committed()


def test_what_is_no_text_is_refused_alone_and_leaves_no_trace(
    log: Opened, decider: Decider
) -> None:
    bad = "\ud800"
    appends = [
        *batch([entry("news", id="first")]),
        *batch([entry("news", id="x"), entry("news", sender=bad)]),
        *batch([entry("other", id=bad)], [entry("new"), entry("news", type=bad)], [entry(bad)]),
        *batch([entry("news", id="y")], publisher=bad),
        *batch([entry("news", id="x")]),
    ]
    decided = decider.decide(appends, NOW)
    results = [answers(decided)[append] for append in appends]
    first, *refused, last = results
    assert [type(one) for one in refused] == [BadRequest] * 5
    assert isinstance(first, list)
    assert isinstance(last, list)
    assert [(one.seq, one.duplicate) for one in (*first, *last)] == [(1, False), (2, False)]
    assert [moved.channel for moved in decided.moved] == ["news"]
    commit(log, decider, decided)


def test_a_bug_is_not_taken_for_bad_text(decider: Decider, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise UnicodeEncodeError("utf-8", "", 0, 1, "bug")

    monkeypatch.setattr(decide, "encode_message", broken)
    with pytest.raises(UnicodeEncodeError):
        decider.decide(batch([entry("news")]), NOW)


def test_no_epoch_is_minted_twice_though_the_clock_stands_and_batches_fail(
    log: Opened, decider: Decider
) -> None:
    epochs = []
    for number in range(6):
        decided = decider.decide(batch([entry(f"c{number}"), entry(f"d{number}")]), NOW)
        if number % 2:
            decider.forget()
        else:
            commit(log, decider, decided)
            epochs += [moved.epoch for moved in decided.moved]
    assert len(set(epochs)) == 6
    assert epochs == sorted(epochs)
    stored = log.store.connection.execute("SELECT id, epoch FROM channels ORDER BY id").fetchall()
    assert stored == list(enumerate(epochs, 1))
    [(last,)] = log.store.connection.execute("SELECT value FROM meta WHERE key = 'last_epoch'")
    assert last == epochs[-1]


def test_a_failed_batch_leaves_neither_seqs_nor_ids(log: Opened, decider: Decider) -> None:
    commit(log, decider, decider.decide(batch([entry("news", id="a")]), NOW))
    decider.decide(batch([entry("news", 1, id="b"), entry("news")]), NOW)
    decider.forget()
    [append] = batch([entry("news", 2, id="b")])
    result = answers(decider.decide([append], NOW))[append]
    assert isinstance(result, list)
    assert [(one.seq, one.duplicate) for one in result] == [(2, False)]


def test_the_cache_may_start_again_at_any_time(
    log: Opened, decider: Decider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, "MAX_CACHED", 3)
    for number in range(20):
        appends = batch([entry(f"c{number % 5}", id="once")], [entry(f"c{number % 5}")])
        decided = decider.decide(appends, NOW)
        commit(log, decider, decided)
        once, more = (answers(decided)[append] for append in appends)
        assert isinstance(once, list)
        assert isinstance(more, list)
        assert once[0].duplicate == (number >= 5)
        assert more[0].seq == 2 + number // 5
        assert len(decider._channels) <= 4


@pytest.mark.parametrize("window_s", [60.0, 86_400.0, 129_600.0, 259_200.0])
@pytest.mark.parametrize("hour", [0, 11, 13, 23])
def test_an_id_is_remembered_to_the_millisecond(
    log: Opened, monkeypatch: pytest.MonkeyPatch, window_s: float, hour: int
) -> None:
    """Whatever the time of day, and however its window lies across the days."""
    clock = IdClock(None, window_s)
    began = clock.oldest * DAY_MS + hour * 3_600_000
    decider = Decider(log.store, None, clock)
    for passed, duplicate in ((0, False), (clock.window_ms - 1, True), (clock.window_ms, False)):
        monkeypatch.setattr(IdClock, "now_ms", lambda _, now=began + passed: now)
        [append] = batch([entry("news", id="x")])
        decided = decider.decide([append], NOW)
        result = answers(decided)[append]
        assert isinstance(result, list)
        assert result[0].duplicate is duplicate, passed
        commit(log, decider, decided)


def test_very_many_ids_are_looked_up_in_parts(log: Opened, decider: Decider) -> None:
    entries = [entry("news", number, id=str(number)) for number in range(700)]
    commit(log, decider, decider.decide(batch(entries), NOW))
    mixed = [*entries[::2], entry("news", id="new"), entry("sports", id="0")]
    clash = [entry("news", id="other"), entry("news", "not 699", id="699")]
    appends = batch(mixed, clash)
    decided = decider.decide(appends, NOW)
    result, conflict = (answers(decided)[append] for append in appends)
    assert isinstance(result, list)
    assert [one.seq for one in result] == [*range(1, 701, 2), 701, 1]
    assert [one.duplicate for one in result] == [True] * 350 + [False, False]
    assert isinstance(conflict, Conflict)
    assert len(decided.rows.ids) == 2
