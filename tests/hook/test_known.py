"""What is remembered, for how long, and how much of it."""

from __future__ import annotations

import pytest

from pushd.core.permissions import Identity
from pushd.errors import Unauthorized
from pushd.hook import known as module
from pushd.hook.known import REFUSED_S, Known


def identity(expires: float, user: str = "alice") -> Identity:
    return Identity(user=user, expires=expires)


def test_an_identity_is_known_until_it_expires() -> None:
    known = Known()
    known.learn(b"k", identity(100))
    assert known.identity(b"k", 99.9) == identity(100)
    assert known.identity(b"k", 100) is None
    assert len(known) == 0


def test_a_refusal_is_known_for_a_while_and_ends_what_was_known() -> None:
    known = Known()
    known.learn(b"k", identity(100))
    known.refuse(b"k", Unauthorized("no"), 5.0)
    assert known.identity(b"k", 1) is None
    assert known.refusal(b"k", 5.0 + REFUSED_S - 0.1) is not None
    assert known.refusal(b"k", 5.0 + REFUSED_S) is None
    assert known.refusal(b"other", 5.0) is None


def test_those_used_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDENTITIES", 2)
    known = Known()
    for name in (b"a", b"b"):
        known.learn(name, identity(100))
    assert known.identity(b"a", 0)
    known.learn(b"c", identity(100))
    assert [known.identity(name, 0) is not None for name in (b"a", b"b", b"c")] == [
        *(True, False, True)
    ]


def test_refusals_drive_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REFUSALS", 2)
    known = Known()
    known.learn(b"good", identity(100))
    for number in range(10):
        known.refuse(b"%d" % number, Unauthorized("no"), 0.0)
    assert known.identity(b"good", 0)
    assert [known.refusal(b"%d" % number, 1.0) is not None for number in range(10)] == [
        *[False] * 8,
        *[True] * 2,
    ]
