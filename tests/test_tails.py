"""Tails against a naive model that keeps everything: whatever is kept equals what is rebuilt."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.pulling import cut
from pushd.log import Advance, Head
from pushd.tails import (
    ANSWER_OVERHEAD,
    MAX_ANSWER_BYTES,
    MAX_ANSWERS,
    OVERHEAD,
    TAIL_OVERHEAD,
    Tails,
)

MIB = 1 << 20

DATE = b"Sat, 21 Nov 2026 08:00:00 GMT"
EPOCHS = ("0mhx3f9aa", "0mhx3f9ab", "0mhx3f9ac")


@dataclass
class Channel:
    """One channel as the log has it: every message ever, and the head."""

    head: Head
    messages: list[bytes] = field(default_factory=list)


class World:
    def __init__(self, max_bytes: int, max_messages: int) -> None:
        self.max_bytes = max_bytes
        self.tails = Tails(max_bytes, max_messages)
        self.channels: dict[str, Channel] = {}
        self.ended: dict[str, str] = {}

    def advance(self, name: str, sizes: list[int], life: int) -> None:
        channel = self.channels.get(name)
        epoch = EPOCHS[life]
        if epoch <= self.ended.get(name, ""):
            epoch = EPOCHS[EPOCHS.index(self.ended[name]) + 1]
        if channel is None or channel.head.epoch < epoch:
            channel = self.channels[name] = Channel(Head(name, 1, epoch, 0, 1, 0))
        head = channel.head
        start = head.seq + 1
        new = [b"%d:%d:" % (life, start + at) + b"x" * size for at, size in enumerate(sizes)]
        channel.messages += new
        head.seq += len(new)
        self.tails.advance(Advance(head, start, new))

    def pull(self, name: str, back: int, limit: int, max_bytes: int) -> None:
        """As Pulls does it: a finished answer, else from the tail, else from the log."""
        channel = self.channels.get(name)
        if channel is None:
            return
        head = channel.head
        after = max(head.seq - back, head.first - 1)
        right = channel.messages[after : after + limit]
        kept = self.tails.messages(head, after, limit, max_bytes)
        if kept is not None:
            assert kept, "an answer makes progress"
            assert kept == right[: len(kept)]
            assert len(kept) == 1 or sum(map(len, kept)) <= max_bytes
            if len(kept) < len(right):
                longer = right[: len(kept) + 1]
                assert sum(map(len, longer)) + len(longer) > max_bytes, "cut too early"
        rebuilt = b"%d;%d|" % (after, limit) + b",".join(cut(right, self.max_bytes))
        finished = self.tails.answer(head, after, limit, DATE)
        if finished is not None:
            assert finished == rebuilt
        else:
            self.tails.keep_answer(head, after, limit, rebuilt, DATE)

    def drop(self, name: str) -> None:
        self.tails.drop(name)

    def trim(self, name: str, forward: int) -> None:
        channel = self.channels.get(name)
        if channel is not None:
            head = channel.head
            head.first = min(head.first + forward, head.seq + 1)
            self.tails.change(name, head)
            self.forgotten(name, head)

    def redact(self, name: str, back: int) -> None:
        channel = self.channels.get(name)
        if channel is not None and channel.head.first <= channel.head.seq:
            head = channel.head
            seq = max(head.seq - back, head.first)
            channel.messages[seq - 1] = b"%d:redacted" % seq
            head.redactions += 1
            self.tails.change(name, head)
            self.forgotten(name, head)

    def delete(self, name: str) -> None:
        channel = self.channels.get(name)
        if channel is not None and channel.head.epoch < EPOCHS[-1]:
            del self.channels[name]
            self.tails.change(name, None)
            self.ended[name] = max(channel.head.epoch, self.ended.get(name, ""))
            self.forgotten(name, channel.head)
            assert name not in self.tails._tails, "what was deleted takes no memory"

    def forgotten(self, name: str, head: Head) -> None:
        """No answer that was finished before is given out."""
        for after in range(head.seq + 1):
            for limit in range(1, 10):
                assert self.tails.answer(head, after, limit, DATE) is None

    def check(self) -> None:
        sizes = [
            TAIL_OVERHEAD
            + sum(map(len, tail.messages))
            + OVERHEAD * len(tail.messages)
            + sum(len(answer) + ANSWER_OVERHEAD for _, answer in tail.answers.values())
            for tail in self.tails._tails.values()
        ]
        assert [tail.size for tail in self.tails._tails.values()] == sizes
        assert self.tails.size == sum(sizes) <= self.max_bytes
        for name, tail in self.tails._tails.items():
            channel = self.channels.get(name)
            if channel is not None and tail.epoch == channel.head.epoch:
                assert tail.start >= channel.head.first, "what was trimmed takes no memory"


names = st.sampled_from("ab")
steps = st.one_of(
    st.tuples(
        st.just("advance"),
        names,
        st.lists(st.integers(0, 90), min_size=1, max_size=4),
        st.integers(0, 2),
    ),
    st.tuples(st.just("pull"), names, st.integers(0, 6), st.integers(1, 9), st.integers(1, 400)),
    st.tuples(st.just("drop"), names),
    st.tuples(st.just("trim"), names, st.integers(0, 4)),
    st.tuples(st.just("redact"), names, st.integers(0, 4)),
    st.tuples(st.just("delete"), names),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(steps, max_size=60), st.integers(0, 6000), st.integers(0, 8))
def test_what_is_kept_equals_what_is_rebuilt(
    script: list[tuple[object, ...]], max_bytes: int, max_messages: int
) -> None:
    world = World(max_bytes, max_messages)
    for name, *arguments in script:
        getattr(world, str(name))(*arguments)
        world.check()


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(0, 500))
def test_a_cut_takes_as_many_as_fit_and_always_one(sizes: list[int], most: int) -> None:
    messages = [b"x" * size for size in sizes]
    taken = cut(messages, most)
    assert taken == messages[: len(taken)]
    assert taken
    joined = sum(map(len, taken)) + len(taken)
    assert joined <= most or len(taken) == 1
    if len(taken) < len(messages):
        assert joined + len(messages[len(taken)]) + 1 > most


def with_messages(count: int, max_messages: int = 100) -> tuple[Tails, Head]:
    tails = Tails(1 << 20, max_messages)
    head = Head("news", 1, EPOCHS[0], count, 1, 0)
    tails.advance(Advance(head, 1, [b"m%d" % at for at in range(1, count + 1)]))
    return tails, head


def test_the_newest_messages_stay() -> None:
    tails, head = with_messages(1000, max_messages=100)
    assert tails.messages(head, 900, 1000, 1 << 20) == [b"m%d" % at for at in range(901, 1001)]
    assert tails.messages(head, 999, 1, 1 << 20) == [b"m1000"]
    assert tails.messages(head, 10, 1, 1 << 20) is None


def test_an_answer_goes_when_the_head_moves() -> None:
    tails, head = with_messages(3)
    tails.keep_answer(head, 0, 10, b"three", DATE)
    assert tails.answer(head, 0, 10, DATE) == b"three"
    assert tails.answer(head, 0, 10, b"a second later") is None
    assert tails.answer(head, 0, 9, DATE) is None
    assert tails.answer(head, 1, 10, DATE) is None
    head.seq = 4
    tails.advance(Advance(head, 4, [b"m4"]))
    assert tails.answer(head, 0, 10, DATE) is None


def test_another_life_knows_nothing_of_the_one_before() -> None:
    tails, head = with_messages(3)
    tails.keep_answer(head, 0, 10, b"old", DATE)
    again = Head("news", 2, EPOCHS[1], 3, 1, 0)
    assert tails.answer(again, 0, 10, DATE) is None
    assert tails.messages(again, 0, 10, 1 << 20) is None
    tails.keep_answer(again, 0, 10, b"new", DATE)
    assert tails.answer(again, 0, 10, DATE) == b"new"
    assert tails.answer(head, 0, 10, DATE) is None
    assert tails.size == TAIL_OVERHEAD + len(b"new") + ANSWER_OVERHEAD


@pytest.mark.parametrize(("life", "start"), [(0, 6), (1, 4)], ids=["a gap", "another life"])
def test_what_does_not_follow_is_a_new_beginning(life: int, start: int) -> None:
    """Whatever was not told of between: no hole is handed out, and no other life's messages."""
    tails, _ = with_messages(3)
    head = Head("news", 1, EPOCHS[life], start, 1, 0)
    tails.advance(Advance(head, start, [b"new"]))
    for after in range(start - 1):
        assert tails.messages(head, after, 10, 1 << 20) is None
    assert tails.messages(head, start - 1, 10, 1 << 20) == [b"new"]


def test_a_dropped_channel_leaves_nothing() -> None:
    tails, head = with_messages(3)
    tails.keep_answer(head, 0, 10, b"old", DATE)
    tails.drop("news")
    assert tails.size == 0
    assert tails.answer(head, 0, 10, DATE) is None
    assert tails.messages(head, 0, 10, 1 << 20) is None


@pytest.mark.parametrize(
    ("size", "most"),
    [(100, (100 + ANSWER_OVERHEAD) * MAX_ANSWERS), (MIB, MAX_ANSWER_BYTES)],
)
def test_answers_of_one_channel_are_bounded(size: int, most: int) -> None:
    tails = Tails(1 << 40, 10)
    head = Head("news", 1, EPOCHS[0], 2000, 1, 0)
    answer = b"x" * size
    for after in range(2000):
        tails.keep_answer(head, after, 1, answer, DATE)
        assert tails.size <= TAIL_OVERHEAD + most
        assert tails.answer(head, after, 1, DATE) is answer


@pytest.mark.parametrize("use", ["written", "pulled"])
def test_the_least_recently_used_goes_first(use: str) -> None:
    room_for_two = 2 * (TAIL_OVERHEAD + OVERHEAD + 10)
    tails = Tails(room_for_two + ANSWER_OVERHEAD + 10, 100)
    first, second, third = (Head(name, 1, EPOCHS[0], 1, 1, 0) for name in "abc")
    for head in (first, second):
        tails.advance(Advance(head, 1, [b"x" * 10]))
    if use == "written":
        first.seq = 2
        tails.advance(Advance(first, 2, [b""]))
    else:
        tails.keep_answer(first, 0, 1, b"1" * 10, DATE)
    tails.advance(Advance(third, 1, [b"x" * 10]))
    assert tails.messages(second, 0, 1, 100) is None
    assert tails.messages(first, 0, 1, 100) is not None
    assert tails.messages(third, 0, 1, 100) is not None
