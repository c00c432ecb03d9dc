"""A topic without I/O: order of marks, snapshots, chunks, rests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushd.core.positions import MAX_SEQ, next_epoch
from pushd.core.topics import (
    BURST_S,
    BUSY_FACTOR,
    COST_FACTOR,
    GONE,
    NOTHING,
    Pass,
    Subscription,
    Topic,
    booked,
    jitter_ms,
    pace,
    rest_until,
)


class Link:
    hold = False

    def write(self, data: bytes) -> bool:
        return True


class Waiter:
    def moved(self) -> None: ...


def followed(subscriptions: int, waiters: int) -> Topic:
    topic = Topic("news")
    topic.head = ("0mhx3f9ab", 7)
    for _ in range(subscriptions):
        topic.subscriptions[Subscription(topic, Link(), [])] = None
    for _ in range(waiters):
        topic.waiters[Waiter()] = NOTHING
    return topic


@given(st.integers(0, 2**42), st.integers(0, 2**42), st.integers(0, MAX_SEQ), st.integers(0, 9))
def test_marks_sort_by_epoch_then_seq(now: int, later: int, seq: int, small: int) -> None:
    first = next_epoch(None, now)
    second = next_epoch(first, later)
    assert NOTHING < (first, seq) < (second, small) < GONE
    assert (first, seq) < (first, seq + 1)
    assert (second, MAX_SEQ) < GONE


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 7))
def test_a_pass_takes_everybody_who_was_there_once(
    subscriptions: int, waiters: int, size: int
) -> None:
    topic = followed(subscriptions, waiters)
    there, waiting = list(topic.subscriptions), list(topic.waiters)
    running = Pass(topic, 0, 0.0)
    late = Subscription(topic, Link(), [])
    topic.subscriptions[late] = None
    topic.waiters[Waiter()] = NOTHING
    taken, answered = [], []
    while not running.finished:
        chunk = running.next_subscriptions(size)
        assert len(chunk) <= size
        taken += chunk
        if not chunk:
            few = running.next_waiters(size)
            assert 0 < len(few) <= size
            answered += few
    assert taken == there
    assert answered == waiting
    assert running.mark == ("0mhx3f9ab", 7)
    assert len(topic.waiters) == 1, "who came later waits for the next pass"


def test_who_already_knows_the_head_keeps_waiting() -> None:
    topic = followed(0, 1)
    knows = Waiter()
    topic.waiters[knows] = topic.head
    running = Pass(topic, 0, 0.0)
    assert len(running.next_waiters(10)) == 1
    assert list(topic.waiters) == [knows]


def test_a_mark_is_remembered_once() -> None:
    pending: list[Subscription] = []
    subscription = Subscription(Topic("news"), Link(), pending)
    subscription.mark()
    subscription.mark()
    assert pending == [subscription]


def test_a_topic_is_forgotten_only_when_nobody_and_nothing_is_there() -> None:
    assert Topic("news").forgettable
    assert not followed(1, 0).forgettable
    assert not followed(0, 1).forgettable
    queued = Topic("news")
    queued.queued = True
    assert not queued.forgettable


seconds = st.floats(0, 1000)


@given(seconds, seconds, seconds, st.floats(0, 10), st.floats(0, 1))
def test_a_topic_books_what_it_costs_and_a_bounded_time_ahead(
    owed: float, started: float, took: float, books: float, most: float
) -> None:
    ended = started + took
    until = pace(owed, started, ended, books, most)
    assert rest_until(until) <= ended + most + 1e-9, "the longest rest"
    if until < ended + BURST_S + most:
        assert until == max(owed, started) + books


def test_after_a_quiet_time_nothing_is_owed() -> None:
    owed = pace(3.0, 100.0, 100.5, 0.01, 0.25)
    assert owed == 100.01
    assert rest_until(owed) < 100.5, "the next pass need not wait"


@given(st.floats(0, 10), st.floats(0, 1), st.floats(0, 1))
def test_the_fuller_the_loop_the_more_a_pass_books(cost: float, less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert booked(cost, 0.0) == COST_FACTOR * cost
    assert booked(cost, 0.0) <= booked(cost, less) <= booked(cost, more)
    assert booked(cost, 1.0) == COST_FACTOR * cost * BUSY_FACTOR


@given(st.integers(0, 200_000), st.integers(0, 200_000), st.integers(1, 50_000))
def test_jitter_spreads_the_pulls_of_large_topics_only(
    followers: int, from_followers: int, rate: int
) -> None:
    spread = jitter_ms(followers, from_followers, rate)
    if followers < from_followers:
        assert spread == 0
    else:
        assert spread * rate <= followers * 1000 < (spread + 1) * rate
