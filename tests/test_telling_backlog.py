"""Whose turn it is to be told of: order, rests, and nobody forgotten."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pushd.core.positions import Cursor
from pushd.telling.backlog import BATCH_MESSAGES, LONGEST_REST_S, Backlog

START = Cursor("e", 0)


def of(*channels: str) -> Backlog:
    backlog = Backlog()
    for channel in channels:
        assert backlog.add(channel, START)
    return backlog


def test_first_come_first_served() -> None:
    backlog = of("a", "b")
    assert not backlog.add("a", Cursor("e", 9)), "where it is behind since is known"
    first, second = backlog.take(0), backlog.take(0)
    assert first is not None
    assert second is not None
    assert (first.channel, first.cursor, second.channel) == ("a", START, "b")
    assert backlog.take(0) is None
    assert not backlog.add("a", START), "it was taken, and not given back yet"
    backlog.give_back(second)
    backlog.give_back(first, first=True)
    assert [each.channel for _ in range(2) if (each := backlog.take(0))] == ["a", "b"]


def test_who_rests_is_passed_over_until_then() -> None:
    backlog = of("a", "b")
    first = backlog.take(0)
    assert first is not None
    backlog.rest(first, 5.0)
    assert backlog.next_at() == -math.inf
    second = backlog.take(1)
    assert second is not None
    backlog.done(second)
    assert backlog.next_at() == 5.0
    assert backlog.take(4.9) is None
    assert backlog.take(5.0) is first
    assert (backlog.next_at(), len(backlog)) == (math.inf, 1)
    assert backlog.add("b", START), "it was done, so it is new again"


def test_refusals_ask_for_less_and_for_longer_rests_until_it_is_taken() -> None:
    behind = of("a").take(0)
    assert behind is not None
    rests, limits = [], []
    messages = BATCH_MESSAGES
    for _ in range(9):
        rests.append(behind.refused(messages))
        messages = min(messages, behind.limit)
        limits.append(behind.limit)
    assert rests == [1, 2, 4, 8, 16, 32, *[LONGEST_REST_S] * 3]
    assert limits == [62, 7, 1, 1, 1, 1, 1, 1, 1]
    behind.taken(Cursor("e", 1))
    assert (behind.cursor, behind.limit, behind.alone) == (Cursor("e", 1), BATCH_MESSAGES, False)
    assert behind.refused(1) == 1


@given(st.lists(st.sampled_from(["add", "take", "back", "rest", "done", "lose"]), max_size=80))
def test_nobody_is_forgotten(steps: list[str]) -> None:
    """Whatever happens, after a recovery each that is not done has its turn."""
    backlog, taken, now, wanted, number = Backlog(), [], 0.0, set(), 0
    for step in steps:
        now += 1
        if step == "add":
            number += 1
            assert backlog.add(f"c{number}", START)
            wanted.add(f"c{number}")
        elif step == "take":
            behind = backlog.take(now)
            if behind is not None:
                taken.append(behind)
        elif taken:
            behind = taken.pop()
            if step == "back":
                backlog.give_back(behind)
            elif step == "rest":
                backlog.rest(behind, now + 3)
            elif step == "done":
                backlog.done(behind)
                wanted.remove(behind.channel)
    backlog.recover()
    found = []
    while (behind := backlog.take(now + 3)) is not None:
        found.append(behind.channel)
    assert sorted(found) == sorted(wanted)
