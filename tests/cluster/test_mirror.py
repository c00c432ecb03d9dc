"""What an edge takes for true: the newest, in whatever order, and how often, it is told."""

from __future__ import annotations

import random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.mirror import Mirror
from pushd.cluster.edge.pulled import Part
from pushd.cluster.wire import Ended, HeadState
from pushd.core.positions import Cursor
from pushd.core.topics import Mark
from pushd.log import Head
from pushd.log.live import Live

CHANNEL = "news"


class Step(NamedTuple):
    """How the channel is after a change at the owner. ``seq`` 0: this life has ended."""

    epoch: str
    first: int
    seq: int
    redactions: int

    @property
    def state(self) -> HeadState:
        return HeadState(CHANNEL, self.epoch, self.first, self.seq, 0, 0, self.redactions)


def epoch(number: int) -> str:
    return f"{number:09}"


def histories() -> st.SearchStrategy[list[Step]]:
    """All that happens to one channel, in order."""
    kinds = st.sampled_from(["append", "append", "append", "trim", "redact", "delete"])

    def build(changes: list[str]) -> list[Step]:
        life, steps = 1, [Step(epoch(1), 1, 1, 0)]
        for change in changes:
            _, first, seq, redactions = steps[-1]
            if seq == 0:
                life += 1
                steps.append(Step(epoch(life), 1, 1, 0))
            elif change == "append":
                steps.append(Step(epoch(life), first, seq + 1, redactions))
            elif change == "trim":
                steps.append(Step(epoch(life), min(first + 2, seq + 1), seq, redactions))
            elif change == "redact":
                steps.append(Step(epoch(life), first, seq, redactions + 1))
            else:
                steps.append(Step(epoch(life), 0, 0, 0))
        return steps

    return st.lists(kinds, max_size=25).map(build)


def message(life: str, seq: int) -> bytes:
    return f'"{life}.{seq}"'.encode()


def part_of(step: Step, asked: Cursor | None, limit: int) -> Part:
    """As the owner answers a pull when the channel is like this."""
    at = {"epoch": step.epoch, "first": step.first, "head": step.seq}
    if step.seq == 0:
        at = {"epoch": "none", "first": 1, "head": 0}
        if asked is None:
            return Part("none", 1, 0, "none.0")
    if (asked is not None and asked.epoch != step.epoch) or step.seq == 0:
        return Part(reset={"code": "epoch_changed", **at})
    if asked is not None and asked.seq > step.seq:
        return Part(reset={"code": "cursor_ahead", **at})
    after = step.first - 1 if asked is None else asked.seq
    if after < step.first - 1:
        return Part(reset={"code": "expired", **at})
    upto = min(step.seq, after + limit)
    messages = [Raw(message(step.epoch, seq)) for seq in range(after + 1, upto + 1)]
    cursor = f"{step.epoch}.{upto}"
    return Part(step.epoch, step.first, step.seq, cursor, upto < step.seq, messages)


class World:
    """A mirror, and a check of each thing that it does."""

    def __init__(self, followed: bool) -> None:
        self.live = Live()
        self.mirror = Mirror(self.live, lambda channel: followed)
        self.highest: Mark = ("", 0)

    @property
    def head(self) -> Head | None:
        return self.live.heads.get(CHANNEL)

    def check(self, applied: Applied) -> None:
        for advance in applied.advances:
            life, newest = advance.head.epoch, advance.start + len(advance.messages) - 1
            assert advance.messages == [
                message(life, seq) for seq in range(advance.start, newest + 1)
            ]
            if advance.messages:
                assert newest == advance.head.seq
        head = self.head
        if head is not None:
            assert (head.epoch, head.seq) >= self.highest, "fell back"
            assert 1 <= head.first <= head.seq + 1
            self.highest = (head.epoch, head.seq)

    def tell(self, step: Step) -> None:
        applied = Applied()
        if step.seq:
            self.mirror.head(step.state, applied)
        else:
            self.mirror.ended(Ended(CHANNEL, step.epoch), applied)
        self.check(applied)

    def pull(self, step: Step, asked: Cursor | None, limit: int) -> None:
        applied = Applied()
        self.mirror.pulled(CHANNEL, asked, part_of(step, asked, limit), applied)
        self.check(applied)


@given(histories(), st.randoms(use_true_random=False), st.booleans())
def test_the_newest_wins_in_any_order(
    steps: list[Step], chance: random.Random, followed: bool
) -> None:
    """States told in any order, some twice, some never, and answers of any time in between."""
    world = World(followed)
    told = [step for step in steps for _ in range(chance.randint(0, 2))] + [steps[-1]]
    chance.shuffle(told)
    for step in told:
        world.tell(step)
        if chance.random() < 0.4:
            asked = world.mirror.cursor(CHANNEL) if chance.random() < 0.7 else None
            world.pull(chance.choice(steps), asked, chance.randint(1, 5))
    last = steps[-1]
    world.tell(last)
    for _ in steps:
        world.mirror.begin_pull()
        world.pull(last, world.mirror.cursor(CHANNEL), 1000)
    head = world.head
    if last.seq == 0:
        assert head is None
    else:
        assert head is not None
        assert (head.epoch, head.seq, head.first) == (last.epoch, last.seq, last.first)


@given(histories(), histories(), st.randoms(use_true_random=False), st.booleans())
def test_a_snapshot_of_another_generation_is_true_whatever_was_before(
    before: list[Step], after: list[Step], chance: random.Random, followed: bool
) -> None:
    """An owner that has lost something: its directory is an older copy."""
    world = World(followed)
    world.mirror.begin_snapshot("1")
    world.mirror.end_snapshot(Applied())
    for step in before:
        world.tell(step)
        world.pull(step, world.mirror.cursor(CHANNEL), 1000)
    world.mirror.begin_snapshot("2")
    world.highest = ("", 0)
    last = after[-1]
    if last.seq:
        world.tell(last)
        world.tell(last)
    world.mirror.end_snapshot(Applied())
    world.mirror.begin_pull()
    for _ in range(3):
        world.pull(last, world.mirror.cursor(CHANNEL), 1000)
    head = world.head
    assert (head is None) == (last.seq == 0)
    if head is not None:
        assert (head.epoch, head.seq) == (last.epoch, last.seq)


def test_what_a_snapshot_does_not_show_is_gone() -> None:
    world = World(followed=False)
    world.mirror.begin_snapshot("1")
    world.tell(Step(epoch(1), 1, 5, 0))
    world.mirror.end_snapshot(Applied())
    world.mirror.begin_snapshot("1")
    applied = Applied()
    world.mirror.end_snapshot(applied)
    assert world.head is None
    assert [(change.channel, change.head) for change in applied.changes] == [(CHANNEL, None)]


def test_a_channel_that_is_followed_rises_with_its_messages_only() -> None:
    world = World(followed=True)
    applied = Applied()
    world.mirror.head(Step(epoch(1), 1, 3, 0).state, applied)
    assert world.head is None
    assert applied.claims == {CHANNEL: (epoch(1), 3)}
    assert applied.advances == []
    world.pull(Step(epoch(1), 1, 3, 0), None, 1000)
    applied = Applied()
    world.mirror.head(Step(epoch(1), 3, 9, 1).state, applied)
    head = world.head
    assert head is not None
    assert (head.seq, head.first, head.redactions) == (3, 3, 1)  # what is gone is gone at once
    assert [change.head for change in applied.changes] == [head]
    assert applied.claims == {CHANNEL: (epoch(1), 9)}


def test_no_answer_of_before_a_redaction_is_shown_after_it() -> None:
    world = World(followed=True)
    world.pull(Step(epoch(1), 1, 3, 0), None, 1000)
    world.mirror.begin_pull()
    world.tell(Step(epoch(1), 1, 5, 1))
    applied = Applied()
    old = part_of(Step(epoch(1), 1, 5, 0), Cursor(epoch(1), 3), 1000)
    assert world.mirror.pulled(CHANNEL, Cursor(epoch(1), 3), old, applied)
    assert applied.advances == []
    world.mirror.begin_pull()
    world.mirror.pulled(CHANNEL, Cursor(epoch(1), 3), old, applied)
    assert [advance.start for advance in applied.advances] == [4]
