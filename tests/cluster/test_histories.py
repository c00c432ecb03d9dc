"""The checker of histories: a good one passes, and each fault that there can be is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.histories import (
    NONE,
    Acked,
    Event,
    Hinted,
    Pulled,
    Quiet,
    Reset,
    Restored,
    Retained,
    Sent,
)
from tests.support.historycheck import check

A, B = "0aaaaaaaa", "0bbbbbbbb"  # an epoch, and a later one
TWO = ((1, "m1"), (2, "m2"))
PAGE = Pulled("c", "edge", "x", None, A, 2, TWO, (A, 2), asked=3.0)
MORE = Pulled("c", "owner", "x", (A, 2), A, 3, ((3, "m3"),), (A, 3), asked=5.0)
KEPT = Retained("owner", "x", A, (*TWO, (3, "m3")))

GOOD: list[Event] = [
    Hinted("s", "edge", "x", (NONE, 0)),
    Sent("x", "m1"),
    Acked("x", "m1", (A, 1), 1.0),
    Sent("x", "m2"),
    Sent("x", "m2"),  # a retry
    Acked("x", "m2", (A, 2), 2.0),
    Hinted("s", "edge", "x", (A, 2)),
    PAGE,
    Sent("x", "m3"),
    Acked("x", "m3", (A, 3), 4.0),
    Hinted("s", "edge", "x", (A, 3)),
    MORE,
    KEPT,
    replace(KEPT, node="edge"),
    Quiet(("c",)),
]
# The log is taken back to where it held two; m3 is gone, and its number may not come again.
RESTORED: list[Event] = [
    *GOOD,
    Restored(covers=8),
    Hinted("s", "edge", "x", (B, 2)),
    Reset("c", "edge", "x", (A, 3), "epoch_changed", B, (B, 0)),
    Pulled("c", "edge", "x", (B, 0), B, 2, TWO, (B, 2), asked=6.0),
    Sent("x", "m4"),
    Acked("x", "m4", (B, 3), 7.0),
    Pulled("c", "owner", "x", (B, 2), B, 3, ((3, "m4"),), (B, 3), asked=8.0),
    Retained("owner", "x", B, (*TWO, (3, "m4"))),
    Retained("edge", "x", B, (*TWO, (3, "m4"))),
    Quiet(("c",)),
]


def changed(at: int, *instead: Event, of: list[Event] = GOOD) -> list[Event]:
    return [*of[:at], *instead, *of[at + 1 :]]


def before(at: int, *more: Event, of: list[Event] = GOOD) -> list[Event]:
    return [*of[:at], *more, *of[at:]]


FAULTS: dict[str, tuple[list[Event], set[str]]] = {
    "an acked message is gone": (
        [*GOOD[:11], replace(KEPT, entries=TWO)],
        {"lost", "hint ahead"},
    ),
    "all is gone, and begins anew": (
        [*GOOD[:12], replace(KEPT, epoch=B, entries=())],
        {"lost"},
    ),
    "a number names another message on another node": (
        changed(11, replace(MORE, entries=((3, "m9"),))),
        {"two names"},
    ),
    "a retry was stored again": (
        before(9, Acked("x", "m2", (A, 3), 4.0)),
        {"stored twice", "two names"},
    ),
    "one acked later got the lower number": (
        [Sent("x", "m2"), Acked("x", "m2", (A, 2)), Sent("x", "m1"), Acked("x", "m1", (A, 1))],
        {"order"},
    ),
    "a page leaves one out": (
        changed(7, replace(PAGE, entries=((2, "m2"),))),
        {"hole"},
    ),
    "a page goes on behind the cursor": (
        changed(11, replace(MORE, after=(A, 1), entries=((2, "m2"), (3, "m3")))),
        {"hole"},
    ),
    "a page goes farther than it has messages": (
        changed(7, replace(PAGE, entries=TWO[:1])),
        {"hole"},
    ),
    "a page says that there is nothing more": (
        changed(7, replace(PAGE, head=3)),
        {"hole"},
    ),
    "what is kept has a hole": (
        changed(12, replace(KEPT, entries=((1, "m1"), (3, "m3")))),
        {"hole", "lost", "nodes differ", "hint ahead"},
    ),
    "another life without a reset": (
        changed(11, replace(MORE, epoch=B, next=(B, 3))),
        {"silent epoch", "behind"},
    ),
    "a reset for nothing": (
        before(11, Reset("c", "edge", "x", (A, 2), "cursor_ahead", A, (A, 2))),
        {"reset"},
    ),
    "an epoch changed for nothing": (
        [*GOOD[:8], Reset("c", "edge", "x", (A, 2), "epoch_changed", B, (B, 0))],
        {"reset"},
    ),
    "a reset back into the old life": (
        [*RESTORED[:18], Reset("c", "edge", "x", (B, 2), "epoch_changed", A, (A, 0))],
        {"older epoch"},
    ),
    "a hint of the old life after one of the new": (
        before(17, Hinted("s", "edge", "x", (A, 3)), of=RESTORED),
        {"older epoch"},
    ),
    "a hint fell": (before(11, Hinted("s", "edge", "x", (A, 2))), {"hint fell"}),
    "a hint of what is not there": (
        before(11, Hinted("s", "edge", "x", (A, 4))),
        {"hint ahead"},
    ),
    "a client is behind when all is quiet": (
        [*GOOD[:11], *GOOD[12:]],
        {"behind"},
    ),
    "nodes keep different things": (
        changed(13, Retained("edge", "x", A, (*TWO, (3, "m3"), (4, "m4")))),
        {"nodes differ", "behind"},
    ),
    "an old answer that does not say so": (
        before(12, replace(PAGE, client="late", asked=100.0)),
        {"old"},
    ),
    "the client was told of more": (
        changed(7, replace(PAGE, atleast=3)),
        {"old"},
    ),
    "after a restore: what the backup holds is gone": (
        [*RESTORED[:20], Retained("owner", "x", B, TWO[:1])],
        {"lost", "hint ahead"},
    ),
    "after a restore: an old number for another message": (
        [*RESTORED[:16], Sent("x", "m4"), Acked("x", "m4", (A, 3))],
        {"order", "two names"},
    ),
}


@pytest.mark.parametrize("history", [GOOD, RESTORED], ids=["plain", "restored"])
def test_a_good_history_has_no_faults(history: list[Event]) -> None:
    assert check(history) == []


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(name: str) -> None:
    history, kinds = FAULTS[name]
    assert {fault.kind for fault in check(history)} == kinds


def test_an_old_answer_that_says_so_is_none() -> None:
    late = replace(PAGE, client="late", asked=100.0, stale=True, atleast=3)
    assert check(before(12, late)) == []


def test_what_came_after_the_backup_may_be_gone() -> None:
    """And only that: the third message was not in it."""
    gone = [*RESTORED[:16], Retained("owner", "x", B, TWO)]
    assert check(gone) == []
    covered = [*GOOD, Restored(covers=len(GOOD)), Retained("owner", "x", B, TWO)]
    assert {fault.kind for fault in check(covered)} == {"lost"}
