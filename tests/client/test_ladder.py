"""Which transport is tried when: a table of what happens and what follows."""

from __future__ import annotations

import random
from typing import Final

import pytest

from pushd.client.ladder import STABLE_S, Ladder, TransportKind

BOTH: Final[tuple[TransportKind, ...]] = ("websocket", "sse")
Step = tuple[float | None, bool, bool]
# lived_s, blocked, orderly
REFUSED: Final[Step] = (None, True, False)
UNREACHABLE: Final[Step] = (None, False, False)
SHORT: Final[Step] = (1.0, False, False)
LONG: Final[Step] = (STABLE_S, False, False)
GOODBYE: Final[Step] = (1.0, False, True)


@pytest.mark.parametrize(
    ("steps", "then"),
    [
        ([], "websocket"),
        ([REFUSED], "sse"),
        ([REFUSED, REFUSED], "websocket"),
        ([UNREACHABLE], "websocket"),
        ([REFUSED, UNREACHABLE], "websocket"),
        ([SHORT, SHORT], "websocket"),
        ([SHORT, SHORT, SHORT], "sse"),
        ([SHORT, SHORT, LONG, SHORT], "websocket"),
        ([GOODBYE] * 9, "websocket"),
        ([REFUSED, LONG, LONG], "sse"),
        ([REFUSED, SHORT, SHORT, SHORT], "websocket"),
    ],
)
def test_what_is_tried_next(steps: list[Step], then: TransportKind) -> None:
    ladder = Ladder(BOTH, random.Random(1))
    for lived_s, blocked, orderly in steps:
        kind = ladder.now
        assert kind is not None
        at_once = ladder.ended(kind, lived_s, blocked=blocked, orderly=orderly)
        assert at_once is (ladder.now == "sse" and kind == "websocket")
    assert ladder.now == then


def test_a_climb_that_does_not_last_is_over_soon() -> None:
    ladder = Ladder(BOTH, random.Random(1))
    for _ in range(3):
        ladder.ended("websocket", 1.0, blocked=False, orderly=False)
    assert (ladder.now, ladder.above) == ("sse", "websocket")
    ladder.climb()
    ladder.ended("sse", 99.0, blocked=False, orderly=True)
    assert (ladder.now, ladder.above) == ("websocket", None)
    assert ladder.ended("websocket", 1.0, blocked=False, orderly=False)
    assert ladder.now == "sse"


def test_probes_become_rare_and_common_again() -> None:
    ladder = Ladder(BOTH, random.Random(1))
    waits = [ladder.climb_in() for _ in range(20)]
    assert waits[0] <= 30
    assert 300 <= max(waits) <= 600
    ladder.ended("websocket", STABLE_S, blocked=False, orderly=False)
    assert ladder.climb_in() <= 30


@pytest.mark.parametrize("kinds", [(), ("sse",), ("websocket",)])
def test_fewer_rungs(kinds: tuple[TransportKind, ...]) -> None:
    ladder = Ladder(kinds, random.Random(1))
    assert ladder.now == (kinds[0] if kinds else None)
    assert ladder.above is None
    if kinds:
        assert not ladder.ended(kinds[0], None, blocked=True, orderly=False)
        assert ladder.now == kinds[0]
