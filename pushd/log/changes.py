"""What may be done to a log beside appending, each stored with those that wait beside it.

``apply`` runs on the writer's thread within a transaction. It raises a PushdError to refuse, and
does so before it has changed anything: the others of the transaction are stored all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pushd.core.pulling import Position
from pushd.errors import BadRequest, NotFound
from pushd.log.ledger import Channel, Ledger
from pushd.log.members import leave_all


class Request:
    """Something to be done by the writer. ``done`` is called on the loop, exactly once.

    ``wipes``: what it removes shall soon be nowhere on the disk. ``weight``: how much work it is,
    about as rows are; what is heavy is committed alone.
    """

    __slots__ = ("done",)
    wipes = False

    @property
    def weight(self) -> int:
        return 1

    def __init__(self, done: Callable[[Any], None]) -> None:
        self.done = done

    def apply(self, ledger: Ledger) -> object:
        """The answer."""
        raise NotImplementedError


class _OfChannel(Request):
    __slots__ = ("channel",)

    def __init__(self, channel: str, done: Callable[[Any], None]) -> None:
        super().__init__(done)
        self.channel = channel

    def _found(self, ledger: Ledger) -> Channel:
        channel = ledger.find(self.channel)
        if channel is None:
            raise NotFound(f"There is no channel {self.channel!r}.")
        return channel


class Trim(_OfChannel):
    """Forget what is older than ``before``. Refused: NotFound, BadRequest."""

    __slots__ = ("before",)
    wipes = True

    def __init__(self, channel: str, before: int, done: Callable[[Any], None]) -> None:
        super().__init__(channel, done)
        self.before = before

    def apply(self, ledger: Ledger) -> Position:
        channel = self._found(ledger)
        if self.before > channel.head + 1:
            raise BadRequest(
                f"Channel {channel.name!r} ends at seq {channel.head}: 'before' may be at most"
                f" {channel.head + 1}, which forgets all of it."
            )
        if self.before > channel.first:
            ledger.cut(channel, self.before)
        return Position(channel.epoch, max(self.before, channel.first), channel.head)


class Delete(_OfChannel):
    """End this life of the channel. Refused: NotFound."""

    wipes = True

    def apply(self, ledger: Ledger) -> Position:
        channel = self._found(ledger)
        ledger.delete(channel)
        return Position(channel.epoch, channel.first, channel.head)


class Discard(Request):
    """End the lives of channels that nobody can come back to; those that are not there are passed
    over. Answers how many were there."""

    __slots__ = ("channels",)

    def __init__(self, channels: list[str], done: Callable[[Any], None]) -> None:
        super().__init__(done)
        self.channels = channels

    def apply(self, ledger: Ledger) -> int:
        found = [channel for name in self.channels if (channel := ledger.find(name)) is not None]
        for channel in found:
            ledger.delete(channel, for_good=True)
        return len(found)


class Redact(_OfChannel):
    """Take type and data from a message. Refused: NotFound."""

    __slots__ = ("seq",)
    wipes = True

    def __init__(self, channel: str, seq: int, done: Callable[[Any], None]) -> None:
        super().__init__(channel, done)
        self.seq = seq

    def apply(self, ledger: Ledger) -> Position:
        channel = self._found(ledger)
        if not channel.first <= self.seq <= channel.head:
            raise NotFound(f"Channel {channel.name!r} retains no message {self.seq}.")
        ledger.redact(channel, self.seq)
        return Position(channel.epoch, channel.first, channel.head)


class Erased(NamedTuple):
    """The inboxes that a user had, and the groups that the user was in."""

    inboxes: list[str]
    groups: list[str]


class EraseUser(Request):
    """``forget_marks`` drops those that are not on disk yet."""

    __slots__ = ("forget_marks", "user")
    wipes = True

    def __init__(
        self, user: str, forget_marks: Callable[[str], None], done: Callable[[Any], None]
    ) -> None:
        super().__init__(done)
        self.user = user
        self.forget_marks = forget_marks

    def apply(self, ledger: Ledger) -> Erased:
        inboxes = ledger.inboxes(self.user)
        for inbox in inboxes:
            ledger.delete(inbox)
        self.forget_marks(self.user)
        ledger.forget_user(self.user)
        return Erased([inbox.name for inbox in inboxes], leave_all(ledger, self.user))


class Revoke(Request):
    """Replaces what was revoked under the same name."""

    __slots__ = ("key", "until_s")

    def __init__(self, kind: str, value: str, until_s: float, done: Callable[[Any], None]) -> None:
        super().__init__(done)
        self.key = kind, value
        self.until_s = until_s

    def apply(self, ledger: Ledger) -> tuple[float, float]:
        return ledger.revoke(*self.key, self.until_s)


class Unrevoke(Request):
    """Refused: NotFound."""

    __slots__ = ("key",)

    def __init__(self, kind: str, value: str, done: Callable[[Any], None]) -> None:
        super().__init__(done)
        self.key = kind, value

    def apply(self, ledger: Ledger) -> None:
        if not ledger.unrevoke(*self.key):
            raise NotFound(f"There is no revocation of {self.key[0]} {self.key[1]!r}.")


class NoteClock(Request):
    """``wall_ms``: what retention believes."""

    __slots__ = ("wall_ms",)

    def __init__(self, wall_ms: int, done: Callable[[Any], None]) -> None:
        super().__init__(done)
        self.wall_ms = wall_ms

    def apply(self, ledger: Ledger) -> None:
        ledger.note_clock(self.wall_ms)
