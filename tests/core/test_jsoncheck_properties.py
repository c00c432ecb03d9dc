"""check_json against the strictest standard-library decoder that can be written."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pushd.core.jsoncheck import MAX_INT, check_json
from pushd.errors import BadRequest

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.one_of(st.sampled_from([":", "a", "a:b", "\\u003a", '"']), TEXTS)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-MAX_INT, MAX_INT),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(KEYS.filter(lambda key: key != "__proto__"), inner, max_size=5),
    ),
    max_leaves=30,
)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _strict(body: bytes) -> Any:
    """The reference: the standard library with every leniency taken away. ValueError if not."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs) or "__proto__" in dict(pairs):
            raise ValueError("key")
        return dict(pairs)

    def constant(name: str) -> Any:
        raise ValueError(name)

    def number(digits: str) -> float:
        if not math.isfinite(float(digits)):
            raise ValueError(digits)
        return float(digits)

    def integer(digits: str) -> int:
        if abs(int(digits)) > MAX_INT:
            raise ValueError(digits)
        return int(digits)

    value = json.loads(
        body.decode(),
        object_pairs_hook=members,
        parse_constant=constant,
        parse_float=number,
        parse_int=integer,
    )
    json.dumps(value, ensure_ascii=False).encode()  # no lone surrogates
    if _depth(value) > 32:
        raise ValueError("depth")
    return value


@settings(deadline=None, max_examples=300)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_a_decent_encoder_makes_is_accepted(value: Any, escape: bool, indent: Any) -> None:
    body = json.dumps(value, ensure_ascii=escape, indent=indent).encode()
    depth = _depth(value)
    check_json(body, depth)
    if depth:
        with pytest.raises(BadRequest):
            check_json(body, depth - 1)


def _agrees_with_reference(body: bytes) -> None:
    try:
        expected = _strict(body)
    except (ValueError, RecursionError):
        with pytest.raises(BadRequest):
            check_json(body)
        return
    check_json(body)
    assert repr(msgspec.json.decode(body)) == repr(expected)  # repr: tells 1 from 1.0 and True


EDITS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 3),
        st.one_of(
            st.sampled_from([b":", b'"', b"{", b"}", b"[", b"]", b",", b"\\", b"\\u003a", b"\\ud8"])
            | st.sampled_from([b"0", b"-", b"e9", b".", b"99999999", b" ", b"\0", b"NaN", b"\xff"]),
            st.binary(max_size=3),
        ),
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=500)
@given(VALUES, EDITS)
def test_damaged_bodies_are_judged_as_by_the_reference(
    value: Any, edits: list[tuple[int, int, bytes]]
) -> None:
    body = json.dumps(value).encode()
    for at, removed, added in edits:
        at %= len(body) + 1
        body = body[:at] + added + body[at + removed :]
    _agrees_with_reference(body)


RAW_STRINGS = st.sampled_from(
    [b'"a"', b'":"', b'"\\u003a"', b'"\\u003A"', b'"\\u0061"', b'"a:"', b'"\\\\u003a"', b'""']
)
RAW_VALUES = st.recursive(
    st.one_of(RAW_STRINGS, st.sampled_from([b"1", b"null"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: b"[" + b",".join(items) + b"]"),
        st.lists(st.tuples(RAW_STRINGS, inner), max_size=4).map(
            lambda items: b"{" + b",".join(b"%s:%s" % item for item in items) + b"}"
        ),
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=500)
@given(RAW_VALUES)
@example(b'{"a":1,"a":"\\u003a"}')
def test_duplicate_keys_are_found_whatever_the_colons(body: bytes) -> None:
    _agrees_with_reference(body)
