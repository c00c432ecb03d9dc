"""How long a connection may keep the server waiting: one entry of the timing wheel each."""

from __future__ import annotations

from typing import Protocol

import structlog
import trio

from pushd.core.wheel import Expiring
from pushd.errors import PushdError, RequestTimeout
from pushd.front.greetings import SLOW_S, Greetings
from pushd.hub import Hub

ANSWER_S = 60.0  # beyond the longest wait of a poll: then something of ours has failed
LINGER_S = 2.0  # after a close the rest of the request is read away, so that the answer arrives


log = structlog.get_logger("pushd.front")


class Waited(Protocol):
    """A connection, as far as its deadlines are concerned."""

    address: str

    @property
    def occupied(self) -> bool: ...

    @property
    def owing(self) -> bool: ...

    @property
    def closing(self) -> bool: ...

    def reject(self, error: PushdError) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Patience(Expiring):
    """Deadlines for the first request, a head, a body, the next request, and the goodbye."""

    __slots__ = ("_connection", "_ended", "_greetings", "_hub", "_new", "_owed", "_slow", "phase")

    def __init__(self, connection: Waited, hub: Hub, greetings: Greetings) -> None:
        super().__init__()
        self._connection = connection
        self._hub = hub
        self._greetings = greetings
        self._new = True  # no whole request yet
        self._ended = False
        self._owed: float | None = None  # since when an answer was seen to be due
        self._slow = False  # counted among the slow greetings
        self.phase: str | None = None  # what is half read: head, body, or nothing
        self._arm(min(SLOW_S, hub.settings.head_timeout))

    def _arm(self, seconds: float) -> None:
        self._hub.wheel.arm(self, trio.current_time() + max(seconds, 0.0))

    def enter(self, phase: str | None) -> None:
        """Another part of a request is being read."""
        self.phase = phase
        if not self._new or self._slow:
            self._arm(self._limit())

    def _limit(self) -> float:
        settings = self._hub.settings
        if self.phase is None:
            return settings.head_timeout if self._new else settings.idle_timeout
        return settings.body_timeout if self.phase == "body" else settings.head_timeout

    def answered(self) -> None:
        """The next request may take its time. Later than before, so the wheel need not know."""
        self._owed = None
        self.deadline = trio.current_time() + self._hub.settings.idle_timeout

    def greeted(self) -> None:
        """A whole request is here."""
        if self._new:
            self._new = False
            self._leave()

    def linger(self) -> None:
        """It closes; what still comes is read away for a while."""
        self._arm(LINGER_S)

    def end(self) -> None:
        """The connection is over, or no longer speaks HTTP."""
        self._ended = True
        self._leave()
        self._hub.wheel.disarm(self)

    def _leave(self) -> None:
        if self._slow:
            self._slow = False
            self._greetings.leave(self._connection.address)

    def expire(self) -> None:
        """Time is up for whatever it waits for: refuse, close, or cut."""
        connection = self._connection
        if self._ended:
            return  # in the same tick
        if connection.closing:
            if connection.occupied:
                self._arm(LINGER_S)  # an answer is still going out: the flusher's deadline governs
            else:
                connection.abort()
        elif connection.occupied:
            self._await_answer()
        elif self._new and not self._slow:
            self._be_slow()
        elif self._new or self.phase is not None:
            connection.reject(RequestTimeout("The request did not arrive in time."))
        else:
            connection.close()

    def _await_answer(self) -> None:
        """Whatever has failed in here: no client waits for ever."""
        now = trio.current_time()
        if not self._connection.owing:
            self._owed = None
        elif self._owed is None:
            self._owed = now
        elif now - self._owed > self._hub.settings.max_wait + ANSWER_S:
            log.error("a request was not answered: its connection is closed")
            self._connection.abort()
            return
        self._arm(self._hub.settings.idle_timeout)

    def _be_slow(self) -> None:
        try:
            self._greetings.enter(self._connection.address)
        except PushdError as error:
            self._connection.reject(error)
        else:
            self._slow = True
            self._arm(self._limit() - SLOW_S)
