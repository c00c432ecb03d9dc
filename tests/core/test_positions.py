"""Cursors are taken back exactly as they were given; epochs only rise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.positions import (
    HEAD,
    MAX_SEQ,
    NO_EPOCH,
    START,
    Cursor,
    next_epoch,
    order_key,
    parse_cursor,
)
from pushd.errors import BadRequest

EPOCHS = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=9, max_size=9)


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        ("0", START),
        ("head", HEAD),
        ("none.0", Cursor(NO_EPOCH, 0)),
        ("0mhx3f9ab.0", Cursor("0mhx3f9ab", 0)),
        ("0mhx3f9ab.41", Cursor("0mhx3f9ab", 41)),
        ("zzzzzzzzz.9007199254740991", Cursor("zzzzzzzzz", MAX_SEQ)),
    ],
)
def test_the_spellings(text: str, cursor: Cursor) -> None:
    assert parse_cursor(text) == cursor
    assert str(cursor) == text


@pytest.mark.parametrize("text", ["41", "-1", "1", "+1", "00", "-0", "9007199254740993"])
def test_a_bare_number_is_explained(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_cursor(text)
    assert "bare number" in caught.value.detail
    assert "EPOCH.SEQ" in caught.value.detail


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        ".41",
        "0.1",
        "head.1",
        "HEAD",
        "1e3",
        "1.0",
        "0mhx3f9ab",
        "0mhx3f9ab.",
        "0mhx3f9ab.4.1",
        "0mhx3f9ab..1",
        "0mhx3f9ab.-1",
        "0mhx3f9ab.+1",
        "0mhx3f9ab.041",
        "0mhx3f9ab.00",
        "0mhx3f9ab.1e3",
        "0mhx3f9ab.1_0",
        "0mhx3f9ab. 1",
        " 0mhx3f9ab.1",
        "0mhx3f9ab.1 ",
        "0mhx3f9ab.1\n",
        "0\n",
        "head\n",
        "0mhx3f9ab.١",
        "٠",
        "0mhx3f9ab.1\0",
        "0MHX3F9AB.1",
        "0mhx3f9a.1",
        "0mhx3f9abc.1",
        "none.1",
        "nonenone0.",
        "0mhx3f9ab.9007199254740992",
        "0mhx3f9ab.99999999999999999",
        "1" * 10_000_000,
        "\ud800",
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_cursor(text)
    assert "EPOCH.SEQ" in caught.value.detail
    assert caught.value.detail.isascii()  # goes into a header or a terminal as it is
    assert len(caught.value.detail) < 400


def test_an_ack_cannot_name_the_head() -> None:
    with pytest.raises(BadRequest, match="names no message"):
        parse_cursor("head", allow_head=False)
    assert parse_cursor("0", allow_head=False) is START


@settings(deadline=None)
@given(EPOCHS, st.integers(0, MAX_SEQ))
def test_round_trip(epoch: str, seq: int) -> None:
    assert parse_cursor(str(Cursor(epoch, seq))) == (epoch, seq)


@settings(deadline=None)
@given(st.text("0123456789abnoe.d head", max_size=30))
def test_one_spelling_each(text: str) -> None:
    try:
        cursor = parse_cursor(text)
    except BadRequest:
        return
    assert str(cursor) == text


@settings(deadline=None)
@given(
    st.one_of(st.none(), st.just(NO_EPOCH), EPOCHS.filter(lambda epoch: epoch != "z" * 9)),
    st.integers(-(10**15), 10**15),
)
def test_epochs_rise_as_text(last: str | None, now_ms: int) -> None:
    epoch = next_epoch(last, now_ms)
    assert parse_cursor(f"{epoch}.0").epoch == epoch
    if last not in (None, NO_EPOCH):
        assert epoch > last
    if 0 <= now_ms < 36**9:
        assert int(epoch, 36) >= now_ms


def test_epochs_follow_the_clock_and_survive_a_clock_set_back() -> None:
    first = next_epoch(None, 1_763_650_000_123)
    assert int(first, 36) == 1_763_650_000_123
    assert int(next_epoch(first, 0), 36) == 1_763_650_000_124
    assert int(next_epoch(first, 1_763_650_000_200), 36) == 1_763_650_000_200


def test_epochs_end_with_an_error_not_with_a_reuse() -> None:
    with pytest.raises(OverflowError):
        next_epoch("z" * 9, 0)


def test_order_of_marks() -> None:
    ordered = [Cursor(NO_EPOCH, 0), Cursor("0mhx3f9ab", 7), Cursor("0mhx3f9ab", 41)]
    ordered += [Cursor("0mhx3f9ac", 1)]
    backwards = ordered[::-1]
    assert sorted(backwards, key=order_key) == ordered
    assert order_key(START) == order_key(HEAD) == order_key(Cursor(NO_EPOCH, 0))
