"""Which messages a page of history has, decided without a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.core.history import Back, newest, parse_back, window
from pushd.core.positions import MAX_SEQ, Cursor
from pushd.core.pulling import UNWRITTEN, Position
from pushd.errors import BadRequest, Reset

EPOCH, OTHER = "0mhx3f9ab", "0mhx3f9ac"


def parse(query: str) -> Back:
    return parse_back(dict(pair.split("=") for pair in query.split("&")), 100, 1000)


def test_what_is_asked_for() -> None:
    assert parse("before=7") == (("", 7), 100, None)
    assert parse(f"before={EPOCH}.7&limit=3") == ((EPOCH, 7), 3, None)
    assert parse("last=50") == (None, 50, None)
    assert parse("last=50&device=d&atleast=4") == (None, 50, "d")
    assert parse(f"before={MAX_SEQ}") == (("", MAX_SEQ), 100, None)


@pytest.mark.parametrize(
    "query",
    [
        *(
            "before=0",
            "before=-1",
            "before=",
            "before=x",
            "before=1e3",
            "before=head",
            "before=1.5",
        ),
        *(f"before={EPOCH}.0", "before=none.0", f"before={MAX_SEQ + 1}", "before=٣", "before=%20"),
        *("last=0", "last=1001", "last=", "last=x", "before=1&limit=0", "before=1&limit=1001"),
        *("before=1&last=1", "last=1&limit=1", "last=1&after=0", "before=1&after=0"),
        *("last=1&wait=0", "before=1&wait=5"),
    ],
)
def test_what_cannot_be_asked(query: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(query)
    assert caught.value.detail


@given(
    st.integers(1, 40), st.integers(0, 40), st.integers(1, 90), st.integers(1, 50), st.booleans()
)
def test_the_newest_that_are_retained(
    first: int, count: int, before: int, limit: int, named: bool
) -> None:
    head = first - 1 + count
    at = Position(EPOCH, first, head)
    retained = range(first, head + 1)
    ask = Back(Cursor(EPOCH if named else "", before), limit)
    if before > head + 1:
        with pytest.raises(Reset) as caught:
            window(ask, at)
        assert caught.value.code == "cursor_ahead"
        assert caught.value.extra["resume"] == f"{EPOCH}.{first - 1}"
        return
    after, upto = window(ask, at)
    assert list(range(after + 1, upto + 1)) == [seq for seq in retained if seq < before][-limit:]
    assert first - 1 <= after <= upto <= head, "a cursor made of them is good"


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 12))
def test_the_last(first: int, count: int, limit: int) -> None:
    at = Position(EPOCH, first, first - 1 + count)
    after, upto = window(Back(None, limit), at)
    assert (upto, upto - after) == (at.seq, min(count, limit))


def test_another_life_is_told() -> None:
    with pytest.raises(Reset) as caught:
        window(Back(Cursor(OTHER, 1), 5), Position(EPOCH, 1, 9))
    assert caught.value.code == "epoch_changed"


def test_a_channel_never_written_to() -> None:
    assert window(Back(None, 5), UNWRITTEN) == (0, 0)
    assert window(Back(Cursor("", 1), 5), UNWRITTEN) == (0, 0)
    with pytest.raises(Reset):
        window(Back(Cursor("", 2), 5), UNWRITTEN)


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=12), st.integers(0, 60))
def test_as_many_from_the_end_as_fit_and_one_always(messages: list[bytes], most: int) -> None:
    kept = newest(messages, most)
    assert kept == messages[len(messages) - len(kept) :]
    assert bool(kept) == bool(messages)
    assert len(kept) <= 1 or sum(map(len, kept)) <= most
    if len(kept) < len(messages):
        assert sum(map(len, messages[-len(kept) - 1 :])) > most
