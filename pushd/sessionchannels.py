"""The channels ``session:ID``: each begins with its first message, and ends with its session."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

import structlog
import trio

from pushd.core.names import SESSION_PREFIX
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import PushdError
from pushd.fanout import Fanout
from pushd.happenings import Happenings, SessionClosed
from pushd.log import MOST_DISCARDED, Log
from pushd.sessions import Sessions
from pushd.sight import Sight

RETRY_S: Final = 1.0
VOUCHED_S: Final = 15.0  # more than it takes until all nodes have heard of a session

log = structlog.get_logger("pushd.sessions")


class _Vouched(Expiring):
    """A channel whose session is known to another node only, for a while."""

    __slots__ = ("_channel", "_channels")

    def __init__(self, channels: SessionChannels, channel: str) -> None:
        super().__init__()
        self._channels = channels
        self._channel = channel

    def expire(self) -> None:
        self._channels.lapse(self._channel)


class SessionChannels(Expiring):
    """Sessions without one cost nothing. Those that are over are deleted, tried until it is done:
    a record for all of them, one request to the log at a time."""

    def __init__(
        self,
        log: Log,
        sessions: Sessions,
        fanout: Fanout,
        wheel: TimingWheel[Expiring],
        happenings: Happenings,
        sight: Sight | None = None,
    ) -> None:
        super().__init__()
        self._log = log
        self._sessions = sessions
        self._fanout = fanout
        self._wheel = wheel
        self._leaving: dict[str, None] = {}
        self._sight = sight or Sight()
        self._vouched: dict[str, _Vouched] = {}
        self._unseen: dict[str, None] = {}  # their sessions may live where nobody sees
        self._sight.on_known(self._look_again)
        self._busy = False
        happenings.listen(SessionClosed, self._closed)

    def __len__(self) -> int:
        """How many are still to be deleted."""
        return len(self._leaving)

    def clear(self, channels: Iterable[str]) -> None:
        """At the start: those of an earlier process. Nobody can read them meanwhile."""
        self._remove(name for name in channels if name.startswith(SESSION_PREFIX))

    def vouch(self, channel: str) -> None:
        """Another node says that its session lives, of which this one may not have heard yet."""
        if channel[len(SESSION_PREFIX) :] not in self._sessions.by_id:
            vouched = self._vouched.setdefault(channel, _Vouched(self, channel))
            self._wheel.arm(vouched, trio.current_time() + VOUCHED_S)

    def lapse(self, channel: str) -> None:
        """By now it would have been heard of."""
        if (
            self._vouched.pop(channel, None) is not None
            and channel in self._log.heads
            and channel[len(SESSION_PREFIX) :] not in self._sessions.by_id
        ):
            self._remove([channel])

    def begun(self, channel: str) -> None:
        """Its first message is on disk: the session follows it, if it has not closed meanwhile."""
        session = self._sessions.by_id.get(channel[len(SESSION_PREFIX) :])
        if session is None:
            if channel not in self._vouched:
                self._remove([channel])
        elif not session.closing:
            self._sessions.follow_unasked(session, channel)

    def _closed(self, happening: SessionClosed) -> None:
        channel = SESSION_PREFIX + happening.session.id
        # What is on its way to the disk shows at ``begun``.
        if channel in self._log.heads:
            self._remove([channel])
        else:
            self._fanout.recall(channel)  # polls may wait for a first message

    def _remove(self, channels: Iterable[str]) -> None:
        if not self._sight.everywhere:
            return  # the owner of the log sees to it
        if self._sight.known:
            self._leaving.update(dict.fromkeys(channels))
            self._go_on()
        else:
            self._unseen.update(dict.fromkeys(channels))

    def _look_again(self) -> None:
        unseen, self._unseen = self._unseen, {}
        living = self._sessions.by_id
        self._remove([each for each in unseen if each[len(SESSION_PREFIX) :] not in living])

    def _go_on(self) -> None:
        if self._busy or not self._leaving:
            return
        part = list(islice(self._leaving, MOST_DISCARDED))
        self._busy = True

        def done(result: int | PushdError) -> None:
            self._busy = False
            if isinstance(result, PushdError):
                self._later(result)
                return
            for channel in part:
                del self._leaving[channel]
            self._go_on()

        try:
            self._log.discard(part, done)
        except PushdError as error:
            self._busy = False
            self._later(error)

    def _later(self, error: PushdError) -> None:
        """A full disk, or too much to do; at a stop the next start does it."""
        log.warning("channels of closed sessions stay for now", reason=error.detail)
        self._wheel.arm(self, trio.current_time() + RETRY_S)

    def expire(self) -> None:
        """Tried again."""
        self._go_on()
