"""What the loop knows of the log: heads, revocations, groups; and how commits change them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from pushd.core.names import SESSION_PREFIX
from pushd.core.positions import Cursor
from pushd.groups import Groups
from pushd.log.requests import Advance, Change, Head
from pushd.log.rows import Moved


class Live:
    """Changed on the loop only, in the order of the commits."""

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.revocations: dict[tuple[str, str], tuple[float, float]] = {}
        self.groups = Groups()
        # Who has joined and left since ``take_members_changed``.
        self.members_changed: list[MembersChanged] = []
        # What was revoked, or is no longer, since ``take_revoked_changed``.
        self.revoked_changed: list[tuple[str, str]] = []
        # By channel, the epochs of lives that ended with the changes that were last applied.
        self.ended: dict[str, str] = {}
        # Whether somebody has asked for one of these, who shall not see what was before.
        self.urgent = False
        # Every head once, for those who go round; those that were deleted since are still in it.
        self.ring: deque[Head] = deque()

    def load(
        self,
        heads: dict[str, Head],
        revocations: dict[tuple[str, str], tuple[float, float]],
        groups: Groups,
    ) -> None:
        """At the start: what is on disk."""
        self.heads, self.revocations, self.groups = heads, revocations, groups
        self.ring = deque(heads.values())

    def advance(self, moved: Moved) -> Advance:
        """Heads rise; the answer is for those who follow them."""
        channel, channel_id, log_id, epoch, seq, at, start, messages, added, first_at = moved
        head = self.heads.get(channel)
        if head is None:
            head = Head(channel, channel_id, epoch, seq, 1, at, log_id, added, first_at or at)
            self.heads[channel] = head
            self.ring.append(head)
        else:
            head.seq = seq
            head.at = at
            head.bytes += added
            head.added += added
            if first_at is not None:
                head.first_at = first_at
        return Advance(head, start, messages)

    def change(self, effects: Iterable[Effect]) -> list[Change]:
        """Applies all of them; one Change for each channel that its readers must look at anew."""
        self.ended, self.urgent = {}, False
        changed = {effect.apply(self): None for effect in effects}
        return [
            Change(channel, self.heads.get(channel)) for channel in changed if channel is not None
        ]

    def take_members_changed(self) -> list[MembersChanged]:
        """Each once."""
        taken, self.members_changed = self.members_changed, []
        return taken

    def take_revoked_changed(self) -> list[tuple[str, str]]:
        """Each once."""
        taken, self.revoked_changed = self.revoked_changed, []
        return taken

    def of_life(self, channel: str, log_id: int) -> Head | None:
        """The head, if the channel is still in that life."""
        head = self.heads.get(channel)
        return head if head is not None and head.log_id == log_id else None


class Effect(Protocol):
    """Something that was committed, on its way to the loop."""

    def apply(self, live: Live) -> str | None:
        """The channel that its readers must look at anew, if any."""


class MembersChanged(NamedTuple):
    """Who has joined and left a group, in one commit, and where the group's channel was then.

    ``left`` of a deleted group is known when it is applied.
    """

    group: str
    joined: Sequence[str]
    left: Collection[str]
    at: Cursor
    deleted: bool = False

    def apply(self, live: Live) -> str | None:
        changed = self
        if self.deleted:
            changed = self._replace(left=live.groups.drop(self.group))
        else:
            if self.left:
                live.groups.remove(self.group, self.left)
            if self.joined:
                live.groups.add(self.group, self.joined, self.at)
        live.members_changed.append(changed)
        return None


class FirstMoved(NamedTuple):
    """Messages were cut, by a trim or by retention (``due``)."""

    channel: str
    log_id: int
    first: int
    first_at: int
    due: bool = False

    def apply(self, live: Live) -> str | None:
        live.urgent = live.urgent or not self.due
        head = live.of_life(self.channel, self.log_id)
        if head is not None:
            head.first, head.first_at = self.first, self.first_at
        return self.channel


class Deleted(NamedTuple):
    """This life of the channel has ended."""

    channel: str
    log_id: int

    def apply(self, live: Live) -> str | None:
        head = live.of_life(self.channel, self.log_id)
        if head is not None:
            del live.heads[self.channel]
            live.ended[self.channel] = head.epoch
            # With its session it has lost the only one who read it.
            live.urgent = live.urgent or not self.channel.startswith(SESSION_PREFIX)
        return self.channel


class Redacted(NamedTuple):
    """``bytes``: fewer than before."""

    channel: str
    log_id: int
    bytes: int

    def apply(self, live: Live) -> str | None:
        head = live.of_life(self.channel, self.log_id)
        if head is not None:
            head.redactions += 1
            live.urgent = True
            head.bytes -= self.bytes
        return self.channel


class Swept(NamedTuple):
    """``bytes``: fewer than before. Nobody could read them any more."""

    channel: str
    log_id: int
    bytes: int

    def apply(self, live: Live) -> str | None:
        head = live.of_life(self.channel, self.log_id)
        if head is not None:
            head.bytes -= self.bytes
        return None


class Revoked(NamedTuple):
    """``span``: at and until, Unix seconds; None: no longer revoked."""

    key: tuple[str, str]
    span: tuple[float, float] | None

    def apply(self, live: Live) -> str | None:
        if self.span is None:
            live.revocations.pop(self.key, None)
        else:
            live.revocations[self.key] = self.span
        live.revoked_changed.append(self.key)
        return None
