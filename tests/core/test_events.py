"""Server-sent events as bytes, and the ids that browsers hand back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.core.events import MAX_ID, event, hint_event, id_of, parse_id, said, unchunked
from pushd.core.frames import hint_json
from pushd.core.names import check_channel
from pushd.core.positions import MAX_SEQ, Cursor
from pushd.errors import BadRequest

EPOCH = "0mhx3f9ab"


def is_name(text: str) -> bool:
    try:
        check_channel(text)
    except BadRequest:
        return False
    return True


names = st.text(min_size=1, max_size=60).filter(is_name)
positions = st.tuples(names, st.just(EPOCH), st.integers(1, MAX_SEQ))


def fields(chunk: bytes) -> dict[str, str]:
    """One chunk, as HTTP has it, of one event with each field once."""
    size, _, rest = chunk.partition(b"\r\n")
    text = rest[:-2]
    assert rest[-2:] == b"\r\n"
    assert len(text) == int(size, 16)
    assert text == unchunked(chunk)
    assert text.endswith(b"\n\n")
    assert b"\r" not in text
    lines = text[:-2].decode().split("\n")
    found = dict(line.split(": ", 1) for line in lines)
    assert len(found) == len(lines)
    return found


@given(positions, st.integers(0, 9))
def test_a_hint_is_one_event_that_resumes_after_it(
    position: tuple[str, str, int], jitter: int
) -> None:
    channel, epoch, seq = position
    found = fields(hint_event(channel, epoch, seq, jitter))
    assert found["event"] == "hint"
    assert found["data"].encode() == hint_json(channel, epoch, seq, jitter)
    assert found["id"].isascii(), "it comes back in a header"
    assert parse_id(found["id"]) == {channel: (epoch, seq)}


@given(st.lists(positions, max_size=8, unique_by=lambda each: each[0]))
def test_an_id_of_several_channels(told: list[tuple[str, str, int]]) -> None:
    id_ = id_of(told)
    if id_ is None:
        assert not told or sum(len(name.encode()) * 3 + 28 for name, _, _ in told) > MAX_ID
    else:
        assert len(id_) <= MAX_ID
        assert parse_id(id_) == {name: Cursor(epoch, seq) for name, epoch, seq in told}


def test_an_id_that_would_not_fit_into_a_request_is_not_given() -> None:
    assert id_of((f"channel{number}", EPOCH, 1) for number in range(200)) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "7",
            "news",
            "news=",
            "news=5",
            f"news={EPOCH}",
            "news=none.0",
            "=",
            ",,,",
            "news=head",
        ),
        *("news=0", f"news={EPOCH}.-1", "%ff%zz=1", "\x00=\x00", "x" * 5000),
    ],
)
def test_a_foreign_id_names_nothing(text: str) -> None:
    assert parse_id(text) == {}


def test_what_is_good_in_an_id_counts() -> None:
    assert parse_id(f"a=5,b={EPOCH}.2,c=x={EPOCH}.3") == {"b": (EPOCH, 2), "c=x": (EPOCH, 3)}


def test_other_events() -> None:
    assert fields(said("heartbeat")) == {"event": "heartbeat", "data": '{"type":"heartbeat"}'}
    found = fields(event("bye", b"{}", retry_ms=1500))
    assert found == {"event": "bye", "retry": "1500", "data": "{}"}
    text = "line\nline\r\u2028"
    assert json.loads(fields(said("x", text=text))["data"])["text"] == text
