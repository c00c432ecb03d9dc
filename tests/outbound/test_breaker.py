"""The circuit breaker, on a clock of the test's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushd.outbound.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, OPENS_AFTER, Breaker


def no_jitter() -> float:
    return 0.0


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(no_jitter)
    for _ in range(OPENS_AFTER):
        breaker.begin()
        breaker.failed(now)
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(no_jitter)
    for _ in range(3):
        assert [breaker.failed(0.0) for _ in range(OPENS_AFTER - 1)] == [False] * (OPENS_AFTER - 1)
        assert not breaker.succeeded()
    assert breaker.state(0.0) == "closed"
    assert [breaker.failed(0.0) for _ in range(OPENS_AFTER)][-1]
    assert breaker.state(0.0) == "open"
    assert breaker.wait_s(0.25) == FIRST_PAUSE_S - 0.25


def test_half_open_lets_one_attempt_at_a_time_pass() -> None:
    breaker = opened()
    now = FIRST_PAUSE_S
    assert breaker.state(now) == "half_open"
    assert breaker.wait_s(now) == 0
    breaker.begin()
    assert breaker.wait_s(now) > 0, "a second one has to wait"
    breaker.abandoned()
    assert breaker.wait_s(now) == 0, "nobody found out: the next one may"
    breaker.begin()
    assert breaker.succeeded()
    assert (breaker.state(now), breaker.wait_s(now)) == ("closed", 0)


def test_each_failure_half_open_doubles_the_pause_to_a_bound() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(7):
        pauses.append(breaker.wait_s(now))
        now += pauses[-1]
        breaker.begin()
        assert not breaker.failed(now), "it was open already: nothing to tell"
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_what_was_under_way_when_it_opened_makes_no_pause_longer() -> None:
    breaker = opened()
    before = breaker.wait_s(0.0)
    breaker.failed(0.5)
    assert breaker.wait_s(0.0) == before


@given(st.lists(st.sampled_from(["ok", "bad", "gone", "wait"]), max_size=60), st.floats(0, 1))
def test_whatever_happens_it_never_shuts_for_ever(steps: list[str], jitter: float) -> None:
    breaker, now = Breaker(lambda: jitter), 0.0
    for step in steps:
        if step == "wait":
            now += breaker.wait_s(now)
            continue
        if breaker.wait_s(now):
            continue
        breaker.begin()
        if step == "ok":
            breaker.succeeded()
        elif step == "bad":
            breaker.failed(now)
        else:
            breaker.abandoned()
        assert breaker.wait_s(now) <= LONGEST_PAUSE_S
    assert breaker.wait_s(now + LONGEST_PAUSE_S) == 0
