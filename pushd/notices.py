"""What clients that only long-poll are told beside messages: that another session has read.

A device that polls has a box. A held poll is answered at once; between two polls the box keeps
the newest per channel, for a grace time, as a session would have been told in the meantime.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Protocol

import msgspec
import structlog
import trio

from pushd.core.frames import object_json
from pushd.core.wheel import Expiring, TimingWheel

MAX_BOXES: Final = 100_000  # the one that was idle longest makes room
MAX_OF_USER: Final = 64  # the same among a user's own, so that nobody else has to make room
MAX_READS: Final = 128  # channels in one box; the oldest goes

log = structlog.get_logger("pushd.notices")


class Poll(Protocol):
    """A held poll, which takes from its box when it is answered."""

    done: bool

    def moved(self) -> None:
        """There is something for it: it is answered now."""


class Box(Expiring):
    """What one polling device has not been told yet."""

    __slots__ = ("_notices", "_polls", "_reads", "_telling", "device", "key", "user")

    def __init__(self, notices: Notices, user: str, device: str | None) -> None:
        super().__init__()
        # Without a device nothing says that two polls are of one client: a box for each.
        self.key: Hashable = device or self
        self.user = user
        self.device = device
        self._notices = notices
        self._polls: list[Poll] = []
        self._reads: dict[str, str] = {}
        self._telling = False

    def __bool__(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._reads)

    def hold(self, poll: Poll) -> None:
        """``poll`` waits for what comes."""
        self._polls = [each for each in self._polls if not each.done]
        self._polls.append(poll)

    def take(self) -> list[msgspec.Raw]:
        """Everything, for an answer."""
        told = [
            msgspec.Raw(object_json("read", channel=channel, cursor=cursor))
            for channel, cursor in self._reads.items()
        ]
        if not self._telling:
            self._reads.clear()
            self._notices.answered(self)
        return told

    def read(self, channel: str, cursor: str) -> None:
        """Another session of the user has set its read mark."""
        self._reads.pop(channel, None)
        self._reads[channel] = cursor
        if len(self._reads) > MAX_READS:
            del self._reads[next(iter(self._reads))]
        polls, self._polls = [each for each in self._polls if not each.done], []
        if not polls:
            return
        self._telling = True  # all of them: two pages may share a device
        for poll in polls:
            try:
                poll.moved()
            except Exception:  # one connection's failure is its own
                log.exception("answering a held poll failed")
        self._telling = False
        self._reads.clear()
        self._notices.answered(self)

    def expire(self) -> None:
        """Its device has not polled for the grace time."""
        if any(not each.done for each in self._polls):
            self._notices.touch(self)
        else:
            self._notices.drop(self)


class Notices:
    """All boxes. ``grace_s``: how long a device counts as polling between two polls."""

    def __init__(self, wheel: TimingWheel[Expiring], grace_s: float) -> None:
        self._wheel = wheel
        self._grace_s = grace_s
        self._boxes: dict[Box, None] = {}  # the one touched last is at the end
        self._of_user: dict[str, dict[Hashable, Box]] = {}

    def __len__(self) -> int:
        return len(self._boxes)

    def box(self, user: str, device: str | None) -> Box:
        """The device's box: it polls now."""
        own = self._of_user.setdefault(user, {})
        box = own.pop(device, None)
        if box is None:
            box = Box(self, user, device)
            self._boxes[box] = None
        own[box.key] = box  # the one that polled last is at the end
        self.touch(box)
        if len(own) > MAX_OF_USER:
            self.drop(next(iter(own.values())))
        if len(self._boxes) > MAX_BOXES:
            self.drop(next(iter(self._boxes)))
        return box

    def touch(self, box: Box) -> None:
        """From now on the grace time runs anew; a box that had to make room stays away."""
        if box not in self._boxes:
            return
        del self._boxes[box]
        self._boxes[box] = None
        self._wheel.arm(box, trio.current_time() + self._grace_s)

    def answered(self, box: Box) -> None:
        """What was to be told is told."""
        if box.device is None:
            self.drop(box)
        else:
            self.touch(box)

    def drop(self, box: Box) -> None:
        """Safe to call twice."""
        self._wheel.disarm(box)
        if box not in self._boxes:
            return
        del self._boxes[box]
        of_user = self._of_user[box.user]
        del of_user[box.key]
        if not of_user:
            del self._of_user[box.user]

    def read(self, user: str, but: str | None, channel: str, cursor: str) -> None:
        """The user has read up to ``cursor``: tell all polling devices, except that one."""
        for box in list(self._of_user.get(user, {}).values()):
            if but is None or box.device != but:
                box.read(channel, cursor)
