"""Pulls without sockets: what is asked of the log, polls that wait, answers of many channels."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pushd.core.namespaces import NO_RULES, Namespaces, Rules
from pushd.core.positions import START, Cursor
from pushd.core.responses import Responses, body_of
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import NotReady, Overloaded, PushdError
from pushd.fanout import Fanout, FanoutOptions
from pushd.log import Advance, Head
from pushd.metrics import Counters
from pushd.multianswer import MultiAnswer
from pushd.places import Places
from pushd.pull import Pulls
from pushd.tails import Tails

# Nothing in these channels is about to go.
NEW = 1 << 52
EPOCH = "0mhx3f9ab"
Read = tuple[str, int, int, int]


class Log:
    """Keeps what is asked for until the test answers it."""

    stale = 0.0

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.reads: list[tuple[Read, Callable[[list[bytes] | PushdError], None]]] = []

    def read_messages(
        self, head: Head, after: int, upto: int, limit: int, max_bytes: int, done: Any
    ) -> None:
        self.reads.append(((head.channel, after, upto, limit), done))

    def give(self) -> Read:
        """Answer the oldest read."""
        (read, done) = self.reads.pop(0)
        _, after, upto, limit = read
        done(messages(after + 1, min(upto, after + limit)))
        return read


def messages(first: int, last: int) -> list[bytes]:
    return [b'{"seq":%d}' % seq for seq in range(first, last + 1)]


class World:
    def __init__(
        self, max_bytes: int = 1000, memory: int = 1 << 20, namespaces: Namespaces = NO_RULES
    ) -> None:
        self.log = Log()
        self.tails = Tails(memory, 1000)
        # A pass that was interrupted for long seems to have cost much: its channel would rest.
        self.fanout = Fanout(FanoutOptions(longest_rest=0.0), Counters())
        self.wheel: TimingWheel[Expiring] = TimingWheel(0.25, 0.0)
        self.counters = Counters()
        self.pulls = Pulls(
            self.log,  # type: ignore[arg-type]
            Places(self.log, namespaces),  # type: ignore[arg-type]
            self.tails,
            self.fanout,
            self.wheel,
            Responses(),
            self.counters,
            max_bytes,
        )
        self.got: list[bytes | PushdError] = []

    def write(self, channel: str, count: int, *, told: bool = False) -> None:
        """``told``: as the hub does it when messages were committed just now."""
        head = self.log.heads.setdefault(channel, Head(channel, 1, EPOCH, 0, 1, 0, first_at=NEW))
        start = head.seq + 1
        head.seq += count
        if told:
            self.tails.advance(Advance(head, start, messages(start, head.seq)))
            self.fanout.advance(channel, (EPOCH, head.seq))

    def ask(self, channel: str, after: int, limit: int = 100) -> list[int] | None:
        """The seqs of an answer that is at hand; None when it comes later, to ``got``."""
        answer = self.pulls.answer(channel, Cursor(EPOCH, after), limit, self.got.append)
        return None if answer is None else seqs(answer)


def seqs(answer: bytes | PushdError) -> list[int]:
    assert isinstance(answer, bytes)
    return [message["seq"] for message in json.loads(body_of(answer))["messages"]]


def test_the_log_is_read_once_for_all_who_ask_the_same() -> None:
    world = World()
    world.write("news", 10)
    for _ in range(5):
        assert world.ask("news", 4) is None
    assert world.ask("news", 5) is None
    assert len(world.log.reads) == 2
    assert world.log.give() == ("news", 4, 10, 100)
    assert [seqs(answer) for answer in world.got] == [[5, 6, 7, 8, 9, 10]] * 5
    assert world.ask("news", 4) == [5, 6, 7, 8, 9, 10], "kept"
    assert len(world.log.reads) == 1


def test_an_answer_of_a_node_that_has_lost_its_owner_says_so_and_is_not_kept() -> None:
    world = World(namespaces=Namespaces(Rules(), {"open": Rules(public=True)}))
    for channel in ("news", "open:1"):
        world.write(channel, 3, told=True)

    def stale(channel: str, seconds: float) -> object:
        world.log.stale = seconds
        answer = world.pulls.answer(channel, START, 100, world.got.append)
        assert answer is not None
        return json.loads(body_of(answer)).get("stale")

    assert [stale("news", seconds) for seconds in (1.9, 2.0, 4.9, 0.1)] == [None, 2000, 4900, None]
    assert [stale("open:1", seconds) for seconds in (6.0, 0.0)] == [6000, None]
    for channel, seconds in (("news", 5.0), ("open:1", math.inf), ("never written to", 5.0)):
        with pytest.raises(NotReady):
            stale(channel, seconds)
    assert stale("never written to", 3.0) == 3000


def test_a_read_that_fails_is_told_to_all_and_not_kept() -> None:
    world = World()
    world.write("news", 10)
    world.ask("news", 4)
    world.ask("news", 4)
    _, done = world.log.reads.pop()
    done(Overloaded("busy"))
    assert [type(answer) for answer in world.got] == [Overloaded, Overloaded]
    assert world.ask("news", 4) is None, "asked again"


def test_messages_that_come_while_the_log_is_read() -> None:
    """The answer ends at the head it was asked at, and says so; it is not kept for the next."""
    world = World()
    world.write("news", 10)
    world.ask("news", 8)
    world.write("news", 1, told=True)
    world.log.give()
    body = json.loads(body_of(world.got[0]))  # type: ignore[arg-type]
    assert (seqs(world.got[0]), body["head"], body["next"]) == ([9, 10], 10, f"{EPOCH}.10")
    assert world.ask("news", 8) is None
    assert world.ask("news", 10) == [11]


def test_what_is_in_memory_needs_no_log() -> None:
    world = World()
    world.write("news", 10, told=True)
    assert world.ask("news", 0) == list(range(1, 11))
    assert world.ask("news", 7, 2) == [8, 9]
    assert world.ask("news", 10) == []
    assert world.log.reads == []


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.integers(1, 5)), max_size=30),
    st.sampled_from([0, 2000, 1 << 20]),
)
def test_every_answer_is_what_the_log_has(asked: list[tuple[int, int, int]], memory: int) -> None:
    """Whatever is kept, dropped, or read: the same bytes, whole and in order."""
    world = World(max_bytes=1 << 20, memory=memory)
    for new, back, limit in asked:
        world.write("news", new, told=True) if new else world.tails.drop("news")
        head = world.log.heads.get("news")
        if head is None:
            continue
        after = max(head.seq - back, 0)
        right = list(range(after + 1, min(after + limit, head.seq) + 1))
        for _ in range(2):
            found = world.ask("news", after, limit)
            if found is None:
                world.log.give()
                found = seqs(world.got.pop())
            assert found == right


# -- polls that wait -------------------------------------------------------------------------------


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with trio.open_nursery() as nursery:
        await nursery.start(made.fanout.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_a_wait_is_shortened_by_up_to_a_fifth(world: World, mock_clock: MockClock) -> None:
    waits = []
    for _ in range(200):
        poll = world.pulls.hold(["news"], 30.0, lambda: None)
        assert poll is not None
        waits.append(poll.deadline - trio.current_time())
    assert all(24 <= wait <= 30 for wait in waits)
    assert max(waits) - min(waits) > 3, "spread out, so that polls do not come in step"


@pytest.mark.parametrize("end", ["moved", "expire", "cancel"])
async def test_a_poll_is_finished_once_and_leaves_nothing(world: World, end: str) -> None:
    finished: list[str] = []
    poll = world.pulls.hold(["a", "b"], 30, lambda: finished.append("once"))
    assert poll is not None
    assert len(world.wheel) == len(world.pulls.held) == 1
    getattr(poll, end)()
    for again in (poll.moved, poll.expire, poll.cancel):
        again()
    assert finished == ([] if end == "cancel" else ["once"])
    assert (len(world.wheel), world.pulls.held, world.fanout.topics) == (0, {}, {})


async def test_who_knows_the_head_is_not_woken_by_it(world: World) -> None:
    """The head rises before fan-out comes to it: a poll in between waits for the next one."""
    finished: list[str] = []
    world.pulls.hold(["news"], 30, lambda: finished.append("early"))
    world.write("news", 1, told=True)
    world.pulls.hold(["other", "news"], 30, lambda: finished.append("late"))
    await wait_all_tasks_blocked()
    assert finished == ["early"]
    world.write("news", 1, told=True)
    await wait_all_tasks_blocked()
    assert finished == ["early", "late"]


async def test_a_server_that_stops_holds_nothing(world: World) -> None:
    poll = world.pulls.hold(["news"], 30, lambda: None)
    assert world.pulls.drain() == [poll]
    assert world.pulls.hold(["news"], 30, lambda: None) is None


# -- many channels in one answer -------------------------------------------------------------------


def ask_many(world: World, asked: list[tuple[str, Cursor | PushdError]]) -> list[dict[str, Any]]:
    bodies: list[bytes] = []
    MultiAnswer(world.pulls, asked, 100, b"[]", bodies.append).run()
    while world.log.reads:
        assert bodies == [], "not before all are in"
        world.log.give()
    [body] = bodies
    decoded = json.loads(body)
    assert list(decoded["channels"]) == [name for name, _ in asked]
    return list(decoded["channels"].values())


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=8))
@example([(0, False), (0, False), (30, False)])  # empty ones leave the room to the last
def test_many_together_stay_within_their_bytes(channels: list[tuple[int, bool]]) -> None:
    world = World(max_bytes=500)
    asked: list[tuple[str, Cursor | PushdError]] = []
    for at, (count, told) in enumerate(channels):
        world.write(f"c{at}", count, told=told and count > 0)
        asked.append((f"c{at}", START))
    entries = ask_many(world, asked)
    sizes = [len(json.dumps(e["messages"], separators=(",", ":"))) for e in entries]
    assert sum(size for size in sizes if size > 2) <= 500 + 20  # one more message
    for (count, _), entry in zip(channels, entries, strict=True):
        found = [message["seq"] for message in entry["messages"]]
        assert found == list(range(1, len(found) + 1))
        assert entry["next"].endswith(f".{len(found)}")
        assert entry["more"] == (len(found) < count)
    if any(count for count, _ in channels):
        assert any(entry["messages"] for entry in entries), "an answer makes progress"
