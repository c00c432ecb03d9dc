"""The index of groups against a model: whatever is done in whatever order, it says the same."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pushd.core.positions import NO_EPOCH, Cursor
from pushd.groups import Groups

GROUPS = st.sampled_from(["red", "green", "blue"])
USERS = st.lists(st.sampled_from("abcdef"), max_size=4)


class Model(RuleBasedStateMachine):
    """``known``: who is in what, and where each has joined. ``lives``: of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = Groups()
        self.known: dict[str, dict[str, Cursor]] = {}
        self.lives = {group: Cursor(NO_EPOCH, 0) for group in ("red", "green", "blue")}
        self.count = 0
        self.untidy: set[str] = set()

    @rule(group=GROUPS, users=USERS)
    def join(self, group: str, users: list[str]) -> None:
        at = self.lives[group]
        self.groups.add(group, users, at)
        for user in users:
            self.known.setdefault(group, {}).setdefault(user, at)

    @rule(group=GROUPS, users=USERS)
    def leave(self, group: str, users: list[str]) -> None:
        self.groups.remove(group, users)
        for user in users:
            self.known.get(group, {}).pop(user, None)

    @rule(group=GROUPS)
    def delete(self, group: str) -> None:
        dropped = self.groups.drop(group)
        assert set(dropped) == set(self.known.pop(group, {}))
        self.untidy |= set(dropped)

    @rule()
    def tidy(self) -> None:
        while self.untidy:
            self.groups.tidy(self.untidy.pop())

    @rule(group=GROUPS, new_life=st.booleans())
    def publish(self, group: str, new_life: bool) -> None:
        epoch, seq = self.lives[group]
        if new_life or epoch == NO_EPOCH:
            self.count += 1
            epoch, seq = f"{self.count:09}", 0
        self.lives[group] = Cursor(epoch, seq + 1)

    @invariant()
    def the_same(self) -> None:
        groups, known = self.groups, {name: each for name, each in self.known.items() if each}
        assert {name: set(groups.members(name)) for name in groups.names()} == {
            name: set(members) for name, members in known.items()
        }
        assert len(groups) == len(known)
        assert groups.memberships == sum(map(len, known.values()))
        for user in "abcdef":
            own = sorted(name for name in known if user in known[name])
            assert groups.of(user) == own
            assert groups.channels_of(user) == [f"group:{name}" for name in own]
            for name in self.lives:
                assert groups.has(name, user) == (name in own)
                self._check_joined(name, user)
        if not self.untidy:
            assert set(groups._of_user) == {user for each in known.values() for user in each}

    def _check_joined(self, group: str, user: str) -> None:
        """Exact in the life that the channel has now; of earlier ones it need not be known."""
        expected = self.known.get(group, {}).get(user)
        found = self.groups.joined(group, user)
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            same_life = expected.epoch == self.lives[group].epoch
            assert found == expected if same_life else found.epoch != self.lives[group].epoch


TestModel = Model.TestCase
