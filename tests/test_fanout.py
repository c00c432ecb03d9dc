"""Fan-out against a model: whatever happens in whatever order, hints only rise, and all learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pushd import fanout as fanout_module
from pushd.core.namespaces import Namespaces, Rules
from pushd.core.positions import next_epoch
from pushd.core.topics import NOTHING, Mark, Subscription
from pushd.fanout import CHUNK, Fanout, FanoutOptions
from pushd.metrics import Counters

EPOCHS = ("0mhx3f9aa", "0mhx3f9ab", "0mhx3f9ac")


class Link:
    """A socket that the test makes busy, and that may become so by a write."""

    def __init__(self, heads: dict[str, Mark], room: int = 1 << 30) -> None:
        self.hold = False
        self.room = room
        self.told: dict[str, list[Mark]] = {}
        self._heads = heads

    def write(self, data: bytes) -> bool:
        assert not self.hold, "hints are marked while the socket is busy, never queued"
        hint = json.loads(data[2:])
        mark = (hint["epoch"], hint["seq"])
        assert mark <= self._heads.get(hint["channel"], NOTHING), "a hint named what is not there"
        self.told.setdefault(hint["channel"], []).append(mark)
        self.room -= 1
        self.hold = self.room <= 0
        return not self.hold


class Waiter:
    def __init__(self, fail: bool = False) -> None:
        self.answers = 0
        self.fail = fail

    def moved(self) -> None:
        self.answers += 1
        if self.fail:
            raise RuntimeError("this one's connection is broken")


class World:
    """Fan-out, the heads as the log knows them, and everybody who follows."""

    def __init__(self) -> None:
        self.heads: dict[str, Mark] = {}
        self.links = [Link(self.heads) for _ in range(4)]
        self.pending: list[list[Subscription]] = [[] for _ in self.links]
        self.live: dict[tuple[int, str], tuple[Subscription, Mark]] = {}
        self.gone: list[tuple[Link, str, int]] = []
        self.waiting: list[tuple[str, Mark, Waiter]] = []
        self.ended: dict[str, str] = {}  # the epoch of the life that was deleted last
        self.recalled: set[Waiter] = set()
        self.counters = Counters()
        self.fanout = Fanout(FanoutOptions(longest_rest=0.25), self.counters)

    def all_follow(self) -> None:
        for who in range(len(self.links)):
            for channel in CHANNELS:
                self.toggle(who, channel)

    def publish(self, channel: str, count: int, life: int) -> None:
        epoch, seq = self.heads.get(channel, NOTHING)
        new = max(epoch, EPOCHS[life])
        if new <= self.ended.get(channel, ""):
            new = next_epoch(self.ended[channel], 0)
        self.heads[channel] = (new, seq + count if new == epoch else count)
        self.fanout.advance(channel, self.heads[channel])

    def delete(self, channel: str) -> None:
        head = self.heads.pop(channel, None)
        if head is not None:
            self.ended[channel] = head[0]
            self.recalled |= {waiter for name, _, waiter in self.waiting if name == channel}
            self.fanout.recall(channel)

    def toggle(self, who: int, channel: str) -> None:
        """Subscribe, or unsubscribe if subscribed."""
        found = self.live.pop((who, channel), None)
        link = self.links[who]
        if found is not None:
            self.fanout.unsubscribe(found[0])
            self.gone.append((link, channel, len(link.told.get(channel, []))))
            return
        subscription = self.fanout.subscribe(channel, link, self.pending[who])
        head = self.heads.get(channel, NOTHING)
        subscription.sent = head
        link.told.setdefault(channel, []).clear()
        self.gone = [each for each in self.gone if each[:2] != (link, channel)]
        self.live[who, channel] = (subscription, head)

    def wait(self, channel: str) -> None:
        waiter = Waiter()
        known = self.heads.get(channel, NOTHING)
        self.fanout.wait(channel, waiter, known)
        self.waiting.append((channel, known, waiter))

    def free(self, who: int, room: int) -> None:
        self.links[who].hold = False
        self.links[who].room = room
        self.fanout.flush(self.pending[who])

    def busy(self, who: int) -> None:
        self.links[who].hold = True

    def check(self) -> None:
        for (who, channel), (_, told_at_start) in self.live.items():
            told = [told_at_start, *self.links[who].told[channel]]
            assert told == sorted(set(told)), "hints went down or were repeated"
        for link, channel, count in self.gone:
            assert len(link.told.get(channel, [])) == count, "told after it had left"
        for channel, known, waiter in self.waiting:
            assert waiter.answers <= 1
            assert not waiter.answers or self.has_news(channel, known, waiter)

    def check_all_know(self) -> None:
        for (who, channel), (_, told_at_start) in self.live.items():
            told = self.links[who].told.get(channel) or [told_at_start]
            assert channel not in self.heads or told[-1] == self.heads[channel]
        for channel, known, waiter in self.waiting:
            assert waiter.answers == self.has_news(channel, known, waiter)

    def has_news(self, channel: str, known: Mark, waiter: Waiter) -> bool:
        return self.heads.get(channel, NOTHING) > known or waiter in self.recalled


# A pass that was interrupted for long seems to have cost much: its channel would rest.
RESTLESS = FanoutOptions(longest_rest=0.0)
CHANNELS = "ab"
channels = st.sampled_from(CHANNELS)
people = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("publish"), channels, st.integers(1, 3), st.integers(0, 2)),
    st.tuples(st.just("publish"), channels, st.just(1), st.just(0)),
    st.tuples(st.just("toggle"), people, channels),
    st.tuples(st.just("delete"), channels),
    st.tuples(st.just("busy"), people),
    st.tuples(st.just("free"), people, st.integers(1, 5)),
    st.tuples(st.just("wait"), channels),
    st.tuples(st.just("turn"), st.integers(1, 6)),
    st.tuples(st.just("idle")),
)


def simulate(main: Callable[[Fanout], Any], fanout: Callable[[], Fanout]) -> None:
    async def run() -> None:
        made = fanout()
        async with trio.open_nursery() as nursery:
            await nursery.start(made.run)
            await main(made)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=60))
@example([("busy", 0), ("publish", "a", 1, 0), ("idle",), ("free", 0, 9)] * 2)  # marked again
@example([("busy", 0), ("publish", "a", 1, 0), ("publish", "b", 1, 0), ("idle",), ("free", 0, 1)])
@example([("publish", "a", 1, 0), ("turn", 3), ("toggle", 3, "a"), ("idle",)])  # left in a pass
@example([("publish", "a", 1, 0), ("toggle", 0, "a"), ("toggle", 0, "a")])  # came before it
@example([("publish", "a", 1, 0), ("turn", 2), ("delete", "a")])  # deleted in a pass
@example([("publish", "a", 1, 0), ("idle",), ("wait", "a"), ("delete", "a")])
@example([("publish", "a", 1, 0), ("turn", 2), ("wait", "a"), ("delete", "a"), ("turn", 9)])
@example([("busy", 0), ("publish", "a", 1, 0), ("idle",), ("delete", "a"), ("free", 0, 9)])
@example([("publish", "a", 1, 0), ("wait", "a"), ("delete", "a"), ("publish", "a", 1, 0)])
def test_hints_only_rise_and_in_the_end_all_know_the_head(script: list[tuple[Any, ...]]) -> None:
    world = World()
    world.all_follow()

    async def main(fanout: Fanout) -> None:
        for name, *arguments in script:
            if name == "turn":
                for _ in range(arguments[0]):
                    await trio.lowlevel.checkpoint()
            elif name == "idle":
                await trio.sleep(10)  # on the test's clock
            else:
                getattr(world, name)(*arguments)
            world.check()
        for who in range(len(world.links)):
            world.free(who, 1 << 30)
        await trio.sleep(10)
        world.check()
        world.check_all_know()
        for who, channel in list(world.live):
            world.toggle(who, channel)
        for channel, _, waiter in world.waiting:
            world.fanout.unwait(channel, waiter)
        assert world.fanout.topics == {}, "a topic that nobody follows is forgotten"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fanout_module, "CHUNK", 2)  # passes of several turns
        simulate(main, lambda: world.fanout)


def test_any_number_of_publishes_while_a_pass_runs_makes_one_more() -> None:
    world = World()
    world.links = [Link(world.heads) for _ in range(3 * CHUNK)]
    world.pending = [[] for _ in world.links]
    for who in range(len(world.links)):
        world.toggle(who, "a")

    async def main(fanout: Fanout) -> None:
        world.publish("a", 1, 0)
        while not world.counters.hints_sent:
            await trio.lowlevel.checkpoint()
        assert world.counters.hints_sent < len(world.links), "the pass is under way"
        for _ in range(10_000):
            world.publish("a", 1, 0)
        await trio.sleep(10)

    simulate(main, lambda: world.fanout)
    assert {tuple(seq for _, seq in link.told["a"]) for link in world.links} == {(1, 10_001)}
    assert world.counters.fanout_passes == 2
    assert world.counters.hints_sent == 2 * len(world.links)


def test_a_small_topic_waits_for_one_turn_of_a_huge_one_at_most() -> None:
    heads: dict[str, Mark] = {}
    order: list[str] = []

    class Noting(Link):
        def write(self, data: bytes) -> bool:
            order.append(json.loads(data[2:])["channel"])
            return True

    async def main(fanout: Fanout) -> None:
        for _ in range(20 * CHUNK):
            fanout.subscribe("huge", Noting(heads), [])
        fanout.subscribe("small", Noting(heads), [])
        fanout.advance("huge", (EPOCHS[0], 1))
        while not order:
            await trio.lowlevel.checkpoint()
        assert len(order) < 20 * CHUNK
        fanout.advance("small", (EPOCHS[0], 1))
        before = len(order)
        await wait_all_tasks_blocked()
        assert "small" in order[before : before + CHUNK + 1]
        assert order.count("huge") == 20 * CHUNK

    simulate(main, lambda: Fanout(RESTLESS, Counters()))


def test_a_waiter_that_fails_harms_no_other() -> None:
    waiters = [Waiter(fail=at == 1) for at in range(3)]

    async def main(fanout: Fanout) -> None:
        for waiter in waiters:
            fanout.wait("a", waiter, NOTHING)
        fanout.advance("a", (EPOCHS[0], 1))
        await wait_all_tasks_blocked()
        assert [waiter.answers for waiter in waiters] == [1, 1, 1]
        fanout.wait("b", waiters[0], NOTHING)
        fanout.advance("b", (EPOCHS[0], 1))
        await wait_all_tasks_blocked()
        assert waiters[0].answers == 2, "the service lives on"

    simulate(main, lambda: Fanout(RESTLESS, Counters()))


def test_a_channel_that_fails_harms_no_other() -> None:
    """Nor itself: what comes after is hinted."""
    heads = dict.fromkeys("ab", (EPOCHS[0], 2))
    link = Link(heads)
    write = link.write

    def fail(data: bytes) -> bool:
        hint = json.loads(data[2:])
        if (hint["channel"], hint["seq"]) == ("a", 1):
            raise RuntimeError("a bug")
        return write(data)

    link.write = fail  # type: ignore[method-assign]

    async def main(fanout: Fanout) -> None:
        for channel in "ab":
            fanout.subscribe(channel, link, [])
        for seq in (1, 2):
            for channel in "ab":
                fanout.advance(channel, (EPOCHS[0], seq))
            await wait_all_tasks_blocked()
        assert link.told == {"b": [(EPOCHS[0], 1), (EPOCHS[0], 2)], "a": [(EPOCHS[0], 2)]}

    simulate(main, lambda: Fanout(RESTLESS, Counters()))


@pytest.mark.parametrize(
    ("channel", "followers", "jitter"),
    [
        ("news", 99, None),
        ("news", 100, 100),  # 1000 pulls a second, the node's
        ("slow:a", 9, None),
        ("slow:a", 10, 1000),  # 10 a second, from so many on
        ("fast", 99, None),
        ("fast", 100, 20),
    ],
)
def test_a_namespace_has_its_own_pace_of_pulls(
    channel: str, followers: int, jitter: int | None
) -> None:
    rules = {"slow": Rules(pulls_per_second=10), "fast": Rules(pulls_per_second=5000)}
    options = FanoutOptions(jitter_from=100, pulls_per_second=1000)
    told: list[Any] = []

    class Noting(Link):
        def write(self, data: bytes) -> bool:
            told.append(json.loads(data[2:]).get("jitter_ms"))
            return True

    async def main(fanout: Fanout) -> None:
        for _ in range(followers):
            fanout.subscribe(channel, Noting({}), [])
        fanout.advance(channel, (EPOCHS[0], 1))
        await wait_all_tasks_blocked()

    simulate(main, lambda: Fanout(options, Counters(), Namespaces(Rules(), rules)))
    assert told == [jitter] * followers
