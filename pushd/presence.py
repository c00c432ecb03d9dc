"""Who is online: users with a live session, and for a grace time after their last one ended.

Kept in memory, by what lives: after a start nobody is online until they come.
"""

from __future__ import annotations

from collections.abc import Callable, Container, KeysView

import trio

from pushd.core.wheel import Expiring, TimingWheel
from pushd.happenings import Happenings, SessionClosed, SessionOpened, UserOffline, UserOnline
from pushd.sight import Sight, State


class _Leaving(Expiring):
    """A user whose last session has ended. ``since``: when, on Trio's clock."""

    __slots__ = ("_presence", "since", "user")

    def __init__(self, presence: Presence, user: str, since: float) -> None:
        super().__init__()
        self.user = user
        self.since = since
        self._presence = presence

    def expire(self) -> None:
        self._presence.left(self)


class Presence:
    """The users that are online, on all nodes that it knows of. Used on the Trio loop only.

    It tells ``UserOnline`` and ``UserOffline``; of users who stay it costs a place in a dict.
    """

    def __init__(
        self,
        live: Container[str],
        wheel: TimingWheel[Expiring],
        happenings: Happenings,
        grace_s: float,
        clock: Callable[[], float] = trio.current_time,
        sight: Sight | None = None,
    ) -> None:
        """``live``: users with a session. ``grace_s``: a reload in between is no flicker;
        ``clock``: the wheel's."""
        self._live = live
        self._wheel = wheel
        self._happenings = happenings
        self._grace_s = grace_s
        self._clock = clock
        self._online: dict[str, _Leaving | None] = {}
        self._sight = sight or Sight()
        self._overdue: dict[str, _Leaving] = {}  # they may live where nobody sees
        self._sight.on_known(self._look_again)
        happenings.listen(SessionOpened, self._opened)
        happenings.listen(SessionClosed, self._closed)

    @property
    def state(self) -> State:
        """Unknown: what it says of who is online is what was known last."""
        return self._sight.state

    def is_online(self, user: str) -> bool:
        """Whether the user has a live session, or had one until just now."""
        return user in self._online

    def has_any(self, users: KeysView[str]) -> bool:
        """Whether any of them is online; looks at the fewer of both."""
        return not users.isdisjoint(self._online.keys())

    def __len__(self) -> int:
        """How many users are online."""
        return len(self._online)

    def users(self) -> list[str]:
        """All that are online, at this moment."""
        return list(self._online)

    def left_at(self, user: str) -> float | None:
        """When the last session of a user ended who is still taken for online; on Trio's clock."""
        leaving = self._online.get(user)
        return None if leaving is None else leaving.since

    def _opened(self, happening: SessionOpened) -> None:
        user = happening.session.user
        if user is None:
            return
        if user not in self._online:
            self._online[user] = None
            self._happenings.tell(UserOnline(user))
        elif (leaving := self._online[user]) is not None:
            self._wheel.disarm(leaving)
            self._online[user] = None

    def _closed(self, happening: SessionClosed) -> None:
        """One of the user's; whatever else of the user lives keeps the user online."""
        user = happening.session.user
        if user is None or user in self._live or user not in self._online:
            return
        leaving = _Leaving(self, user, self._clock())
        self._online[user] = leaving
        if self._grace_s:
            self._wheel.arm(leaving, leaving.since + self._grace_s)
        else:
            self.left(leaving)

    def left(self, leaving: _Leaving) -> None:
        """The grace time is over, unless the user has come back meanwhile."""
        if self._online.get(leaving.user) is not leaving:
            return
        if not self._sight.known:
            self._overdue[leaving.user] = leaving
        else:
            del self._online[leaving.user]
            self._happenings.tell(UserOffline(leaving.user))

    def _look_again(self) -> None:
        """By the wheel, which hands out a few at a time: there may be very many."""
        overdue, self._overdue = self._overdue, {}
        for user, leaving in overdue.items():
            if self._online.get(user) is leaving:
                self._wheel.arm(leaving, self._clock())
