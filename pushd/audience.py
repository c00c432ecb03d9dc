"""Whether somebody is there for a message right now: what each result of a publish says."""

from __future__ import annotations

from typing import Any

from pushd.access import Access
from pushd.core.names import Kind, inbox_owner, kind_of
from pushd.fanout import Fanout
from pushd.groups import GROUP
from pushd.log import Stored
from pushd.presence import Presence
from pushd.publish import stored_json


class Audience:
    """Asks what is known in memory; a few look-ups for each channel."""

    __slots__ = ("_access", "_fanout", "_presence")

    def __init__(self, presence: Presence, fanout: Fanout, access: Access) -> None:
        self._presence = presence
        self._fanout = fanout
        self._access = access

    def online(self, channel: str) -> bool:
        """An inbox: its user is online. A session: it lives. ``all``: any user is online. A group:
        any member is. Anything else: somebody follows it, or a poll waits for it."""
        kind = kind_of(channel)
        if kind is Kind.USER:
            return self._presence.is_online(inbox_owner(channel) or "")
        if kind is Kind.SESSION:
            return self._access.session_of(channel) is not None
        if kind is Kind.ALL:
            return bool(self._presence)
        if kind is Kind.GROUP:
            return self._presence.has_any(self._access.groups.members(channel[len(GROUP) :]))
        topic = self._fanout.topics.get(channel)
        return topic is not None and bool(topic.followers or topic.waiters)

    def result(self, stored: Stored) -> dict[str, Any]:
        """One result of a publish to many, as the wire has it."""
        return {**stored_json(stored), "online": self.online(stored.channel)}

    def results(self, stored: list[Stored]) -> list[dict[str, Any]]:
        """Those of one publish, in the order of its channels."""
        return [self.result(each) for each in stored]
