"""Who is online, against a model: users come, reload, leave and stay away on a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pushd.core.wheel import Expiring, TimingWheel
from pushd.happenings import Happenings, SessionClosed, SessionOpened, UserOffline, UserOnline
from pushd.presence import Presence
from tests.support.app import KEY, Server, running_server, until
from tests.support.sessions import session

TICK = 0.25
GRACE = 5.0
USERS = st.sampled_from(["alice", "bob", "carol", None])


@dataclass(eq=False)
class Somebody:
    """A session, as far as presence looks at it."""

    user: str | None


class PresenceAgainstModel(RuleBasedStateMachine):
    """The model: of each user the live sessions, and when the last one ended."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.wheel: TimingWheel[Expiring] = TimingWheel(TICK, self.now)
        self.happenings = Happenings()
        self.live: dict[str, list[Somebody]] = {}
        self.presence = Presence(
            self.live, self.wheel, self.happenings, GRACE, clock=lambda: self.now
        )
        self.sessions: list[Somebody] = []
        self.ended: dict[str, float] = {}
        self.told: dict[str, list[bool]] = {}
        self.happenings.listen(UserOnline, lambda each: self.hear(each.user, True))
        self.happenings.listen(UserOffline, lambda each: self.hear(each.user, False))

    def hear(self, user: str, online: bool) -> None:
        assert self.presence.is_online(user) is online
        self.told.setdefault(user, []).append(online)

    @rule(user=USERS)
    def comes(self, user: str | None) -> None:
        session = Somebody(user)
        self.sessions.append(session)
        if user is not None:
            self.live.setdefault(user, []).append(session)
            self.ended.pop(user, None)
        self.happenings.tell(SessionOpened(session))  # type: ignore[arg-type]

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        """Any of them: an old one as well as the newest."""
        at = data.draw(st.integers(0, len(self.sessions) - 1))
        session = self.sessions.pop(at)
        if session.user is not None:
            self.live[session.user].remove(session)
            if not self.live[session.user]:
                del self.live[session.user]
                self.ended[session.user] = self.now
        self.happenings.tell(SessionClosed(session))  # type: ignore[arg-type]

    @rule(span=st.integers(0, 60).map(lambda quarters: quarters / 8))
    def time_passes(self, span: float) -> None:
        self.now += span
        for entry in self.wheel.advance(self.now):
            entry.expire()

    @invariant()
    def as_in_the_model(self) -> None:
        for user in ("alice", "bob", "carol"):
            if user in self.live:
                expected = {True}
            elif user not in self.ended:
                expected = {False}
            else:
                away = self.now - self.ended[user]
                expected = {away < GRACE} if not GRACE <= away < GRACE + TICK else {True, False}
            online = self.presence.is_online(user)
            assert online in expected, user
            told = self.told.get(user, [])
            assert told == [at % 2 == 0 for at in range(len(told))], "in turn"
            assert (told[-1] if told else False) is online, "who listens knows it"
            assert (user in self.presence.users()) is online
            left_at = self.ended.get(user) if online else None
            assert self.presence.left_at(user) == left_at
        assert len(self.presence) == len(self.presence.users())
        assert len(self.wheel) == sum(user in self.presence.users() for user in self.ended)


PresenceAgainstModel.TestCase.settings = settings(deadline=None, stateful_step_count=40)
TestPresenceAgainstModel = PresenceAgainstModel.TestCase


def test_who_comes_back_in_the_tick_that_would_have_ended_it() -> None:
    """The wheel has handed out what expired, and somebody else of that lot has had their turn."""
    wheel: TimingWheel[Expiring] = TimingWheel(TICK, 0.0)
    happenings, told = Happenings(), []
    happenings.listen(UserOffline, told.append)
    presence = Presence({}, wheel, happenings, GRACE, clock=lambda: 0.0)
    alice: Any = Somebody("alice")
    happenings.tell(SessionOpened(alice))
    happenings.tell(SessionClosed(alice))
    [expired] = wheel.advance(GRACE + TICK)
    happenings.tell(SessionOpened(alice))
    expired.expire()
    assert (presence.is_online("alice"), told) == (True, [])


# -- over real sockets


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Server]:
    """A server whose grace time no test outlives."""
    async with running_server(tmp_path, presence_grace=3600.0) as server:
        yield server


async def told(server: Server) -> list[tuple[str, bool]]:
    heard: list[tuple[str, bool]] = []
    server.hub.happenings.listen(UserOnline, lambda each: heard.append((each.user, True)))
    server.hub.happenings.listen(UserOffline, lambda each: heard.append((each.user, False)))
    return heard


async def test_a_reload_is_no_flicker(patient: Server) -> None:
    heard = await told(patient)
    for _ in range(3):
        async with session(patient):
            pass
        await until(lambda: not patient.hub.sessions.by_id)
    [user] = (await patient.ask("GET", "/v1/users?online=true", token=KEY)).json["items"]
    assert (user["user"], user["online"], user["sessions"]) == ("alice", True, 0)
    assert heard == [("alice", True)]


async def test_the_grace_time_ends(tmp_path: Path) -> None:
    async with running_server(tmp_path, presence_grace=0.05) as server:
        heard = await told(server)
        async with session(server), session(server):
            assert heard == [("alice", True)]
        await until(lambda: len(heard) == 2)
        assert heard == [("alice", True), ("alice", False)]
        answer = await server.ask("GET", "/v1/users?online=true", token=KEY)
        assert answer.json["items"] == []


async def test_without_a_grace_time_the_last_close_tells(tmp_path: Path) -> None:
    async with running_server(tmp_path, presence_grace=0.0) as server:
        heard = await told(server)
        async with session(server), session(server, "bob"):
            pass
        await until(lambda: not server.hub.sessions.by_id)
        assert len(server.hub.presence) == 0
        assert {user for user, online in heard if not online} == {"alice", "bob"}
