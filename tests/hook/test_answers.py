"""What the application may answer, checked as strictly as the claims of a token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.core.permissions import Identity
from pushd.errors import BadRequest, TokenExpired
from pushd.hook.answers import MAX_ANSWER_BYTES, identity_of

NOW = 1_795_000_000.5
LEAST = {"user": "alice", "ttl": 60}


def read(answer: Any) -> Identity:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return identity_of(body, NOW, "key")


def test_all_that_it_may_say() -> None:
    found = read(
        {
            "user": "alice",
            "device": "phone",
            "attributes": {"name": "Alice"},
            "subscribe": ["news", "chat:*"],
            "publish": ["*"],
            "expires": NOW + 1,
            "unknown": 1,
        }
    )
    expected = Identity(
        user="alice",
        device="phone",
        expires=NOW + 1,
        subscribe=("news", "chat:*"),
        publish=("*",),
        attributes={"name": "Alice"},
        iat=NOW,
        key="key",
    )
    assert found == expected
    assert (found.attributes, found.iat, found.key) == ({"name": "Alice"}, NOW, "key")
    assert not found.scopes


def test_the_least_that_it_may_say() -> None:
    found = read(LEAST)
    assert (found.expires, found.device, found.subscribe) == (NOW + 60, None, ())
    assert read(LEAST | {"device": None}).device is None


REFUSED: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"<html>",
    "no object": [],
    "nobody": {"ttl": 60},
    "no text as user": LEAST | {"user": 7},
    "null as user": LEAST | {"user": None},
    "an empty user": LEAST | {"user": ""},
    "a user with a colon": LEAST | {"user": "a:b"},
    "a user with a space": LEAST | {"user": "a b"},
    "a user that is too long": LEAST | {"user": "a" * 201},
    "a bad device": LEAST | {"device": "a/b"},
    "no list": LEAST | {"subscribe": "*"},
    "null in the list": LEAST | {"subscribe": [None]},
    "a bad pattern": LEAST | {"subscribe": ["a*b*"]},
    "internal channels": LEAST | {"subscribe": ["$control"]},
    "internal channels to publish": LEAST | {"publish": ["$*"]},
    "attributes that are no object": LEAST | {"attributes": [1]},
    "attributes that are too large": LEAST | {"attributes": {"a": "x" * 1024}},
    "no end": {"user": "alice"},
    "two ends": LEAST | {"expires": NOW + 60},
    "a text as end": {"user": "alice", "expires": "2026-12-01"},
    "true as ttl": {"user": "alice", "ttl": True},
    "no time": {"user": "alice", "ttl": 0},
    "less than no time": {"user": "alice", "ttl": -1},
    "a negative end": {"user": "alice", "expires": -1},
    "an end beyond all": {"user": "alice", "expires": 1e300},
    "an endless ttl": {"user": "alice", "ttl": 1e300},
    "a user twice": b'{"user":"alice","user":"bob","ttl":60}',
    "not a number": b'{"user":"alice","ttl":NaN}',
    "infinity": b'{"user":"alice","expires":1e999}',
    "broken UTF-8": b'{"user":"alice\xff","ttl":60}',
    "something behind it": b'{"user":"alice","ttl":60} x',
    "deep nesting": b'{"user":"alice","ttl":60,"x":' + b"[" * 40 + b"]" * 40 + b"}",
    "too much": LEAST | {"x": "x" * MAX_ANSWER_BYTES},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_may_not_say(what: str) -> None:
    with pytest.raises(BadRequest):
        read(REFUSED[what])


@pytest.mark.parametrize("expires", [0, NOW - 1, NOW])
def test_an_end_that_has_passed(expires: float) -> None:
    with pytest.raises(TokenExpired):
        read({"user": "alice", "expires": expires})


@given(st.binary(max_size=300))
def test_whatever_it_is_it_is_an_identity_or_a_refusal(body: bytes) -> None:
    try:
        found = identity_of(body, NOW, "key")
    except (BadRequest, TokenExpired):
        return
    assert found.user
