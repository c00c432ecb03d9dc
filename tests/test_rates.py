"""The arithmetic of rates, on a clock of the test's own. Over the wire: test_rate_limits.py."""

from __future__ import annotations

from itertools import count, pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd import rates
from pushd.core.permissions import SCOPES, Identity
from pushd.rates import Buckets, Rates

ALICE, BOB = Identity(user="alice"), Identity(user="bob")
SERVICE = Identity(user=None, scopes=SCOPES)
HERE = "192.0.2.1"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def of_user(clock: Clock, per_second: float = 10, burst: int = 5) -> Rates:
    return Rates(Buckets(per_second, burst, "one user"), None, clock=clock)


def admitted(limits: Rates, identity: Identity = ALICE, address: str = HERE) -> int:
    """How many come through at once."""
    for number in count():
        if limits.refusal(identity, address) is not None:
            return number
    raise AssertionError


def test_a_burst_then_what_comes_back_in_time() -> None:
    clock = Clock()
    limits = of_user(clock)
    assert admitted(limits) == 5
    assert limits.refusal(BOB, HERE) is None, "each has a bucket"
    clock.now += 1
    assert admitted(limits) == 5, "full again, and no fuller"
    clock.now += 1000
    assert admitted(limits) == 5


def test_who_was_told_to_wait_waits_and_then_has_lost_nothing() -> None:
    """A fifth of a second would do for one message; it was told whole seconds."""
    clock = Clock()
    limits = of_user(clock, per_second=5, burst=20)
    assert admitted(limits) == 20
    refused = limits.refusal(ALICE, HERE)
    assert refused is not None
    assert refused.retry_after == 1
    assert refused.detail == "At most 5 messages and calls a second of one user, 20 at once."
    clock.now += 0.99
    assert limits.refusal(ALICE, HERE) is not None
    clock.now += 0.01
    assert admitted(limits) == 5


def test_one_that_is_many_passes_and_is_paid_for() -> None:
    clock = Clock()
    limits = of_user(clock)
    assert limits.refusal(ALICE, HERE, 100) is None
    refused = limits.refusal(ALICE, HERE)
    assert refused is not None
    assert refused.retry_after == 10  # 95 are owed, and there must be room for one: 9.6 s
    clock.now += 10
    assert admitted(limits) == 5


def test_services_are_not_asked() -> None:
    limits = of_user(Clock(), burst=1)
    assert all(limits.refusal(SERVICE, HERE) is None for _ in range(1000))


def test_no_bounds() -> None:
    limits = Rates(None, None)
    assert all(limits.refusal(ALICE, HERE) is None for _ in range(1000))


def test_an_address_counts_all_behind_it_and_a_trusted_proxy_is_nobody() -> None:
    clock = Clock()
    limits = Rates(
        Buckets(10, 5, "one user"),
        Buckets(10, 7, "one address"),
        ["10.0.0.0/8"],
        clock,
    )
    assert admitted(limits, ALICE) == 5
    assert admitted(limits, BOB) == 2
    assert limits.refusal(BOB, "192.0.2.2") is None, "from elsewhere"
    network = [f"2001:db8:0:1::{number:x}" for number in range(1, 100)]
    users = [Identity(user=f"u{number}") for number in range(99)]
    refusals = [limits.refusal(*each) for each in zip(users, network, strict=True)]
    assert [each is None for each in refusals] == [True] * 7 + [False] * 92, "one network"
    assert all(limits.refusal(user, "10.1.2.3") is None for user in users)


def test_what_is_refused_for_the_address_costs_the_user_nothing() -> None:
    clock = Clock()
    limits = Rates(Buckets(1, 3, "one user"), Buckets(1, 1, "one address"), clock=clock)
    assert admitted(limits, BOB) == 1
    assert limits.refusal(ALICE, HERE) is not None
    assert admitted(limits, ALICE, "192.0.2.2") == 1
    assert [limits.refusal(ALICE, f"192.0.2.{number}") is None for number in (3, 4, 5)] == [
        True,
        True,
        False,
    ]


class Sent(NamedTuple):
    after: float  # seconds after the one before
    count: int


HISTORY = st.lists(
    st.builds(Sent, st.floats(0, 3, allow_nan=False), st.integers(1, 7)), min_size=1, max_size=60
)


@given(HISTORY, st.sampled_from([0.5, 3.0, 10.0, 50.0]), st.integers(1, 12))
def test_any_history_of_sending(history: list[Sent], per_second: float, burst: int) -> None:
    """Never more than the rate and a burst; never refused without need; a told wait is enough."""
    clock = Clock()
    limits = of_user(clock, per_second, burst)
    taken: list[tuple[float, int]] = []
    told_until = 0.0
    for after, number in history:
        clock.now += after
        refused = limits.refusal(ALICE, HERE, number)
        if refused is None:
            assert clock.now > told_until - 1e-5
            taken.append((clock.now, number))
            continue
        assert refused.retry_after is not None
        assert refused.retry_after >= 1
        if clock.now < told_until - 1e-5:
            assert refused.retry_after <= told_until - clock.now + 1, "asking makes it no longer"
        else:
            told_until = clock.now + refused.retry_after
    for start in range(len(taken)):
        total = 0
        for at, number in taken[start:]:
            # The last one may be many: of what it is over, the next one has to wait.
            assert total + 1 <= burst + (at - taken[start][0]) * per_second + 1e-3
            total += number
    if clock.now < told_until:
        clock.now = told_until
        assert limits.refusal(ALICE, HERE) is None


def test_whose_bucket_is_full_is_forgotten() -> None:
    """So memory follows those who send just now, not those who ever did."""
    clock = Clock()
    buckets = Buckets(10, 5, "one user")
    most = 0
    for number in range(10_000):
        clock.now += 0.01
        buckets.take(f"u{number}", 1, clock.now)
        buckets.hold(f"u{number}", clock.now + 0.05, clock.now)
        most = max(most, len(buckets))
    assert most < 50


def test_how_many_are_remembered_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "REMEMBERED", 100)
    buckets = Buckets(0.001, 1, "one user")
    for number in range(1000):
        buckets.take(f"u{number}", 1, 0.0)
        buckets.hold(f"u{number}", 5.0, 0.0)
    assert len(buckets) == 200
    assert buckets.wait_s("u999", 0.0)
    assert not buckets.wait_s("u0", 0.0)


def test_who_sends_at_the_rate_is_never_refused() -> None:
    clock = Clock()
    limits = of_user(clock, per_second=7, burst=1)
    times = []
    for _ in range(10_000):
        assert limits.refusal(ALICE, HERE) is None
        times.append(clock.now)
        clock.now += 1 / 7 + 1e-9
    assert all(after > before for before, after in pairwise(times))
