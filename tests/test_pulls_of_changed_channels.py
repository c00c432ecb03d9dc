"""Trimmed, redacted, deleted while the log is read: the answer is of the channel as it is now."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pushd.core.namespaces import Namespaces, Rules
from pushd.core.positions import START, Cursor, next_epoch
from pushd.core.responses import Responses, body_of
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import Overloaded, PushdError, Reset
from pushd.fanout import Fanout, FanoutOptions
from pushd.log import Advance, Head, MissingMessages
from pushd.metrics import Counters
from pushd.multianswer import MultiAnswer
from pushd.places import Places
from pushd.pull import MAX_READS, Pulls
from pushd.tails import Tails

Done = Callable[[list[bytes] | PushdError], None]
RULES = Namespaces(Rules(), {"typing": Rules(ephemeral=True)})


# Nothing in these channels is about to go.
NEW = 1 << 52


class Log:
    """As the log does it: what was read is of the time of asking, and refused if that is over."""

    stale = 0.0

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.stored: dict[tuple[str, str], list[bytes]] = {}
        self.reads: deque[Callable[[], None]] = deque()
        self.lost: set[str] = set()

    def read_messages(
        self, head: Head, after: int, upto: int, limit: int, max_bytes: int, done: Done
    ) -> None:
        found = self.stored[head.channel, head.epoch][after : min(upto, after + limit)]
        redactions = head.redactions

        def answer() -> None:
            if head.channel in self.lost:
                done(MissingMessages("not on disk"))
                return
            current = self.heads.get(head.channel) is head and after >= head.first - 1
            if current and head.redactions == redactions:
                done(found)
            else:
                done(MissingMessages("changed meanwhile"))

        self.reads.append(answer)


class World:
    def __init__(self, memory: int = 0) -> None:
        self.log = Log()
        self.tails = Tails(memory, 1000)
        self.epoch = next_epoch(None, 0)
        self.asked: list[tuple[str, Cursor, int]] = []
        self.answers = self.changes = 0
        self.wrong: list[AssertionError] = []
        self.pulls = Pulls(
            self.log,  # type: ignore[arg-type]
            Places(self.log, RULES),  # type: ignore[arg-type]
            self.tails,
            Fanout(FanoutOptions(longest_rest=0.0), Counters()),  # as in tests/test_pulls.py
            TimingWheel[Expiring](0.25, 0.0),
            Responses(),
            Counters(),
            1 << 20,
        )

    def change(self, channel: str) -> None:
        """As the hub does it."""
        self.changes += 1
        self.tails.change(channel, self.log.heads.get(channel))

    def publish(self, channel: str, count: int) -> None:
        head = self.log.heads.get(channel)
        if head is None:
            self.epoch = next_epoch(self.epoch, 0)
            head = self.log.heads[channel] = Head(channel, 1, self.epoch, 0, 1, 0, first_at=NEW)
        stored = self.log.stored.setdefault((channel, head.epoch), [])
        start = len(stored) + 1
        new = [b'{"seq":%d,"data":"%b"}' % (start + n, head.epoch.encode()) for n in range(count)]
        stored += new
        head.seq += count
        self.tails.advance(Advance(head, start, new))

    def trim(self, channel: str, forward: int) -> None:
        head = self.log.heads.get(channel)
        if head is not None:
            head.first = min(head.first + forward, head.seq + 1)
            self.change(channel)

    def redact(self, channel: str, back: int) -> None:
        head = self.log.heads.get(channel)
        if head is not None and head.first <= head.seq:
            seq = max(head.seq - back, head.first)
            stored = self.log.stored[channel, head.epoch]
            stored[seq - 1] = b'{"seq":%d,"data":null}' % seq
            head.redactions += 1
            self.change(channel)

    def delete(self, channel: str) -> None:
        if self.log.heads.pop(channel, None) is not None:
            self.change(channel)

    def lose(self, channel: str) -> None:
        self.log.lost.add(channel)

    def ask(self, channel: str, back: int, limit: int) -> None:
        """``back`` < 0: from the start."""
        head = self.log.heads.get(channel)
        cursor = START
        if head is not None and back >= 0:
            cursor = Cursor(head.epoch, max(head.seq - back, 0))
        self.asked.append((channel, cursor, limit))

        def check(answer: bytes | PushdError) -> None:
            self.answers += 1
            try:
                self.check(answer, channel, cursor, limit)
            except AssertionError as error:  # who answers pulls lets none of them fail
                self.wrong.append(error)

        try:
            answer = self.pulls.answer(channel, cursor, limit, check)
        except PushdError as error:
            check(error)
        else:
            if answer is not None:
                check(answer)

    def check(self, answer: bytes | PushdError, channel: str, cursor: Cursor, limit: int) -> None:
        """Right for the channel as it is at this moment."""
        head = self.log.heads.get(channel)
        epoch, first = ("none", 1) if head is None else (head.epoch, head.first)
        if isinstance(answer, PushdError):
            assert isinstance(answer, Reset), answer
            assert cursor != START
            assert answer.extra["resume"] == f"{epoch}.{first - 1}"
            assert cursor.epoch != epoch or cursor.seq < first - 1, "needless"
            assert cursor.epoch != epoch or not channel.startswith("typing")
            return
        body = json.loads(body_of(answer))
        assert (body["epoch"], body["first"]) == (epoch, first)
        after = first - 1 if cursor == START else cursor.seq
        if channel.startswith("typing"):
            after = max(after, first - 1)
        right = [] if head is None else self.log.stored[channel, epoch][after : body["head"]]
        if body["messages"] or self.changes < MAX_READS:
            assert body["messages"] == [json.loads(each) for each in right[:limit]]
        assert body["next"] == f"{epoch}.{after + len(body['messages'])}"
        assert body["more"] == (after + len(body["messages"]) < body["head"])

    def read(self, count: int) -> None:
        for _ in range(min(count, len(self.log.reads))):
            self.log.reads.popleft()()


channels = st.sampled_from(["news", "typing:x"])
steps = st.one_of(
    st.tuples(st.just("publish"), channels, st.integers(1, 4)),
    st.tuples(st.just("ask"), channels, st.integers(-1, 6), st.integers(1, 4)),
    st.tuples(st.just("ask"), channels, st.integers(-1, 6), st.integers(1, 4)),
    st.tuples(st.just("trim"), channels, st.integers(0, 4)),
    st.tuples(st.just("redact"), channels, st.integers(0, 4)),
    st.tuples(st.just("delete"), channels),
    st.tuples(st.just("read"), st.integers(1, 3)),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(steps, max_size=40), st.sampled_from([0, 600, 1 << 20]))
@example([("publish", "news", 4), ("ask", "news", 4, 4), ("trim", "news", 2)], 0)
@example([("publish", "news", 4), ("ask", "news", 2, 4), ("trim", "news", 2)], 0)
@example([("publish", "news", 4), ("ask", "news", -1, 4), ("trim", "news", 2)], 0)
@example([("publish", "news", 4), ("ask", "news", 4, 4), ("redact", "news", 1)], 0)
@example([("publish", "news", 4), ("ask", "news", 4, 4), ("delete", "news")], 0)
@example(
    [("publish", "news", 4), ("ask", "news", 0, 4), ("trim", "news", 4), ("ask", "news", 0, 4)],
    9999,
)
@example([("publish", "typing:x", 4), ("ask", "typing:x", 4, 4), ("trim", "typing:x", 2)], 0)
def test_every_answer_is_of_the_channel_as_it_is_then(
    script: list[tuple[Any, ...]], memory: int
) -> None:
    world = World(memory)
    for name, *arguments in script:
        getattr(world, name)(*arguments)
    rounds = 0
    while world.log.reads:
        world.read(1)
        rounds += 1
        assert rounds <= len(world.asked) * MAX_READS
    assert world.answers == len(world.asked), "each is answered once"
    assert world.wrong == []


def test_a_channel_that_changes_without_end_is_not_read_without_end() -> None:
    world = World()
    world.publish("news", 9)
    answers: list[bytes | PushdError] = []
    for _ in range(3):
        assert world.pulls.answer("news", START, 9, answers.append) is None
    reads = 0
    while world.log.reads:
        world.redact("news", 0)
        world.read(1)
        reads += 1
        assert reads <= MAX_READS
    assert reads == MAX_READS, "and once for all who ask"
    epoch = world.log.heads["news"].epoch
    for answer in answers:
        assert isinstance(answer, bytes)
        body = json.loads(body_of(answer))
        assert (body["next"], body["messages"], body["more"]) == (f"{epoch}.0", [], True)


def test_a_log_that_has_lost_messages_says_so() -> None:
    """Neither a hole nor a loop: the operator has to look at it."""
    world = World()
    world.publish("news", 9)
    answers: list[bytes | PushdError] = []
    with capture_logs() as entries:
        for _ in range(2):
            assert world.pulls.answer("news", START, 9, answers.append) is None
        world.lose("news")
        world.read(1)
    assert not world.log.reads
    assert [type(answer) for answer in answers] == [Overloaded] * 2
    assert [entry["log_level"] for entry in entries] == ["error"]


@pytest.mark.parametrize("change", ["trim", "redact", "delete"])
def test_what_was_in_already_is_looked_at_again(change: str) -> None:
    """While a later channel of the same answer is read, an earlier one is changed."""
    world = World()
    for channel in "abc":
        world.publish(channel, 4)
    asked: list[tuple[str, Cursor | PushdError]] = [
        (channel, Cursor(world.log.heads[channel].epoch, 1)) for channel in "abc"
    ]
    bodies: list[bytes] = []
    MultiAnswer(world.pulls, asked, 100, b"[]", bodies.append).run()
    world.read(1)  # a is in; b is being read
    getattr(world, change)("a", *([4] if change == "trim" else [0] if change == "redact" else []))
    while world.log.reads:
        world.read(1)
    found = json.loads(bodies[0])["channels"]
    assert [len(found[channel]["messages"]) for channel in "bc"] == [3, 3]
    if change == "redact":
        assert (found["a"]["messages"], found["a"]["more"]) == ([], True)
        assert found["a"]["next"].endswith(".1"), "nothing is passed over"
    else:
        assert list(found["a"]) == ["reset"]


@pytest.mark.parametrize("change", ["trim", "delete"])
def test_one_channel_of_many_is_reset_the_others_are_not(change: str) -> None:
    world = World()
    for channel in "abc":
        world.publish(channel, 4)
    asked: list[tuple[str, Cursor | PushdError]] = [
        (channel, Cursor(world.log.heads[channel].epoch, 1)) for channel in "abc"
    ]
    bodies: list[bytes] = []
    MultiAnswer(world.pulls, asked, 100, b"[]", bodies.append).run()
    world.read(1)  # a is in; b is being read
    getattr(world, change)("b", *([4] if change == "trim" else []))
    while world.log.reads:
        world.read(1)
    [body] = bodies
    found = json.loads(body)["channels"]
    assert [len(found[channel]["messages"]) for channel in "ac"] == [3, 3]
    code = "expired" if change == "trim" else "epoch_changed"
    assert (list(found["b"]), found["b"]["reset"]["code"]) == (["reset"], code)
