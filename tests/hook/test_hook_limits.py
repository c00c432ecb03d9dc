"""How often strangers can have the application asked."""

from __future__ import annotations

import pytest

from pushd.errors import NotReady, RateLimited
from pushd.hook import limits as module
from pushd.hook.limits import HookLimits


def test_so_many_a_second_in_all() -> None:
    limits = HookLimits(4, 1000)
    for address in "abcd":
        limits.begin(address, 0.0)
        limits.ended(address)
    with pytest.raises(NotReady) as refused:
        limits.begin("e", 0.0)
    assert refused.value.retry_after
    limits.begin("e", 0.25)
    with pytest.raises(NotReady):
        limits.begin("e", 0.25)


def test_refusals_of_one_address() -> None:
    """The others are asked for as before; and it may come again."""
    limits = HookLimits(1000, 3)
    for _ in range(3):
        limits.begin("bad", 0.0)
        limits.ended("bad")
        limits.refused("bad", 0.0)
    with pytest.raises(RateLimited) as refused:
        limits.begin("bad", 0.0)
    assert refused.value.retry_after == 20
    limits.begin("good", 0.0)
    limits.begin("bad", 20.1)


def test_an_address_of_many_clients_is_nobodys() -> None:
    limits = HookLimits(1000, 1)
    for _ in range(10):
        limits.refused(None, 0.0)
    limits.begin(None, 0.0)
    limits.ended(None)


def test_open_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN_PER_ADDRESS", 2)
    monkeypatch.setattr(module, "MAX_OPEN", 3)
    limits = HookLimits(1000, 1000)
    limits.begin("a", 0.0)
    limits.begin("a", 0.0)
    with pytest.raises(RateLimited):
        limits.begin("a", 0.0)
    limits.begin("b", 0.0)
    with pytest.raises(NotReady):
        limits.begin("c", 0.0)
    limits.ended("a")
    limits.begin("c", 0.0)
    for address in "abc":
        limits.ended(address)
    assert (limits._open, limits._of_address) == (0, {})
