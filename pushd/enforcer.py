"""Ends what lives on after its right: sessions and held polls of revoked users and lost keys.

Everything else asks ``Standing`` when it makes an answer, and needs nobody to end it.
"""

from __future__ import annotations

import time

import structlog
import trio

from pushd.core.permissions import Identity
from pushd.pace import Pace
from pushd.pull import Pulls
from pushd.revocations import Standing
from pushd.sessions import Sessions

LOOK_S = 2.0  # how often it looks of its own accord, while anything is revoked

log = structlog.get_logger("pushd.keys")


class Enforcer:
    """Looks through all sessions and held polls when told to; the service is ``run``."""

    def __init__(self, standing: Standing, sessions: Sessions, pulls: Pulls) -> None:
        self.standing = standing
        self._sessions = sessions
        self._pulls = pulls
        self._told = trio.Event()

    def look(self) -> None:
        """Something was revoked, or keys have changed: look through them now."""
        self._told.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        while True:
            with trio.move_on_after(LOOK_S):
                await self._told.wait()
            self._told = trio.Event()
            if self.standing.revoked or self.standing.lost:
                await self._look_through()

    async def _look_through(self) -> None:
        """Who comes meanwhile was asked when it came."""
        ended, pace = 0, Pace()
        for session in list(self._sessions.by_id.values()):
            # One of another node is ended there: only that node knows its token.
            if session.node is None and not session.closing and self._has_ended(session.identity):
                try:
                    session.bye(4001, "revoked")
                except Exception:  # the others must not stay for it
                    log.exception("a revoked session could not be ended")
                else:
                    ended += 1
            await pace.rest()
        for poll in list(self._pulls.held):
            if poll.identity is not None and self._has_ended(poll.identity):
                try:
                    poll.expire()  # refused by what makes its answer
                except Exception:
                    log.exception("a revoked poll could not be ended")
            await pace.rest()
        if ended:
            log.info("revoked sessions ended", count=ended)

    def _has_ended(self, identity: Identity) -> bool:
        return self.standing.has_ended(identity, time.time())
