"""The roll on a clock of its own: whatever is lost, nobody is taken for gone who may be there, and
in the end it is what the nodes say."""

from __future__ import annotations

import random
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.cluster.bus.texts import SessionEnd, SessionRecord, SessionsSaid, SessionsState
from pushd.cluster.owner.roll import KEPT, TURN, Roll

LEASE = 15.0


def record(node: str, session: str, channels: tuple[str, ...] = ()) -> SessionRecord:
    return SessionRecord(session, node, "ann", None, "poll", "", 0.0, 0.0, list(channels))


class Told:
    """What the roll has told, as who is told sees it."""

    def __init__(self) -> None:
        self.live: dict[str, SessionRecord] = {}
        self.closed_as: list[tuple[str, str, bool | None]] = []  # session, reason, known
        self.known: bool | None = None

    def opened(self, record: SessionRecord) -> None:
        assert record.session not in self.live
        self.live[record.session] = record

    def changed(self, record: SessionRecord) -> None:
        assert record.session in self.live
        self.live[record.session] = record

    def closed(self, session_id: str, code: int, reason: str) -> None:
        del self.live[session_id]
        self.closed_as.append((session_id, reason, self.known))

    def set_known(self, known: bool) -> None:
        assert known is not self.known
        self.known = known


class Node:
    """A node as it is, and what Redis has of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sessions: dict[str, SessionRecord] = {}
        self.closed: set[str] = set()
        self.made = 0
        self.state: SessionsState | None = None
        self.there: tuple[SessionsState, dict[str, SessionRecord]] | None = None
        self.ends_at = 0.0
        self.alive = True

    def write_all(self, now: float) -> SessionsSaid:
        base = self.state.base + 1 if self.state else 1
        self.state = SessionsState("life", base, 0, len(self.sessions))
        self.keep(now)
        return SessionsSaid(self.name, "life", base, 0)

    def beat(self) -> SessionsSaid:
        assert self.state is not None
        return SessionsSaid(self.name, self.state.life, self.state.base, self.state.number)

    def keep(self, now: float) -> None:
        self.there = deepcopy((self.state, self.sessions))
        self.ends_at = now + LEASE

    def change(self, rng: random.Random, now: float) -> SessionsSaid:
        state = self.state
        assert state is not None
        state.number += 1
        said = SessionsSaid(self.name, state.life, state.base, state.number)
        kind = rng.choice(["open", "open", "close", "follow"])
        if kind == "open" or not self.sessions:
            self.made += 1
            new = record(self.name, f"{self.name}{self.made}")
            self.sessions[new.session] = new
            said.live = [new]
        elif kind == "close":
            gone = rng.choice(sorted(self.sessions))
            del self.sessions[gone]
            self.closed.add(gone)
            said.closed = [SessionEnd(gone, 1000, "by itself")]
        else:
            other = rng.choice(sorted(self.sessions))
            self.sessions[other] = record(self.name, other, (f"c{rng.random()}",))
            said.live = [self.sessions[other]]
        state.count = len(self.sessions)
        if self.there is not None:  # else it was emptied, and is not whole before all is written
            self.keep(now)
        return said


class World:
    """Nodes, a Redis that forgets, and the roll of an owner that hears not everything."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.told = Told()
        self.roll = Roll("owner", self.told, LEASE)
        self.roll.turn = self.rng.choice([1, 2, 5])
        self.nodes = [Node(name) for name in "abc"]
        self.connected, self.calm = True, False
        self.roll.gap(self.now)
        for node in self.nodes:
            self.say(node.write_all(self.now), lost=False)

    def say(self, said: SessionsSaid, *, lost: bool) -> None:
        if self.connected and not lost:
            self.roll.heard(said)

    def look(self) -> None:
        """What the owner does every second."""
        if not self.connected:
            return
        for node in self.nodes:
            if node.there is not None and self.now >= node.ends_at:
                node.there = None
            if node.there is None:
                self.roll.absent(node.name)
            else:
                self.roll.listed([node.name])
        for node in self.nodes:
            if node.name in self.roll.wanted and node.there is not None:
                self.read(node.name, *deepcopy(node.there))
        self.roll.settle(self.now)
        for _ in range(self.rng.randrange(3)):
            self.roll.part()

    def read(self, name: str, state: SessionsState, records: dict[str, SessionRecord]) -> None:
        """In turns, in which other things happen."""
        for _ in self.roll.take(name, state, records):
            if not self.calm and self.rng.random() < 0.3:
                self.step(looks=False)

    def second(self) -> None:
        self.now += 1.0
        for node in self.nodes:
            if node.alive and int(self.now) % 5 == 0 and self.connected:
                if node.there is None or self.now >= node.ends_at:
                    self.say(node.write_all(self.now), lost=False)
                node.ends_at = self.now + LEASE
                self.say(node.beat(), lost=False)
        self.look()

    def step(self, *, looks: bool = True) -> None:
        rng = self.rng
        kind = rng.choices(
            ["change", "second", "lose", "find", "flush", "die"],
            [10, 8 if looks else 0, 1, 2, 0.5, 0.2],
        )[0]
        node = rng.choice(self.nodes)
        if kind == "change" and node.alive:
            self.say(node.change(rng, self.now), lost=rng.random() < 0.2)
        elif kind == "second":
            self.second()
        elif kind == "lose" and self.connected:
            self.connected = False
            self.roll.lost()
        elif kind == "find" and not self.connected:
            self.find()
        elif kind == "flush" and self.connected:
            for each in self.nodes:
                each.there = None
            self.roll.gap(self.now)
        elif kind == "die":
            node.alive = False

    def find(self) -> None:
        self.connected = True
        self.roll.gap(self.now)
        for node in self.nodes:
            if node.alive and self.rng.random() < 0.7:
                self.say(node.write_all(self.now), lost=False)


@given(st.integers(0, 1 << 30))
def test_it_is_what_the_nodes_say_and_nobody_is_lost_while_nobody_is_sure(seed: int) -> None:
    world = World(seed)
    for _ in range(150):
        world.step()
    world.calm = True
    if not world.connected:
        world.find()
    for _ in range(60):
        world.second()
    while world.roll.leaving:
        world.roll.part()
    world.second()
    alive = [node for node in world.nodes if node.alive]
    truth = {id_: each for node in alive for id_, each in node.sessions.items()}
    assert world.told.live == truth
    assert world.told.known
    # While it was not known who is there, only the dead were taken for gone, if anybody.
    for session, reason, known in world.told.closed_as:
        node = next(each for each in world.nodes if each.name == session[0])
        own_word = session in node.closed
        assert own_word or not node.alive, (session, reason, known)


@pytest.fixture
def told() -> Told:
    return Told()


def read(roll: Roll, name: str, *sessions: str, number: int = 0, base: int = 1) -> None:
    state = SessionsState("life", base, number, len(sessions))
    list(roll.take(name, state, {each: record(name, each) for each in sessions}))


def begun(told: Told) -> Roll:
    """At second 50: a node ``a`` with the sessions ``x`` and ``y``."""
    roll = Roll("owner", told, LEASE)
    roll.gap(20.0)
    roll.listed(["a"])
    assert list(roll.wanted) == ["a"]
    read(roll, "a", "x", "y")
    roll.settle(50.0)
    assert told.known
    assert set(told.live) == {"x", "y"}
    return roll


def test_at_the_start_the_others_are_given_time(told: Told) -> None:
    roll = Roll("owner", told, LEASE)
    assert told.known is False
    roll.settle(1e9)
    assert told.known is False
    roll.gap(0.0)
    roll.listed(["a", "b", "owner"])
    read(roll, "a", "x")
    roll.settle(29.9)
    assert not told.known
    assert set(told.live) == {"x"}
    roll.settle(30.0)
    assert told.known
    assert roll.nodes() == ["a"]  # b never said all


def test_two_leases_after_a_gap_who_was_not_confirmed_is_gone(told: Told) -> None:
    roll = begun(told)
    roll.gap(100.0)
    assert told.known is False
    roll.absent("a")
    roll.settle(129.9)
    assert set(told.live) == {"x", "y"}
    assert told.known is False
    roll.settle(130.0)
    assert not told.known  # before all have parted
    roll.part()
    roll.settle(130.0)
    assert told.live == {}
    assert told.known


def test_while_redis_is_away_nothing_settles(told: Told) -> None:
    roll = begun(told)
    roll.lost()
    roll.settle(1e9)
    assert (told.known, set(told.live)) == (False, {"x", "y"})


def test_after_a_gap_a_node_may_say_itself_who_left(told: Told) -> None:
    roll = begun(told)
    roll.gap(100.0)
    read(roll, "a", "y", base=2)
    assert told.closed_as == [("x", "lost", False)]
    roll.settle(130.0)
    assert set(told.live) == {"y"}


def test_a_redis_that_is_behind_takes_nothing_back(told: Told) -> None:
    roll = begun(told)
    roll.heard(SessionsSaid("a", "life", 1, 1, [record("a", "z")]))
    roll.gap(100.0)
    read(roll, "a", "x", "y")
    assert set(told.live) == {"x", "y", "z"}
    assert "a" in roll.wanted


def test_changes_that_come_before_what_they_build_upon_wait(told: Told) -> None:
    roll = begun(told)
    for number in (2, 3):
        roll.heard(SessionsSaid("a", "life", 1, number, [record("a", f"n{number}")]))
    assert set(told.live) == {"x", "y"}
    read(roll, "a", "x", "n2", number=2)
    assert set(told.live) == {"x", "n2", "n3"}
    assert not roll.wanted


def test_how_far_a_node_is_shows_what_was_missed(told: Told) -> None:
    roll = begun(told)
    roll.heard(SessionsSaid("a", "life", 1, 0))
    assert not roll.wanted
    roll.heard(SessionsSaid("a", "life", 1, 1))
    assert "a" in roll.wanted
    read(roll, "a", "x", number=1)
    assert not roll.wanted


def test_what_waits_is_bounded(told: Told) -> None:
    roll = begun(told)
    for number in range(2, 3 * KEPT):
        roll.heard(SessionsSaid("a", "life", 1, number, [record("a", "n")]))
    assert len(roll._nodes["a"].waiting) <= KEPT
    read(roll, "a", "x", number=3 * KEPT - 1)
    assert set(told.live) == {"x"}
    assert not roll.wanted


def test_a_new_life_of_a_node_and_its_end(told: Told) -> None:
    roll = begun(told)
    roll.heard(SessionsSaid("a", "next", 1, 0))
    assert "a" in roll.wanted
    state = SessionsState("next", 1, 0, 1)
    list(roll.take("a", state, {"z": record("a", "z")}))
    assert set(told.live) == {"z"}
    roll.heard(SessionsSaid("a", "next", 1, 1, gone=True))
    roll.part()
    assert told.closed_as[-1] == ("z", "node ended", True)
    assert len(roll) == 0


def test_a_node_speaks_for_itself_only(told: Told) -> None:
    roll = begun(told)
    roll.heard(SessionsSaid("a", "life", 1, 1, [record("b", "z")], [SessionEnd("q", 1000, "")]))
    roll.heard(SessionsSaid("owner", "life", 1, 1, [record("owner", "z")]))
    list(roll.take("a", SessionsState("life", 1, 2, 1), {"z": record("b", "z")}))
    assert told.live == {}
    assert roll.nodes() == ["a"]


def test_a_great_node_comes_and_goes_in_turns(told: Told) -> None:
    roll = begun(told)
    many = [f"s{n}" for n in range(10 * TURN)]
    state = SessionsState("life", 1, 9, len(many))
    turns = roll.take("a", state, {each: record("a", each) for each in many})
    for turn, _ in enumerate(turns, 1):
        assert len(told.live) <= turn * TURN
        if turn == 2:  # heard while it is taken in
            roll.heard(SessionsSaid("a", "life", 1, 10, [], [SessionEnd("s1", 1000, "")]))
    assert set(told.live) == set(many) - {"s1"}
    roll.absent("a")
    assert len(roll) == 0
    roll.part()
    assert len(told.live) == len(many) - 1 - TURN
    # It was slow, and is back: who has not parted yet stays.
    stays = sorted(told.live)
    roll.heard(SessionsSaid("a", "life", 2, 0))
    read(roll, "a", *stays, base=2)
    roll.part()
    assert sorted(told.live) == stays


def test_a_gap_ends_what_was_being_taken_in(told: Told) -> None:
    roll = begun(told)
    many = {f"s{n}": record("a", f"s{n}") for n in range(3 * TURN)}
    turns = roll.take("a", SessionsState("life", 1, 5, len(many)), many)
    next(turns)
    roll.gap(100.0)
    assert list(turns) == []
    assert "a" in roll.wanted
    assert not roll._nodes["a"].confirmed
