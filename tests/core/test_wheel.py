"""The timing wheel against a model that is a plain dict of deadlines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pushd.core.wheel import Timed, TimingWheel

# Binary fractions: exact, so that the model needs no tolerance.
TICK = 0.25
# Coarse ones too, so that clock and deadlines meet on the dot.
MOMENTS = st.integers(0, 4_000).map(lambda n: n / 64) | st.integers(0, 8).map(lambda n: n * 5.0)
SPANS = st.one_of(MOMENTS, st.sampled_from([0.0, TICK, 1e6, 3e9, 1e10]))
ENTRIES = st.integers(0, 9)


class Poll(Timed):
    __slots__ = ()


class WheelAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = 1000.0
        self.wheel: TimingWheel[Poll] = TimingWheel(TICK, self.clock)
        self.entries = [Poll() for _ in range(10)]
        self.armed: dict[Poll, float] = {}  # -> when it may be late: deadline, or arming if later

    @rule(number=ENTRIES, span=st.one_of(SPANS, MOMENTS.map(lambda m: -m), st.just(math.inf)))
    def arm(self, number: int, span: float) -> None:
        entry = self.entries[number]
        self.wheel.arm(entry, self.clock + span)
        self.armed[entry] = max(self.clock + span, self.clock)

    @rule(number=ENTRIES, span=SPANS)
    def heartbeat(self, number: int, span: float) -> None:
        entry = self.entries[number]
        if entry in self.armed:
            entry.deadline = max(entry.deadline, self.clock + span)
            self.armed[entry] = max(self.armed[entry], entry.deadline)

    @rule(number=ENTRIES)
    def disarm(self, number: int) -> None:
        self.wheel.disarm(self.entries[number])
        self.armed.pop(self.entries[number], None)

    @rule(span=SPANS)
    def wait(self, span: float) -> None:
        self.clock += span

    @rule(span=SPANS)
    def advance(self, span: float) -> None:
        self.clock += span
        expired = self.wheel.advance(self.clock)
        assert len(set(expired)) == len(expired)
        for entry in expired:
            assert entry.deadline <= self.clock
            del self.armed[entry]  # KeyError: it was not armed
        late = [due for due in self.armed.values() if due + TICK <= self.clock]
        assert not late

    @rule(back=MOMENTS)
    def clock_set_back(self, back: float) -> None:
        for entry in self.wheel.advance(self.clock - back):
            assert entry.deadline <= self.clock - back
            del self.armed[entry]

    @invariant()
    def same_size(self) -> None:
        assert len(self.wheel) == len(self.armed)

    def teardown(self) -> None:
        finite = {entry for entry in self.armed if entry.deadline < math.inf}
        end = max((entry.deadline for entry in finite), default=0.0)
        assert set(self.wheel.advance(max(end, self.clock) + 2 * TICK)) == finite


WheelAgainstModel.TestCase.settings = settings(deadline=None, stateful_step_count=60)
TestWheelAgainstModel = WheelAgainstModel.TestCase


@settings(deadline=None)
@given(
    st.floats(0.001, 100),
    st.floats(0, 1e9),
    st.lists(st.floats(0, 1e9), max_size=30),
    st.lists(st.floats(0, 1e9), min_size=1, max_size=30),
)
def test_any_tick_and_any_float(
    tick: float, start: float, deadlines: list[float], moments: list[float]
) -> None:
    wheel: TimingWheel[Poll] = TimingWheel(tick, start)
    waiting = set()
    for deadline in deadlines:
        entry = Poll()
        wheel.arm(entry, deadline)
        waiting.add(entry)
    for now in sorted(moments):
        for entry in wheel.advance(now):
            assert entry.deadline <= now
            waiting.remove(entry)
    assert len(wheel) == len(waiting)
    waiting -= set(wheel.advance(2e9 + 3 * tick))
    assert not waiting


def test_at_the_deadline_and_not_before() -> None:
    wheel: TimingWheel[Poll] = TimingWheel(1.0, 0.0)
    entry = Poll()
    wheel.arm(entry, 5.0)
    assert wheel.advance(4.999) == []
    assert wheel.advance(5.0) == [entry]
    assert wheel.advance(6.0) == []


@pytest.mark.parametrize("jump", [1.0, 2.0, 3.0, 10.0, 1000.0])
def test_a_jump_that_ends_at_the_deadline(jump: float) -> None:
    wheel: TimingWheel[Poll] = TimingWheel(1.0, 0.0)
    entries = [Poll(), Poll()]
    for entry in entries:
        wheel.arm(entry, jump)
    assert wheel.advance(jump) == entries


def test_a_heartbeat_does_no_wheel_work() -> None:
    wheel: TimingWheel[Poll] = TimingWheel(1.0, 0.0)
    entry = Poll()
    wheel.arm(entry, 5.0)
    before = {slot: list(held) for slot, held in wheel._slots.items()}
    for moment in range(4):
        entry.deadline = moment + 60.0
    assert {slot: list(held) for slot, held in wheel._slots.items()} == before
    assert wheel.advance(62.0) == []
    assert wheel.advance(63.0) == [entry]


def test_a_later_arm_is_lazy_too_and_an_earlier_one_is_not() -> None:
    wheel: TimingWheel[Poll] = TimingWheel(1.0, 0.0)
    entry = Poll()
    wheel.arm(entry, 50.0)
    wheel.arm(entry, 100.0)
    assert wheel.advance(99.0) == []
    wheel.arm(entry, 101.0)
    wheel.arm(entry, 99.5)
    assert wheel.advance(100.0) == [entry]


def test_what_is_overdue_when_armed_expires_at_the_next_tick() -> None:
    wheel: TimingWheel[Poll] = TimingWheel(1.0, 100.0)
    entry = Poll()
    wheel.arm(entry, -math.inf)
    assert wheel.advance(101.0) == [entry]


def test_a_jump_over_aeons_costs_as_much_as_the_slots_in_use() -> None:
    wheel: TimingWheel[Poll] = TimingWheel(0.001, 0.0)
    entries = [Poll() for _ in range(3)]
    for number, entry in enumerate(entries):
        wheel.arm(entry, 10.0**number)
    assert wheel.advance(1e13) == entries  # 10^16 ticks: a loop over them would never end


def test_nothing_is_kept_of_what_was_disarmed() -> None:
    wheel: TimingWheel[Poll] = TimingWheel(1.0, 0.0)
    for _ in range(100):
        entry = Poll()
        wheel.arm(entry, 1e6)
        wheel.disarm(entry)
        wheel.disarm(entry)
    assert len(wheel) == 0
    assert not wheel._slots


def test_entries_may_be_equal_and_unhashable() -> None:
    @dataclass
    class Session(Timed):
        user: str

        def __post_init__(self) -> None:
            Timed.__init__(self)

    wheel: TimingWheel[Session] = TimingWheel(1.0, 0.0)
    twins = [Session("alice"), Session("alice")]
    for twin in twins:
        wheel.arm(twin, 1.0)
    wheel.disarm(twins[0])
    (left,) = wheel.advance(1.0)
    assert left is twins[1]


def test_nonsense_is_refused() -> None:
    for tick in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="tick"):
            TimingWheel(tick, 0.0)
    wheel: TimingWheel[Poll] = TimingWheel(1.0, 0.0)
    with pytest.raises(ValueError, match="not a number"):
        wheel.arm(Poll(), math.nan)
    assert len(wheel) == 0
