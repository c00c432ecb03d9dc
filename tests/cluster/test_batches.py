"""The memory of batches against a model: each is new once, and everybody gets its one answer."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pushd.cluster.owner.batches import Batches

KEPT_S, MOST, MOST_BYTES = 4.0, 3, 12
KEYS = st.tuples(st.sampled_from(["n1", "n2"]), st.sampled_from("abc"))


class BatchesAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.batches = Batches(KEPT_S, MOST, MOST_BYTES)
        self.now = 100.0
        self.waiting: dict[tuple[str, str], list[list[bytes]]] = {}
        self.done: list[tuple[tuple[str, str], float, bytes]] = []  # in their order

    def remembered(self) -> dict[tuple[str, str], bytes]:
        """The newest that are within all bounds."""
        kept: dict[tuple[str, str], bytes] = {}
        for key, at, answer in reversed(self.done):
            size = sum(map(len, kept.values())) + len(answer)
            if at <= self.now - KEPT_S or len(kept) == MOST or size > MOST_BYTES:
                break
            kept[key] = answer
        return kept

    @rule(key=KEYS)
    def ask(self, key: tuple[str, str]) -> None:
        told: list[bytes] = []
        known = self.remembered()
        new = self.batches.is_new(key, told.append, self.now)
        assert new == (key not in known and key not in self.waiting)
        if key in known:
            assert told == [known[key]]
        else:
            assert told == []
            self.waiting.setdefault(key, []).append(told)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), answer=st.binary(max_size=MOST_BYTES + 1))
    def finish(self, data: st.DataObject, answer: bytes) -> None:
        key = data.draw(st.sampled_from(sorted(self.waiting)))
        self.batches.finish(key, answer, self.now)
        for told in self.waiting.pop(key):
            assert told == [answer]
        self.done = [each for each in self.done if each[0] != key]
        self.done.append((key, self.now, answer))
        self.done = [each for each in self.done if each[0] in self.remembered()]

    @rule(seconds=st.sampled_from([0.5, 1.0, KEPT_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self.batches) <= MOST + len(self.waiting)


TestBatchesAgainstModel = BatchesAgainstModel.TestCase
TestBatchesAgainstModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
