"""Groups that are copied by what they are, late and in any portions, become the same."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pushd.core.positions import Cursor
from pushd.groups import Groups

GROUPS = st.sampled_from("ggggh")
USERS = st.lists(st.sampled_from("uvw"), min_size=1, max_size=2, unique=True)


class CopiedGroups(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.groups = Groups()
        self.copy = Groups()
        self.touched: list[tuple[str, list[str]]] = []  # and not told of yet
        self.lives = 0
        self.at = {group: Cursor("none", 0) for group in "gh"}  # of their channels

    @rule(group=GROUPS)
    def publish(self, group: str) -> None:
        epoch, seq = self.at[group]
        self.lives += epoch == "none"
        self.at[group] = Cursor(f"{self.lives:09}" if epoch == "none" else epoch, seq + 1)

    @rule(group=GROUPS)
    def delete_the_channel(self, group: str) -> None:
        self.at[group] = Cursor("none", 0)

    @rule(group=GROUPS, users=USERS)
    def join(self, group: str, users: list[str]) -> None:
        self.groups.add(group, users, self.at[group])
        self.touched.append((group, users))

    @rule(group=GROUPS, users=USERS)
    def leave(self, group: str, users: list[str]) -> None:
        self.groups.remove(group, users)
        self.touched.append((group, users))

    @rule(group=GROUPS)
    def end(self, group: str) -> None:
        users = list(self.groups.drop(group))
        for user in users:
            self.groups.tidy(user)
        self.touched.append((group, users))

    @rule(count=st.integers(1, 9), again=st.booleans())
    def tell(self, count: int, again: bool) -> None:
        """Of the next few changes, as it is now."""
        for group, users in self.touched[:count] * (1 + again):
            epoch, seqs = self.groups.state(group)
            joined = {user: seqs[user] for user in users if user in seqs}
            self.copy.take(group, epoch, joined, [each for each in users if each not in seqs])
        del self.touched[:count]

    @invariant()
    def it_is_the_same_once_all_is_told(self) -> None:
        if self.touched:
            return
        assert sorted(self.copy.names()) == sorted(self.groups.names())
        for group in self.groups.names():
            assert self.copy.state(group)[1] == self.groups.state(group)[1]
            for user in "uvw":
                assert self.copy.joined(group, user) == self.groups.joined(group, user)
        for user in "uvw":
            assert self.copy.of(user) == self.groups.of(user)
        assert self.copy.memberships == self.groups.memberships


TestCopiedGroups = CopiedGroups.TestCase
TestCopiedGroups.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)


def test_who_came_and_went_unseen_may_have_brought_another_life() -> None:
    machine = CopiedGroups()
    machine.publish("g")
    machine.join("g", ["v"])
    machine.tell(9, again=False)
    machine.delete_the_channel("g")
    machine.publish("g")
    machine.join("g", ["u"])
    machine.leave("g", ["u"])
    machine.tell(9, again=False)
    assert machine.copy.joined("g", "v") == machine.groups.joined("g", "v") == Cursor("none", 0)
    machine.it_is_the_same_once_all_is_told()
