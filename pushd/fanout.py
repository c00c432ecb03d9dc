"""Fan-out: tell everybody who follows a channel that its head rose.

Encode once, write many; conflate where a socket is busy; topics take turns, so that a small one
never waits behind a huge one. Sending is a tight loop with a checkpoint between chunks.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from dataclasses import dataclass

import structlog
import trio

from pushd.busy import Busy
from pushd.core.namespaces import NO_RULES, Namespaces
from pushd.core.topics import (
    GONE,
    Link,
    Mark,
    Pass,
    Subscription,
    Topic,
    Waiter,
    booked,
    jitter_ms,
    pace,
    rest_until,
)
from pushd.metrics import Counters

log = structlog.get_logger("pushd.fanout")

CHUNK = 256  # hints between two checkpoints: about two milliseconds
CHUNK_OF_POLLS = 8
TURN_S = 0.002  # of answering polls between two checkpoints


@dataclass(frozen=True, slots=True)
class FanoutOptions:
    """``longest_rest`` in seconds; ``jitter_from`` in followers; ``pulls_per_second`` of a node."""

    longest_rest: float = 0.25
    jitter_from: int = 1000
    pulls_per_second: int = 20_000


class Fanout:
    """Topics by channel, and the one task that walks them. Used on the Trio loop only."""

    def __init__(
        self, options: FanoutOptions, counters: Counters, namespaces: Namespaces = NO_RULES
    ) -> None:
        self.topics: dict[str, Topic] = {}
        self._options = options
        self._namespaces = namespaces
        self._counters = counters
        self._ready: deque[Topic] = deque()
        self._resting: list[tuple[float, int, Topic]] = []
        self._order = 0
        self._wake = trio.Event()
        self._busy = Busy()

    # -- followers ---------------------------------------------------------------------------

    def subscribe(
        self,
        channel: str,
        link: Link,
        pending: list[Subscription],
        kind: type[Subscription] = Subscription,
    ) -> Subscription:
        """Register; the caller reads the head afterwards and sets ``sent`` to what it told."""
        subscription = kind(self._topic(channel), link, pending)
        subscription.peers()[subscription] = None
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        subscription.sent = GONE
        subscription.peers().pop(subscription, None)
        self._forget(subscription.topic)

    def wait(self, channel: str, waiter: Waiter, known: Mark) -> None:
        """Register a held poll of a client that has everything up to ``known``."""
        self._topic(channel).waiters[waiter] = known

    def unwait(self, channel: str, waiter: Waiter) -> None:
        topic = self.topics.get(channel)
        if topic is not None:
            topic.waiters.pop(waiter, None)
            self._forget(topic)

    def waiting(self, channel: str) -> list[Waiter]:
        """The held polls that wait for it; a copy."""
        topic = self.topics.get(channel)
        return [] if topic is None else list(topic.waiters)

    def _topic(self, channel: str) -> Topic:
        topic = self.topics.get(channel)
        if topic is None:
            topic = self.topics[channel] = Topic(channel)
        return topic

    def _forget(self, topic: Topic) -> None:
        if topic.forgettable:
            self.topics.pop(topic.channel, None)

    # -- heads -------------------------------------------------------------------------------

    def advance(self, channel: str, mark: Mark) -> None:
        """The head of a channel rose (it is on disk). Cheap while a pass is under way."""
        topic = self.topics.get(channel)
        if topic is None or mark <= topic.head:
            return
        topic.head = mark
        if not topic.queued:
            topic.queued = True
            self._enqueue(topic)

    def recall(self, channel: str) -> None:
        """The channel was deleted: its held polls are answered now, its head hinted no more."""
        topic = self.topics.get(channel)
        if topic is None:
            return
        topic.recall()
        if not topic.queued:
            topic.queued = True
            self._enqueue(topic)

    def _enqueue(self, topic: Topic) -> None:
        rested = rest_until(topic.owed_until)
        if rested > trio.current_time():
            self._order += 1
            heapq.heappush(self._resting, (rested, self._order, topic))
        else:
            self._ready.append(topic)
        self._wake.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The service. Ends by cancellation only."""
        task_status.started()
        while True:
            self._wake_resting()
            if self._ready:
                self._try_turn(self._ready.popleft())
                await trio.lowlevel.checkpoint()
                continue
            self._wake = trio.Event()
            due = self._resting[0][0] if self._resting else math.inf
            with trio.move_on_at(due):
                await self._wake.wait()

    def _wake_resting(self) -> None:
        if not self._resting:
            return
        now = trio.current_time()
        while self._resting and self._resting[0][0] <= now:
            self._ready.append(heapq.heappop(self._resting)[2])

    def _try_turn(self, topic: Topic) -> None:
        try:
            self._turn(topic)
        except Exception:  # one channel's trouble must not end the others' hints
            log.exception("a round of hints failed", channel=topic.channel)
            topic.passing = None
            topic.queued = False

    def _turn(self, topic: Topic) -> None:
        """One chunk of one topic's pass; then the next topic has its turn."""
        running = topic.passing
        if running is None:
            running = topic.passing = self._begin(topic)
        started = time.perf_counter()
        chunk = running.next_subscriptions(CHUNK)
        if chunk:
            self._send(chunk, running.mark, running.frame)
        else:
            _answer(running, started)
        running.cost += time.perf_counter() - started
        if running.finished:
            self._finish(topic, running)
        else:
            self._ready.append(topic)

    def _begin(self, topic: Topic) -> Pass:
        self._counters.fanout_passes += 1
        options = self._options
        spread_from, rate = options.jitter_from, options.pulls_per_second
        own_rate = self._namespaces.of(topic.channel).pulls_per_second
        if own_rate is not None:
            # A rate that somebody set holds, however few followers exceed it.
            spread_from, rate = min(spread_from, own_rate), own_rate
        jitter = jitter_ms(topic.followers, spread_from, rate)
        return Pass(topic, jitter, trio.current_time())

    def _finish(self, topic: Topic, done: Pass) -> None:
        topic.passing = None
        now = trio.current_time()
        longest = self._options.longest_rest
        books = booked(done.cost, self._busy.share())
        topic.owed_until = pace(topic.owed_until, done.started, now, books, longest)
        if topic.head > done.mark or topic.recalled:
            self._enqueue(topic)
            return
        topic.queued = False
        self._forget(topic)

    def _send(self, chunk: list[Subscription], mark: Mark, frame: bytes) -> None:
        sent = held = 0
        for subscription in chunk:
            if subscription.sent >= mark:
                continue
            link = subscription.link
            if link.hold:
                subscription.mark()
                held += 1
                continue
            # What the socket does not take at once is kept whole by the link, so it counts as sent.
            subscription.sent = mark
            link.write(frame)
            sent += 1
        self._counters.hints_sent += sent
        self._counters.hints_conflated += held

    def flush(self, pending: list[Subscription]) -> None:
        """A session's socket is free again: send the newest head of every channel it missed."""
        while pending:
            subscription = pending[-1]
            if subscription.link.hold:
                return
            pending.pop()
            subscription.dirty = False  # cleared before the head is read
            mark = subscription.topic.head
            if subscription.sent >= mark:
                continue
            subscription.sent = mark
            subscription.link.write(subscription.encode(subscription.topic.channel, *mark, 0))
            self._counters.hints_sent += 1


def _answer(running: Pass, started: float) -> None:
    """For a while: one poll may ask for one channel or for a hundred."""
    while time.perf_counter() - started < TURN_S:
        waiters = running.next_waiters(CHUNK_OF_POLLS)
        if not waiters:
            return
        for waiter in waiters:
            try:
                waiter.moved()
            except Exception:  # one connection's failure is its own
                log.exception("answering a held poll failed")
