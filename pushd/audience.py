"""Whether somebody is there for a message right now: what each result of a publish says."""

from __future__ import annotations

from collections.abc import Container

import msgspec

from pushd.access import Access
from pushd.core.names import Kind, kind_of
from pushd.fanout import Fanout
from pushd.groups import GROUP
from pushd.log import Stored
from pushd.presence import Presence
from pushd.sight import State


class Result(msgspec.Struct, omit_defaults=True, gc=False):
    """One result of a publish to many, as the wire has it; cheap, as there may be ten thousand."""

    channel: str
    epoch: str
    seq: int
    id: str
    at: int
    online: bool
    duplicate: bool = False
    state: State = "known"  # of online; then it is left out


class Audience:
    """Asks what is known in memory; a few look-ups for each channel.

    ``elsewhere``: the channels that sessions of other nodes follow.
    """

    __slots__ = ("_access", "_fanout", "_presence", "elsewhere")

    def __init__(self, presence: Presence, fanout: Fanout, access: Access) -> None:
        self._presence = presence
        self._fanout = fanout
        self._access = access
        self.elsewhere: Container[str] = ()

    @property
    def state(self) -> State:
        """Unknown: somebody may be there, or gone, of whom nobody knows at present."""
        return self._presence.state

    @property
    def known(self) -> bool:
        """``state``, for those who pass it on."""
        return self.state == "known"

    def online(self, channel: str) -> bool:
        """An inbox: its user is online. A session: it lives. ``all``: any user is online. A group:
        any member is. Anything else: somebody follows it, or a poll waits for it."""
        if channel.startswith("user:"):
            return self._presence.is_online(channel.split(":", 2)[1])
        kind = kind_of(channel)
        if kind is Kind.SESSION:
            return self._access.session_of(channel) is not None
        if kind is Kind.ALL:
            return bool(self._presence)
        if kind is Kind.GROUP:
            return self._presence.has_any(self._access.groups.members(channel[len(GROUP) :]))
        topic = self._fanout.topics.get(channel)
        if topic is not None and (topic.followers or topic.waiters):
            return True
        return channel in self.elsewhere

    def results(self, stored: list[Stored]) -> list[Result]:
        """Those of one publish, in the order of its channels."""
        online, state = self.online, self.state
        return [
            Result(channel, epoch, seq, id_, at, online(channel), duplicate, state)
            for channel, epoch, seq, id_, at, duplicate in stored
        ]

    def of(self, stored: Stored) -> tuple[bool, State]:
        """Whether somebody is there for it, and whether that is known."""
        return self.online(stored.channel), self.state
