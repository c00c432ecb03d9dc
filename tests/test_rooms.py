"""Who is in which topic, against a model: whoever lists, then follows, knows it in the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pushd.announcer import Announcer
from pushd.core.namespaces import NO_RULES, Namespaces, Rules
from pushd.core.permissions import Identity
from pushd.core.pulling import UNWRITTEN, Position
from pushd.core.room import JOIN, Room, Told
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import NotFound, NotReady, Overloaded, PushdError
from pushd.limits import Quota
from pushd.log import Append, Stored
from pushd.metrics import Counters
from pushd.rooms import Rooms

TICK = 0.25
GRACE = 5.0
NAMESPACES = Namespaces(Rules(), {"room": Rules(presence=True)})
TOPICS = ("room:1", "room:2", "hall")
EPOCH = "0mhx3f9ab"

User = st.sampled_from(["alice", "bob", "carol"])
Topic = st.sampled_from(TOPICS)


@dataclass(eq=False)
class Somebody:
    """A session, as far as rooms look at it."""

    identity: Identity
    following: dict[str, None] = field(default_factory=dict)

    @property
    def user(self) -> str | None:
        return self.identity.user


class Log:
    """Commits when it is told to; of each channel it keeps what was told."""

    def __init__(self) -> None:
        self.heads: dict[str, object] = {}
        self.waiting: list[Append] = []
        self.messages: dict[str, list[tuple[str, str]]] = {}
        self.full = False

    def submit(self, append: Append) -> None:
        if self.full:
            raise Overloaded("full", retry_after=1)
        self.waiting.append(append)

    def settle(self, *, refused: bool) -> None:
        """The oldest that waits is on disk, or is not."""
        append = self.waiting.pop(0)
        if refused:
            append.done(Overloaded("no", retry_after=1))
            return
        results = []
        for channel, draft in append.entries:
            told = self.messages.setdefault(channel, [])
            told.append((draft.type, json.loads(draft.data)["user"]))
            results.append(Stored(channel, EPOCH, len(told), "id", 0, False))
        append.done(results)


class Places:
    def __init__(self, log: Log) -> None:
        self._log = log

    def of(self, channel: str) -> Position:
        told = self._log.messages.get(channel)
        return UNWRITTEN if told is None else Position(EPOCH, 1, len(told))


class RoomsAgainstModel(RuleBasedStateMachine):
    """The model: which session follows what, and since when the last one of a user does not."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.wheel: TimingWheel[Expiring] = TimingWheel(TICK, self.now)
        self.log: Any = Log()
        self.announcer = Announcer(self.log, None, Counters(), lambda: self.now)  # type: ignore[arg-type]
        self.rooms = Rooms(
            self.announcer,
            self.log,
            Places(self.log),  # type: ignore[arg-type]
            NAMESPACES,
            self.wheel,
            Quota(1000, 3600.0, "topics"),
            GRACE,
            lambda: self.now,
        )
        self.sessions: list[Somebody] = []
        self.stopped: dict[tuple[str, str], float] = {}
        # Whoever has listed a topic: what was listed, and from which message on it follows.
        self.observers: list[tuple[str, set[str], int]] = []

    @rule(user=User, name=st.sampled_from(["a", "b"]))
    def opens(self, user: str, name: str) -> None:
        self.sessions.append(Somebody(Identity(user, attributes={"name": name})))

    @precondition(lambda self: self.sessions)
    @rule(at=st.integers(0, 1000), topic=Topic)
    def follows(self, at: int, topic: str) -> None:
        session: Any = self.sessions[at % len(self.sessions)]
        if topic not in session.following:
            session.following[topic] = None
            self.stopped.pop((topic, session.user), None)
            self.rooms.followed(session, topic)

    @precondition(lambda self: self.sessions)
    @rule(at=st.integers(0, 1000), topic=Topic)
    def stops(self, at: int, topic: str) -> None:
        session: Any = self.sessions[at % len(self.sessions)]
        self._stop(session, topic)
        self.rooms.unfollowed(session, topic)  # what it does not follow, too

    @precondition(lambda self: self.sessions)
    @rule(at=st.integers(0, 1000))
    def closes(self, at: int) -> None:
        session: Any = self.sessions.pop(at % len(self.sessions))
        for topic in list(session.following):
            self._stop(session, topic)
            self.rooms.unfollowed(session, topic)

    def _stop(self, session: Somebody, topic: str) -> None:
        if topic in session.following:
            del session.following[topic]
            user = session.user
            assert user is not None
            if not self._followed(topic, user):
                self.stopped[topic, user] = self.now

    @rule(span=st.integers(0, 60).map(lambda quarters: quarters / 8))
    def time_passes(self, span: float) -> None:
        self.now += span
        for entry in self.wheel.advance(self.now):
            entry.expire()

    @rule()
    def tells(self) -> None:
        """Also while the log has not answered what was told before."""
        self.announcer.tell_some(lambda _: None)

    @precondition(lambda self: self.log.waiting)
    @rule(refused=st.booleans())
    def settles(self, refused: bool) -> None:
        self.log.settle(refused=refused)

    @rule(full=st.booleans())
    def fills(self, full: bool) -> None:
        self.log.full = full

    @rule(topic=st.sampled_from(TOPICS[:2]), limit=st.integers(1, 3))
    def lists(self, topic: str, limit: int) -> None:
        """In pages, between which nothing happens here; the next rule is about what does."""
        found: set[str] = set()
        first = page = self.rooms.page(topic, "", limit)
        while True:
            found |= {json.loads(item)["user"] for item in page.items}
            if page.next is None:
                break
            page = self.rooms.page(topic, page.next, limit)
        assert len(found) == first.members
        seq = int(first.cursor.partition(".")[2])
        self.observers.append((topic, found, seq))

    def _followed(self, topic: str, user: str) -> bool:
        return any(each.user == user and topic in each.following for each in self.sessions)

    def teardown(self) -> None:
        """When all is told, everybody who has ever listed knows who is there."""
        self.now += 2 * GRACE
        for entry in self.wheel.advance(self.now):
            entry.expire()
        self.log.full = False
        settled: list[PushdError | None] = []
        for _ in range(100):
            self.announcer.tell_some(settled.append)
            while self.log.waiting:
                self.log.settle(refused=False)
        for topic in TOPICS[:2]:
            there = {user for user in ("alice", "bob", "carol") if self._followed(topic, user)}
            page = self.rooms.page(topic, "", 100)
            assert {json.loads(item)["user"] for item in page.items} == there
            told = self.log.messages.get(f"$presence:{topic}", [])
            for where, listed, seq in self.observers:
                if where == topic:
                    known = set(listed)
                    for type_, user in told[seq:]:
                        (known.add if type_ == JOIN else known.discard)(user)
                    assert known == there
        assert "$presence:hall" not in self.log.messages
        assert self.announcer._due == {}

    @invariant()
    def only_those_who_are_leaving_wait(self) -> None:
        leaving = sum(
            user in room.here and not self._followed(topic, user)
            for topic, room in self.announcer.rooms.items()
            for user in ("alice", "bob", "carol")
        )
        assert len(self.wheel) == leaving

    @invariant()
    def in_turn(self) -> None:
        """A leave follows a join of the same user, and nobody leaves twice."""
        for told in self.log.messages.values():
            there: set[str] = set()
            for type_, user in told:
                if type_ == JOIN:
                    there.add(user)
                else:
                    there.remove(user)

    @invariant()
    def nobody_leaves_too_soon_or_stays_too_long(self) -> None:
        for (topic, user), since in self.stopped.items():
            room = self.announcer.rooms.get(topic)
            if room is None:
                continue
            away = self.now - since
            if away < GRACE:
                assert user in room.here
            if away >= GRACE + TICK:
                assert user not in room.here


RoomsAgainstModel.TestCase.settings = settings(deadline=None, stateful_step_count=60)
TestRoomsAgainstModel = RoomsAgainstModel.TestCase


# -- what the model leaves out


class World:
    def __init__(
        self, namespaces: Namespaces = NAMESPACES, most: int = 1000, grace_s: float = 0.0
    ) -> None:
        self.log: Any = Log()
        self.wheel: TimingWheel[Expiring] = TimingWheel(TICK, 0.0)
        self.announcer = Announcer(self.log, None, Counters(), lambda: 0.0)  # type: ignore[arg-type]
        self.rooms = Rooms(
            self.announcer,
            self.log,
            Places(self.log),  # type: ignore[arg-type]
            namespaces,
            self.wheel,
            Quota(most, 3600.0, "topics"),
            grace_s,
            lambda: 0.0,
        )

    def told(self) -> list[str]:
        self.announcer.tell_some(lambda _: None)
        while self.log.waiting:
            self.log.settle(refused=False)
        return [
            f"{channel} {type_} {user}"
            for channel, messages in self.log.messages.items()
            for type_, user in messages
        ]


def somebody(user: str | None = "alice", **attributes: Any) -> Any:
    return Somebody(Identity(user, attributes=attributes))


def test_who_comes_and_goes_before_it_is_told_was_never_there() -> None:
    world = World()
    alice, bob = somebody(), somebody("bob")
    world.rooms.followed(alice, "room:1")
    world.rooms.followed(bob, "room:1")
    world.rooms.unfollowed(alice, "room:1")
    assert world.told() == ["$presence:room:1 join bob"]


def test_who_comes_back_in_the_tick_that_would_have_ended_it() -> None:
    world = World(grace_s=GRACE)
    alice = somebody()
    world.rooms.followed(alice, "room:1")
    world.rooms.unfollowed(alice, "room:1")
    [expired] = world.wheel.advance(GRACE + TICK)
    world.rooms.followed(alice, "room:1")
    expired.expire()
    assert world.told() == ["$presence:room:1 join alice"]
    assert len(world.rooms) == 1


def test_services_and_topics_without_presence() -> None:
    world = World()
    world.rooms.followed(somebody(None), "room:1")
    world.rooms.followed(somebody(), "hall")
    world.rooms.followed(somebody(), "room:" + "é" * 121)  # no name of its channel would fit
    assert world.told() == []
    assert (len(world.rooms), world.announcer.rooms) == (0, {})
    for topic in ("hall", "room:" + "é" * 121):
        with pytest.raises(NotFound):
            world.rooms.page(topic, "", 10)
    with pytest.raises(NotFound):
        World(NO_RULES).rooms.page("room:1", "", 10)


def test_invented_topics_of_one_user_are_bounded() -> None:
    world = World(most=2)
    alice, bob = somebody(), somebody("bob")
    world.log.heads["room:known"] = None
    for topic in ("room:1", "room:2", "room:3", "room:known"):
        world.rooms.followed(alice, topic)
    world.rooms.followed(bob, "room:3")
    world.rooms.followed(alice, "room:3")  # another has begun it
    assert [line.split()[0][10:] for line in world.told()] == [
        *("room:1", "room:2", "room:known", "room:3", "room:3")
    ]
    for topic in ("room:1", "room:2", "room:3", "room:known"):
        world.rooms.unfollowed(alice, topic)
    assert len(world.rooms) == 1


def test_the_newest_session_says_what_the_user_is() -> None:
    world = World()
    old, new = somebody(name="A"), somebody(name="B")

    def attributes() -> list[Any]:
        world.told()
        page = world.rooms.page("room:1", "", 10)
        return [json.loads(item)["attributes"] for item in page.items]

    world.rooms.followed(old, "room:1")
    assert attributes() == [{"name": "A"}]
    world.rooms.followed(new, "room:1")
    assert attributes() == [{"name": "B"}]
    new.identity = Identity("alice", attributes={"name": "C"})
    new.following["room:1"] = None
    world.rooms.refreshed(new)
    assert attributes() == [{"name": "C"}]
    world.rooms.unfollowed(new, "room:1")
    assert attributes() == [{"name": "A"}]
    assert len(world.told()) == 4, "a join of who is there says what is new of the user"


def test_nothing_is_listed_before_the_old_is_gone() -> None:
    world = World()
    world.announcer._left_over = ["$presence:room:1"]
    with pytest.raises(NotReady):
        world.rooms.page("room:1", "", 10)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages(size: int) -> None:
    room = Room("t", "c")
    names = sorted(f"user{number}" for number in range(10))
    for name in names[::2] + names[1::2]:
        room.tell(name, Told(JOIN, name.encode()))
    found: list[bytes] = []
    after: str | None = ""
    while after is not None:
        items, after = room.page(after, size)
        found += items
    assert [item.decode() for item in found] == names
