"""The registry of live sessions, without sockets: who is online, follows what, is told what."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pushd.access import Access
from pushd.core.namespaces import NO_RULES
from pushd.core.permissions import Identity
from pushd.core.positions import Cursor
from pushd.core.wheel import Expiring, TimingWheel
from pushd.deliveries import Deliveries
from pushd.errors import Overloaded
from pushd.fanout import Fanout, FanoutOptions
from pushd.happenings import Happenings
from pushd.inboxes import Inboxes
from pushd.limits import Shares
from pushd.log import Head, Marks
from pushd.marking import Marking
from pushd.metrics import Counters
from pushd.notices import Notices
from pushd.places import Places
from pushd.sessions import Session, Sessions

# Nothing in these channels is about to go.
NEW = 1 << 52
EPOCH = "0mhx3f9ab"


class Log:
    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.recorded: list[tuple[object, ...]] = []

    def record_delivered(self, *what: object) -> None:
        self.recorded.append(("delivered", *what))

    def record_read(self, *what: object) -> None:
        self.recorded.append(("read", *what))

    def load_marks(self, *what: object) -> None:
        """What is told of a mark is told by the log; front/test_marks.py sees it."""


class Link:
    hold = False

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def write(self, data: bytes) -> bool:
        self.told.append(json.loads(data[2:] if data[1] < 126 else data[4:]))
        return True


class FakeSession(Session):
    """A session whose transport is the list of what was said to it."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity, identity.device, "127.0.0.1")
        self.out = Link()

    @property
    def link(self) -> Link:
        return self.out

    def send(self, frame: bytes) -> None:
        self.out.write(frame)

    def expire(self) -> None: ...


class World:
    def __init__(self) -> None:
        self.log = Log()
        # A pass that took long because the machine is busy is no reason for the next one to wait.
        self.fanout = Fanout(FanoutOptions(longest_rest=0.0), Counters())
        self.wheel: TimingWheel[Expiring] = TimingWheel(0.25, 0.0)
        self.inboxes = Inboxes()
        places = Places(self.log, NO_RULES)  # type: ignore[arg-type]
        access = Access(frozenset({"lobby"}))
        self.sessions = Sessions(
            places,
            self.fanout,
            access,
            self.wheel,
            self.inboxes,
            Shares(3, "sessions"),
            max_channels=4,
        )
        self.marking = Marking(
            self.log,  # type: ignore[arg-type]
            places,
            NO_RULES,
            access,
            self.sessions,
            Notices(self.wheel, 60.0),
            Deliveries(
                self.log,  # type: ignore[arg-type]
                access,
                self.wheel,
                Counters(),
                Happenings(),
                Shares(3, "waits"),
                60.0,
            ),
            Counters(),
        )

    def head(self, channel: str, seq: int, first: int = 1) -> None:
        head = self.log.heads.setdefault(channel, Head(channel, 1, EPOCH, 0, 1, 0, first_at=NEW))
        head.seq, head.first = seq, first
        self.fanout.advance(channel, (EPOCH, seq))

    def session(self, user: str | None = "alice", *subscribe: str, **members: Any) -> FakeSession:
        session = FakeSession(Identity(user, subscribe=subscribe, **members))
        self.sessions.open(session)
        return session


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with trio.open_nursery() as nursery:
        await nursery.start(made.fanout.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_who_is_online(world: World) -> None:
    first, second = world.session("alice"), world.session("alice")
    other = world.session("bob")
    assert world.sessions.of_user("alice") == [first, second]
    world.sessions.close(first)
    world.sessions.close(first)  # twice does no harm
    assert world.sessions.of_user("alice") == [second], "the newer one stays"
    world.sessions.close(second)
    assert list(world.sessions.by_id.values()) == [other]
    assert list(world.sessions.by_user) == ["bob"]


async def test_sessions_of_one_user_are_limited_and_of_services_not(world: World) -> None:
    sessions = [world.session("alice") for _ in range(3)]
    refused = FakeSession(Identity("alice"))
    with pytest.raises(Overloaded) as caught:
        world.sessions.open(refused)
    assert caught.value.retry_after
    world.sessions.close(refused)
    assert world.sessions.of_user("alice") == sessions
    world.sessions.close(sessions[0])
    world.sessions.open(refused)
    for _ in range(10):
        world.session(None)


async def test_closing_leaves_nothing(world: World) -> None:
    session = world.session("alice", "*")
    world.sessions.follow(session, ["a", "b"], {}, {})
    world.wheel.arm(session, 100.0)
    subscription = session.subscriptions["a"]
    subscription.mark()
    world.sessions.close(session)
    assert (world.fanout.topics, len(world.wheel), session.pending) == ({}, 0, [])
    world.head("a", 1)
    await wait_all_tasks_blocked()
    assert session.out.told == []


async def test_what_a_user_follows_without_asking(world: World) -> None:
    assert world.sessions.own_channels(None) == []
    assert world.sessions.own_channels("alice") == ["all", "user:alice"]
    for channel in ("user:alice:b", "user:bob:x", "user:alice:a", "news", "user:alice"):
        world.inboxes.learn(channel)
    own = world.sessions.own_channels("alice")
    assert own == ["all", "user:alice", "user:alice:b", "user:alice:a"]


async def test_allowed_and_denied(world: World) -> None:
    session = world.session("alice", "room:*")
    names = ["room:1", "lobby:1", "secret", "user:bob", "a/b", "room:1", "session:s", "all"]
    good, denied = world.sessions.allowed(session, names)
    assert good == ["room:1", "lobby:1", "all"]
    assert [(entry["channel"], entry["code"]) for entry in denied] == [
        ("secret", "forbidden"),
        ("user:bob", "forbidden"),
        ("a/b", "bad_request"),
        ("session:s", "forbidden"),
    ]


async def test_a_session_follows_so_many_channels(world: World) -> None:
    session = world.session("alice", "*")
    world.sessions.follow(session, ["a", "b"], {}, {})
    good, denied = world.sessions.allowed(session, ["c", "a", "d", "e", "b", "f"])
    assert good == ["c", "a", "d", "b"], "what it follows already counts once"
    assert {entry["channel"] for entry in denied} == {"e", "f"}
    assert {entry["code"] for entry in denied} == {"too_large"}


async def test_an_expired_identity_follows_nothing(world: World) -> None:
    session = world.session("alice", "*", expires=time.time() - 1)
    good, denied = world.sessions.allowed(session, ["a", "all", "user:alice"])
    assert good == []
    assert {entry["code"] for entry in denied} == {"token_expired"}


async def test_following_tells_the_head_and_then_only_what_is_newer(world: World) -> None:
    world.head("a", 7, first=3)
    session = world.session("alice", "*")
    marks = {"a": Marks(Cursor(EPOCH, 5), Cursor(EPOCH, 4))}
    heads = world.sessions.follow(session, ["a", "new"], {}, marks)
    a = {"epoch": EPOCH, "first": 3, "head": 7}
    assert heads == {
        "a": {**a, "delivered": f"{EPOCH}.5", "read": f"{EPOCH}.4", "unread": 3},
        "new": {
            "epoch": "none",
            "first": 1,
            "head": 0,
            "delivered": None,
            "read": None,
            "unread": None,
        },
    }
    world.head("a", 7)
    await wait_all_tasks_blocked()
    assert session.out.told == []
    world.head("a", 8)
    world.head("new", 1)
    await wait_all_tasks_blocked()
    assert [(hint["channel"], hint["seq"]) for hint in session.out.told] == [("a", 8), ("new", 1)]


async def test_cursors_that_are_given_are_judged(world: World) -> None:
    world.head("a", 7, first=3)
    session = world.session("alice", "*")
    told = {}
    for cursor in (f"{EPOCH}.5", f"{EPOCH}.9", f"{EPOCH}.1", "000000001.1", "5", "0", "head"):
        entry = world.sessions.follow(session, ["a"], {"a": cursor}, {})["a"]
        told[cursor] = entry.get("reset", entry.get("error", {})).get("code", "good")
        if "reset" in entry:
            assert entry["reset"]["resume"] == f"{EPOCH}.2"
    assert list(told.values()) == [
        *("good", "cursor_ahead", "expired", "epoch_changed", "bad_request", "good", "good")
    ]


async def test_unfollowing(world: World) -> None:
    session = world.session("alice", "*")
    world.sessions.follow(session, ["a", "b"], {}, {})
    world.sessions.follow(session, ["a"], {}, {})  # again: changes nothing
    assert world.sessions.unfollow(session, ["a", "x", "a"]) == ["a"]
    world.head("a", 1)
    world.head("b", 1)
    await wait_all_tasks_blocked()
    assert [hint["channel"] for hint in session.out.told] == ["b"]
    assert list(world.fanout.topics) == ["b"]


async def test_acks_and_read_marks_are_checked_and_recorded(world: World) -> None:
    world.head("a", 7)
    identity = Identity("alice", subscribe=("a",))
    cursors = {"a": f"{EPOCH}.5", "secret": f"{EPOCH}.1"}
    refused = world.marking.ack(identity, "d1", cursors, time.time())
    assert [(name, error.code) for name, error in refused.items()] == [("secret", "forbidden")]
    assert world.marking.ack(identity, None, {"a": f"{EPOCH}.6"}, time.time()) == {}
    assert world.marking.ack(identity, "d1", {"a": "0"}, time.time()) == {}
    assert (
        world.marking.ack(Identity(None, scopes=frozenset({"read"})), "d", {"a": f"{EPOCH}.5"}, 0)
        == {}
    )
    world.marking.read(identity, "a", f"{EPOCH}.3", time.time())
    world.marking.read(identity, "a", "0", time.time())
    assert world.log.recorded == [
        ("delivered", "alice", "d1", "a", Cursor(EPOCH, 5)),
        ("read", "alice", "a", Cursor(EPOCH, 3)),
    ]
