"""The heads that an edge knows: an older life never wins, and a newer one comes in one step."""

from __future__ import annotations

import pytest

from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.mirror import Mirror
from pushd.cluster.wire import HeadState
from pushd.core.positions import Cursor
from pushd.log.live import Live

OLD, NEW = "0aaaaaaaa", "0bbbbbbbb"


@pytest.fixture
def mirror() -> Mirror:
    """Of the channel x, which somebody follows, at the old life's third message."""
    mirror = Mirror(Live())
    mirror.head(HeadState("x", OLD, 1, 3, 0), Applied())
    mirror.followed = lambda channel: True
    return mirror


def by_feed(mirror: Mirror, applied: Applied) -> None:
    mirror.head(HeadState("x", NEW, 1, 2, 0), applied)


def by_a_pull(mirror: Mirror, applied: Applied) -> None:
    reset = {"code": "epoch_changed", "epoch": NEW, "first": 1, "head": 2}
    mirror.was_reset("x", Cursor(OLD, 3), reset, applied)


def by_a_snapshot(mirror: Mirror, applied: Applied) -> None:
    mirror.begin_snapshot("later")
    by_feed(mirror, applied)
    mirror.end_snapshot(applied)


@pytest.mark.parametrize("told", [by_feed, by_a_pull, by_a_snapshot])
def test_a_life_follows_another_in_one_step(mirror: Mirror, told: object) -> None:
    """Whoever is told of the end finds the new life there: never none at all."""
    assert callable(told)
    applied = Applied()
    told(mirror, applied)
    assert mirror.mark("x") == (NEW, 2)
    assert [change.head for change in applied.changes] == [None]
    assert [advance.head.epoch for advance in applied.advances] == [NEW]


def test_an_older_life_never_wins(mirror: Mirror) -> None:
    by_feed(mirror, Applied())
    applied = Applied()
    mirror.head(HeadState("x", OLD, 1, 9, 0), applied)
    assert mirror.mark("x") == (NEW, 2)
    assert not applied.changes
    assert not applied.advances
