"""The decision of a pull: every case of (cursor, position), and the same against a naive model."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.core.positions import HEAD, MAX_SEQ, NO_EPOCH, START, Cursor, parse_cursor
from pushd.core.pulling import (
    UNWRITTEN,
    Position,
    answer_body,
    cut,
    parse_count,
    parse_seq,
    parse_wait,
    resolve,
    shorten,
)
from pushd.errors import BadRequest, Reset

OLD, NOW, NEW = "0mhx3f9aa", "0mhx3f9ab", "0mhx3f9ac"
FULL = Position(NOW, 1, 9)
TRIMMED = Position(NOW, 5, 9)
EMPTIED = Position(NOW, 10, 9)  # all of it trimmed


@pytest.mark.parametrize(
    ("cursor", "at", "after"),
    [
        ("0", UNWRITTEN, 0),
        ("head", UNWRITTEN, 0),
        ("none.0", UNWRITTEN, 0),
        ("0", FULL, 0),
        ("head", FULL, 9),
        (f"{NOW}.0", FULL, 0),
        (f"{NOW}.8", FULL, 8),
        (f"{NOW}.9", FULL, 9),
        ("none.0", FULL, 0),  # given before the first message, which is still there
        ("0", TRIMMED, 4),
        (f"{NOW}.4", TRIMMED, 4),
        (f"{NOW}.9", TRIMMED, 9),
        ("head", TRIMMED, 9),
        ("0", EMPTIED, 9),
        ("head", EMPTIED, 9),
        (f"{NOW}.9", EMPTIED, 9),
    ],
)
def test_reply(cursor: str, at: Position, after: int) -> None:
    assert resolve(parse_cursor(cursor), at) == after


@pytest.mark.parametrize(
    ("cursor", "at", "code", "resume", "skipped"),
    [
        (f"{OLD}.3", UNWRITTEN, "epoch_changed", "none.0", None),
        (f"{OLD}.0", FULL, "epoch_changed", f"{NOW}.0", None),
        (f"{OLD}.3", FULL, "epoch_changed", f"{NOW}.0", None),
        (f"{NEW}.3", FULL, "epoch_changed", f"{NOW}.0", None),
        (f"{OLD}.99", TRIMMED, "epoch_changed", f"{NOW}.4", None),
        (f"{NOW}.10", FULL, "cursor_ahead", f"{NOW}.0", None),
        (f"{NOW}.{MAX_SEQ}", TRIMMED, "cursor_ahead", f"{NOW}.4", None),
        (f"{NOW}.10", EMPTIED, "cursor_ahead", f"{NOW}.9", None),
        (f"{NOW}.0", TRIMMED, "expired", f"{NOW}.4", 4),
        (f"{NOW}.3", TRIMMED, "expired", f"{NOW}.4", 1),
        ("none.0", TRIMMED, "expired", f"{NOW}.4", 4),
        (f"{NOW}.8", EMPTIED, "expired", f"{NOW}.9", 1),
    ],
)
def test_reset(cursor: str, at: Position, code: str, resume: str, skipped: int | None) -> None:
    with pytest.raises(Reset) as caught:
        resolve(parse_cursor(cursor), at)
    assert caught.value.code == code
    assert caught.value.status == 410
    assert caught.value.extra == {**at.as_dict(), "skipped": skipped, "resume": resume}


epochs = st.sampled_from([OLD, NOW, NEW])


@st.composite
def positions(draw: st.DrawFn) -> Position:
    seq = draw(st.integers(0, 12))
    return Position(draw(epochs), draw(st.integers(1, seq + 1)), seq) if seq else UNWRITTEN


cursors = st.one_of(
    st.just(START),
    st.just(HEAD),
    st.just(Cursor(NO_EPOCH, 0)),
    st.builds(Cursor, epochs, st.integers(0, 14)),
)


@given(cursors, positions())
def test_never_a_silent_hole(cursor: Cursor, at: Position) -> None:
    """An answer follows the cursor without a gap, or there is a reset from which one does."""
    retained = range(at.first, at.seq + 1)
    try:
        after = resolve(cursor, at)
    except Reset as reset:
        resume = parse_cursor(reset.extra["resume"])
        after = resolve(resume, at)  # never a second reset
        assert list(range(after + 1, at.seq + 1)) == list(retained)
        assert cursor not in (START, HEAD)
        return
    answered = list(range(after + 1, at.seq + 1))
    if cursor == START:
        assert answered == list(retained)
    elif cursor == HEAD:
        assert answered == []
    else:
        assert cursor.epoch in (at.epoch, NO_EPOCH)
        assert after == cursor.seq
        assert set(answered) <= set(retained)
        assert answered == [seq for seq in retained if seq > cursor.seq]
        assert cursor.seq + 1 >= at.first, "something between was trimmed"


@given(st.text(min_size=1), st.integers(0, 50), st.integers(0, 5), st.integers(0, 5))
def test_the_answer_says_where_to_go_on(channel: str, after: int, count: int, left: int) -> None:
    at = Position(NOW, 1, after + count + left)
    messages = [b'{"seq":%d}' % (after + 1 + each) for each in range(count)]
    assert json.loads(answer_body(channel, at, after, messages)) == {
        "channel": channel,
        "epoch": NOW,
        "first": 1,
        "head": at.seq,
        "next": f"{NOW}.{after + count}",
        "more": left > 0,
        "messages": [{"seq": after + 1 + each} for each in range(count)],
    }


@given(st.integers(0, 50), st.lists(st.integers(0, 30), min_size=1), st.integers(0, 200))
def test_a_shortened_answer_is_the_one_that_was_cut(
    after: int, sizes: list[int], most: int
) -> None:
    at = Position(NOW, 1, after + len(sizes) + 2)
    messages = [b'{"data" : "%b"}' % (b"x" * size) for size in sizes]
    kept = cut(messages, most)
    assert 1 <= len(kept) <= len(messages)
    whole = answer_body("news", at, after, messages)
    assert shorten(whole, most, lambda _channel, _after: None) == answer_body(
        "news", at, after, kept
    )


@pytest.mark.parametrize("text", ["1", "7", "1000", "0001"])
def test_counts(text: str) -> None:
    assert parse_count("limit", text, 1000) == int(text)


@pytest.mark.parametrize(
    "text", ["", "0", "1001", "-1", "+1", "1.0", "1e3", " 1", "1_0", "٣", "²", "9" * 5000, "0x1"]
)
def test_no_counts(text: str) -> None:
    with pytest.raises(BadRequest, match="limit must be a whole number from 1 to 1000"):
        parse_count("limit", text, 1000)


@pytest.mark.parametrize(
    ("text", "wait"),
    [("0", 0), ("25", 25), ("0.5", 0.5), ("60", 60), ("61", 60), ("999999999999", 60), ("5.", 5)],
)
def test_waits(text: str, wait: float) -> None:
    assert parse_wait(text, 60.0) == wait


@pytest.mark.parametrize(
    "text", ["", ".", ".5", "-1", "1e3", "inf", "nan", " 1", "1.2.3", "٣", "²", "9" * 5000]
)
def test_no_waits(text: str) -> None:
    with pytest.raises(BadRequest, match="wait must be a number of seconds"):
        parse_wait(text, 60.0)


@pytest.mark.parametrize("text", ["0", "41", str(MAX_SEQ)])
def test_seqs(text: str) -> None:
    assert parse_seq("atleast", text) == int(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", str(MAX_SEQ + 1), "²", "9" * 5000])
def test_no_seqs(text: str) -> None:
    with pytest.raises(BadRequest, match="atleast must be a seq"):
        parse_seq("atleast", text)
