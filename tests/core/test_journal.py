"""The journal against a model that keeps everything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pushd.core import journal as module
from pushd.core.journal import Journal

PLACES, MOST_WEIGHT = 8, 12
KEYS = st.none() | st.sampled_from("abcd")
WEIGHTS = st.integers(1, 5) | st.just(MOST_WEIGHT + 3)


class JournalAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.journal: Journal[int] = Journal(PLACES, MOST_WEIGHT)
        self.put_in: list[tuple[str | None, int]] = []  # (key, weight) of version 1, 2, …

    @rule(key=KEYS, weight=WEIGHTS)
    def put(self, key: str | None, weight: int) -> None:
        version = len(self.put_in) + 1
        assert self.journal.put(version, key, weight) == version  # the item: its own version
        self.put_in.append((key, weight))

    def remembered_from(self, version: int) -> list[int]:
        """What came after ``version`` and nothing of the same key has come after that."""
        after = list(enumerate(self.put_in, 1))[version:]
        later = {key: number for number, (key, _) in after}
        return [number for number, (key, _) in after if key is None or later[key] == number]

    @invariant()
    def it_looks_back_as_far_as_it_says(self) -> None:
        journal, newest = self.journal, len(self.put_in)
        assert journal.version == newest
        assert journal.since(newest + 1, 9) is None
        assert journal.since(journal.floor - 1, 9) is None
        for version in range(journal.floor, newest + 1):
            for limit in (1, 4, 1000):
                assert self.in_pages(version, limit) == self.remembered_from(version)

    def in_pages(self, version: int, limit: int) -> list[int]:
        """All pages from there on; each goes on, and only the last says that it is."""
        found: list[int] = []
        more = True
        while more:
            page = self.journal.since(version, limit)
            assert page is not None
            weight = sum(self.put_in[item - 1][1] for item in page.items)
            assert weight <= limit or len(page.items) == 1
            assert page.version > version or not page.more
            assert page.more == (page.version < self.journal.version)
            assert all(version < item <= page.version for item in page.items)
            found += page.items
            version, more = page.version, page.more
        return found

    @invariant()
    def it_is_bounded_and_forgets_no_more_than_it_must(self) -> None:
        journal, newest = self.journal, len(self.put_in)
        weights = [self.put_in[item - 1][1] for item in self.remembered_from(journal.floor)]
        assert journal.weight == sum(weights)
        assert journal.weight <= MOST_WEIGHT or weights[:-1] == []
        assert newest - journal.floor <= PLACES
        assert newest - journal.floor >= min(newest, 1)
        assert len(journal._newest) <= PLACES

    @invariant()
    def what_fits_is_remembered(self) -> None:
        if len(self.put_in) <= PLACES and sum(weight for _, weight in self.put_in) <= MOST_WEIGHT:
            assert self.journal.floor == 0


TestJournalAgainstModel = JournalAgainstModel.TestCase
TestJournalAgainstModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.integers(0, 40), st.integers(1, 7))
def test_an_answer_looks_at_a_bounded_number_of_places(count: int, looked_at: int) -> None:
    journal: Journal[str] = Journal(64)
    for _ in range(count):
        journal.put("again", "key")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_LOOKED_AT", looked_at)
        version, asked = 0, 1
        while (page := journal.since(version, 10)) is not None and page.more:
            assert page.version - version == looked_at
            version, asked = page.version, asked + 1
    assert page is not None
    assert page.items == ["again"] * bool(count)
    assert asked == max(1, -(-count // looked_at))
