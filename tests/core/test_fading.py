"""What is about to go, against a window of which every message is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.core.fading import NO_LADDERS, Fading, Ladder, Ladders, fading, least_last
from pushd.core.namespaces import Retention


@dataclass
class Message:
    at: int
    size: int


@dataclass
class Window:
    """Messages ``first`` … by when they were stored and their sizes. ``unswept``: bytes beside."""

    first: int
    messages: list[Message]
    unswept: int = 0
    added: int = 0
    ladders: Ladders = field(default=NO_LADDERS)

    @property
    def seq(self) -> int:
        return self.first + len(self.messages) - 1

    @property
    def first_at(self) -> int:
        return self.messages[0].at

    @property
    def bytes(self) -> int:
        return self.unswept + sum(each.size for each in self.messages)

    def to_the_end(self, seq: int) -> int:
        """Bytes of the messages after that one."""
        return sum(each.size for each in self.messages[seq + 1 - self.first :])

    def climb(self, ages: list[int], sizes: list[int]) -> None:
        """Steps at these seqs."""
        by_age = ((seq, self.messages[seq + 1 - self.first].at) for seq in ages if seq < self.seq)
        by_size = ((seq, self.added - self.to_the_end(seq)) for seq in sizes if seq < self.seq)
        self.ladders = Ladders(tuple(by_age), tuple(by_size))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    first = draw(st.integers(1, 50))
    gaps = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 50)), min_size=1))
    at, messages = 0, []
    for gap, size in gaps:
        at += gap
        messages.append(Message(at, size))
    window = Window(first, messages, draw(st.integers(0, 30)), draw(st.integers(0, 10_000)))
    seqs = st.lists(st.integers(first - 1, window.seq), unique=True).map(sorted)
    window.climb(draw(seqs), draw(seqs))
    return window


KEEPS = st.builds(
    Retention,
    st.none() | st.integers(1, 500).map(lambda ms: ms / 1000),
    st.none() | st.integers(1, 60),
    st.none() | st.integers(1, 2000),
    last=st.sampled_from([0.1, 0.5, 0.9]),
)


@given(windows(), KEEPS, st.integers(-3, 60), st.integers(0, 600))
def test_nothing_goes_untold_and_what_is_told_is_near(
    window: Window, keep: Retention, ahead: int, later: int
) -> None:
    after = window.first + ahead
    now = window.messages[-1].at + later
    told = fading(window, keep, after, now)
    unseen = range(max(after + 1, window.first), window.seq + 1)
    least = max((seq for zone in zones(window, keep, now) for seq in zone), default=0)
    if told is None:
        assert least < unseen.start or not unseen
        return
    upto = unseen.start + told.messages - 1
    assert least <= upto < unseen.stop
    by_number, by_age, by_size = zones(window, keep, now, window.unswept)
    assert upto <= max(
        max(by_number, default=0),
        rounded_up(by_age, window.ladders.ages, window.seq),
        rounded_up(by_size, window.ladders.sizes, window.seq),
    )
    if told.in_ms is not None:
        assert told.in_ms <= max(0, goes_in_ms(window, keep, unseen[0], now))


def zones(window: Window, keep: Retention, now: int, unswept: int = 0) -> list[list[int]]:
    """The seqs of the last part, by number, age and bytes."""
    age, most, size, _, last = keep
    number, old, large = [], [], []
    for seq, message in enumerate(window.messages, window.first):
        if most is not None and window.seq - seq >= most - least_last(most, last):
            number.append(seq)
        if age is not None and message.at < now - int(int(age * 1000) * (1 - last)):
            old.append(seq)
        if size is not None and window.to_the_end(seq - 1) + unswept > int(size * (1 - last)):
            large.append(seq)
    return [number, old, large]


def rounded_up(zone: list[int], ladder: Ladder, head: int) -> int:
    """Up to the next step, as what lies between two is not known."""
    return min((seq for seq, _ in ladder if seq >= max(zone)), default=head) if zone else 0


def goes_in_ms(window: Window, keep: Retention, seq: int, now: int) -> int:
    """By its number now, else by its age."""
    if keep.messages is not None and window.seq - seq >= keep.messages:
        return 0
    assert keep.age_s is not None
    return window.messages[seq - window.first].at + int(keep.age_s * 1000) - now


@pytest.mark.parametrize(
    ("keep", "after", "now", "expected"),
    [
        # A message a second, ten of them, of ten bytes; the newest is 1 s old.
        (Retention(None, None, None), 0, 11_000, None),
        (Retention(None, 20, None), 0, 11_000, None),
        (Retention(None, 11, None), 0, 11_000, None),
        (Retention(None, 10, None), 0, 11_000, Fading(1, None)),
        (Retention(None, 10, None), 1, 11_000, None),
        (Retention(None, 8, None), 0, 11_000, Fading(3, 0)),
        (Retention(None, 8, None), 2, 11_000, Fading(1, None)),
        (Retention(10.0, None, None), 0, 10_000, None),
        (Retention(10.0, None, None), 0, 10_001, Fading(1, 999)),
        (Retention(10.0, None, None), 0, 10_500, Fading(1, 500)),
        (Retention(10.0, None, None), 1, 10_500, None),
        (Retention(10.0, None, None), 1, 11_500, Fading(1, 500)),
        (Retention(10.0, None, None), 0, 99_000, Fading(10, 0)),
        (Retention(10.0, 5, None), 4, 10_500, Fading(2, 0)),
        (Retention(10.0, None, None, last=0.5), 0, 10_500, Fading(5, 500)),
        (Retention(10.0, None, None, last=0.0), 0, 99_000, None),
        (Retention(None, None, 111), 0, 11_000, Fading(1, None)),
        (Retention(None, None, 112), 0, 11_000, None),
        (Retention(None, None, 100), 0, 11_000, Fading(1, None)),
        (Retention(None, None, 90), 1, 11_000, Fading(1, None)),
        (Retention(None, None, 90), 2, 11_000, None),
        (Retention(10.0, 10, 100), 10, 99_000, None),
    ],
    ids=str,
)
def test_what_is_told(keep: Retention, after: int, now: int, expected: Fading | None) -> None:
    window = Window(1, [Message(1000 * seq, 10) for seq in range(1, 11)])
    window.climb(list(range(10)), list(range(10)))
    assert fading(window, keep, after, now) == expected


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (Fading(3, None), b'"expiring":{"messages":3,"in_ms":null},'),
        (Fading(1, 250), b'"expiring":{"messages":1,"in_ms":250},'),
    ],
)
def test_as_the_wire_has_it(told: Fading, text: bytes) -> None:
    assert told.as_text() == text
