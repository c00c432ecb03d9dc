"""Fan-out without I/O: who follows a channel, what each was sent, and the pass under way.

Rules that make hints safe: heads only rise; a subscriber registers, then reads the head; what was
sent is kept per subscription, and what is not newer is skipped; a pass walks a snapshot and is
repeated while the head is above it.
"""

from __future__ import annotations

from typing import Protocol

from pushd.core.events import hint_event
from pushd.core.frames import hint_frame
from pushd.core.positions import MAX_SEQ

Mark = tuple[str, int]  # (epoch, seq); later epochs sort higher, so marks compare as tuples
NOTHING: Mark = ("", 0)
OUTLIVED: Mark = ("", -1)  # below every mark: what is known is of a life that has ended
GONE: Mark = ("~", MAX_SEQ)  # above every mark: nothing more is ever sent


class Link(Protocol):
    """The outgoing side of one connection, as fan-out sees it."""

    @property
    def hold(self) -> bool:
        """A write would have to wait, or must not happen."""
        ...

    def write(self, data: bytes) -> bool:
        """Send or keep. True when the socket took everything."""
        ...


class Subscription:
    """One (session, channel): what it was sent, and whether a newer head waits for the socket.

    A class per transport: ``encode`` makes the bytes of a hint from channel, epoch, seq, jitter.
    """

    __slots__ = ("dirty", "link", "pending", "sent", "topic")
    encode = staticmethod(hint_frame)

    def __init__(self, topic: Topic, link: Link, pending: list[Subscription]) -> None:
        self.topic = topic
        self.link = link
        self.sent: Mark = NOTHING
        self.dirty = False
        # Shared by all subscriptions of one session: those with a dirty mark.
        self.pending = pending

    def peers(self) -> dict[Subscription, None]:
        """The followers of the topic that take the same bytes."""
        return self.topic.subscriptions

    def mark(self) -> None:
        """The socket is busy: remember that there is something newer, one bit per channel."""
        if not self.dirty:
            self.dirty = True
            self.pending.append(self)


class EventSubscription(Subscription):
    """One that takes server-sent events."""

    __slots__ = ()
    encode = staticmethod(hint_event)

    def peers(self) -> dict[Subscription, None]:
        return self.topic.listeners


class Waiter(Protocol):
    """A held poll: a record that fan-out answers, not a task."""

    def moved(self) -> None:
        """A channel that it waits for has: it is answered now."""


class Topic:
    """A channel that somebody follows. Forgotten when nobody does."""

    __slots__ = (
        "channel",
        "head",
        "listeners",
        "owed_until",
        "passing",
        "queued",
        "recalled",
        "subscriptions",
        "waiters",
    )

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.head: Mark = NOTHING
        self.subscriptions: dict[Subscription, None] = {}  # that take WebSocket frames
        self.listeners: dict[Subscription, None] = {}  # that take server-sent events
        self.waiters: dict[Waiter, Mark] = {}  # with the head that each has seen
        self.queued = False
        self.recalled = False  # waiters have outlived the channel, and the next pass answers them
        self.owed_until = 0.0
        self.passing: Pass | None = None

    @property
    def forgettable(self) -> bool:
        """Nobody follows it, and no pass is to come."""
        return not (self.subscriptions or self.listeners or self.waiters or self.queued)

    def recall(self) -> None:
        """The channel was deleted: what its head was is nobody's news any more."""
        self.head = NOTHING
        self.recalled = True
        self.waiters = dict.fromkeys(self.waiters, OUTLIVED)
        if self.passing is not None:
            self.passing.stop_hints()

    @property
    def followers(self) -> int:
        """Sessions that get its hints."""
        return len(self.subscriptions) + len(self.listeners)


class Pass:
    """One walk over a snapshot of a topic's followers with one mark. At most one per topic.

    ``frame``: the hint as the subscriptions taken last want it, encoded once per transport.
    """

    __slots__ = (
        "_at",
        "_channel",
        "_jitter",
        "_others",
        "_polled",
        "_subscriptions",
        "cost",
        "frame",
        "mark",
        "started",
        "waiters",
    )

    def __init__(self, topic: Topic, jitter: int, now: float) -> None:
        self.started = now
        self.mark = topic.head
        self.frame = b""
        self._channel = topic.channel
        self._jitter = jitter
        self._subscriptions = list(topic.subscriptions)
        self._others = list(topic.listeners)
        # Who came while the head was raised and knows it already goes on waiting.
        waiters, mark = topic.waiters, self.mark
        topic.recalled = False
        self.waiters = [waiter for waiter, known in waiters.items() if known < mark]
        topic.waiters = {waiter: known for waiter, known in waiters.items() if known >= mark}
        self.cost = 0.0
        self._at = 0
        self._polled = 0

    def next_subscriptions(self, count: int) -> list[Subscription]:
        """The next ``count`` that take the same frame; empty when all had their turn."""
        if self._at >= len(self._subscriptions) and self._others:
            self._subscriptions, self._others, self._at = self._others, [], 0
        chunk = self._subscriptions[self._at : self._at + count]
        if self._at == 0 and chunk:
            self.frame = chunk[0].encode(self._channel, *self.mark, self._jitter)
        self._at += count
        return chunk

    def stop_hints(self) -> None:
        """What is left to be told of is gone."""
        self._subscriptions, self._others = [], []

    def next_waiters(self, count: int) -> list[Waiter]:
        """The next ``count`` polls to answer; empty when all had their turn."""
        chunk = self.waiters[self._polled : self._polled + count]
        self._polled += count
        return chunk

    @property
    def finished(self) -> bool:
        """Everybody had their turn."""
        return (
            self._at >= len(self._subscriptions)
            and not self._others
            and self._polled >= len(self.waiters)
        )


# A pass makes its followers pull, which costs about four times the pass itself. With this factor
# one busy channel takes about half of a loop that is otherwise idle.
COST_FACTOR = 8.0
# On a loop that is full, hints come more seldom and pulls get larger: less work for the same
# messages, which leaves room for publishes. From half full on, down to a quarter as often.
BUSY_FROM, BUSY_FULL, BUSY_FACTOR = 0.5, 0.9, 4.0
BURST_S = 1.0  # of a channel's share that may be used ahead


def booked(cost: float, busy: float) -> float:
    """Seconds that a pass of this cost books, while the loop's thread is ``busy`` (0…1)."""
    fullness = min(max((busy - BUSY_FROM) / (BUSY_FULL - BUSY_FROM), 0.0), 1.0)
    return COST_FACTOR * cost * (1 + (BUSY_FACTOR - 1) * fullness)


def pace(owed_until: float, started: float, ended: float, books: float, most: float) -> float:
    """Until when a topic has used up its share of the loop; the new ``owed_until``.

    A leaky bucket (GCRA): each pass books a multiple of its cost, and ``BURST_S`` may be
    booked ahead. So hints after a quiet time go at once, a burst too, and only a channel that is
    busy without end rests between passes, never longer than ``most``. Seconds, on one clock.
    """
    return min(max(owed_until, started) + books, ended + BURST_S + most)


def rest_until(owed_until: float) -> float:
    """When the next pass may begin."""
    return owed_until - BURST_S


def jitter_ms(followers: int, from_followers: int, pulls_per_second: int) -> int:
    """How long followers of a large topic may put off their pull, so that pulls come evenly."""
    if followers < from_followers:
        return 0
    return followers * 1000 // pulls_per_second
