"""What joining and leaving a group means for those who are connected at that moment.

Who may read is decided by the index, which has changed already. This sees to it that live sessions
follow or no longer follow the group's channel and are told, and that held polls are answered. For
each user it does what is right by the index as it is now, so that the order does not matter and
the final state wins, whatever was changed meanwhile.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Final

import structlog
import trio

from pushd.core.names import PRESENCE_PREFIX
from pushd.fanout import Fanout
from pushd.groups import GROUP, Groups
from pushd.happenings import Happenings, Joined, Left
from pushd.inboxes import Inboxes
from pushd.log import MembersChanged
from pushd.polls import HeldPoll
from pushd.sessions import Sessions

TURN_S: Final = 0.002  # between two checkpoints: ten thousand may join at once

log = structlog.get_logger("pushd.groups")


class _Work:
    """One change: step by step, each of them small."""

    __slots__ = ("done", "steps")

    def __init__(self, steps: Iterator[None]) -> None:
        self.steps = steps
        self.done: trio.Event | None = None  # made by whoever waits for it


class Membership:
    """``changed`` is told of commits; the service ``run`` does what is not done at once."""

    def __init__(
        self, groups: Groups, sessions: Sessions, fanout: Fanout, happenings: Happenings
    ) -> None:
        self._groups = groups
        self._sessions = sessions
        self._fanout = fanout
        self._happenings = happenings
        self._waiting: deque[_Work] = deque()
        self._wake = trio.Event()

    def changed(self, changes: list[MembersChanged]) -> None:
        """Members have joined and left. A few are seen to at once, of many the first."""
        idle = not self._waiting
        self._waiting.extend(_Work(self._steps(change)) for change in changes)
        if idle:
            self._turn()
        self._wake.set()

    async def settled(self) -> None:
        """Until everybody is told of what had changed before the call."""
        if self._waiting:
            last = self._waiting[-1]
            if last.done is None:
                last.done = trio.Event()
            await last.done.wait()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The service. Ends by cancellation only."""
        task_status.started()
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._waiting:
                self._turn()
                await trio.lowlevel.checkpoint()

    def _turn(self) -> None:
        ends = time.perf_counter() + TURN_S
        while self._waiting:
            work = self._waiting[0]
            try:
                next(work.steps)
            except StopIteration:
                self._end(work)
            except Exception:  # of which a session's own are caught already
                log.exception("a change of members could not be told of")
                self._end(work)
            if time.perf_counter() >= ends:
                return

    def _end(self, work: _Work) -> None:
        self._waiting.popleft()
        if work.done is not None:
            work.done.set()

    def _steps(self, change: MembersChanged) -> Iterator[None]:
        group = change.group
        if change.left:
            yield from self._end_polls(group)
        for user in change.left:
            self._groups.tidy(user)
            self._settle(group, user)
            self._happenings.tell(Left(group, user))
            yield
        for user in change.joined:
            self._settle(group, user)
            self._happenings.tell(Joined(group, user))
            yield

    def _settle(self, group: str, user: str) -> None:
        if self._groups.has(group, user):
            self._sessions.adopt(user, GROUP + group)
            self._answer(Inboxes.news_of(user))
        else:
            self._sessions.abandon(user, _channels(group))

    def _end_polls(self, group: str) -> Iterator[None]:
        """Held polls of who may not read the group any more: their answer says so."""
        waiting = [self._fanout.waiting(channel) for channel in _channels(group)]
        for waiter in chain(*waiting):
            if not isinstance(waiter, HeldPoll) or waiter.identity is None:
                continue
            user = waiter.identity.user
            if user is not None and not self._groups.has(group, user):
                try:
                    waiter.expire()
                except Exception:  # one connection's failure is its own
                    log.exception("a poll could not be ended")
            yield

    def _answer(self, topic: str) -> None:
        """Held polls for all that is the user's: there is more of it now."""
        for waiter in self._fanout.waiting(topic):
            try:
                waiter.moved()
            except Exception:  # one connection's failure is its own
                log.exception("a poll could not be answered")


def _channels(group: str) -> tuple[str, str]:
    """What only members may read: its messages, and which of them are online."""
    channel = GROUP + group
    return channel, PRESENCE_PREFIX + channel
