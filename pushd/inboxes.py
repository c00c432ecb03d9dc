"""Which named inboxes (``user:ID:NAME``) a user has: an index over the channels, kept in memory."""

from __future__ import annotations

from collections.abc import Iterable

from pushd.core.names import inbox_owner


class Inboxes:
    """Every user has ``user:ID`` without being listed; named ones exist once written to."""

    def __init__(self) -> None:
        self._named: dict[str, dict[str, None]] = {}

    def learn_all(self, channels: Iterable[str]) -> None:
        """At the start: all channels that there are."""
        for channel in channels:
            self.learn(channel)

    def learn(self, channel: str) -> str | None:
        """The owner if this is a named inbox that was not known, else None."""
        if not channel.startswith("user:") or channel.count(":") != 2:
            return None
        owner = inbox_owner(channel)
        assert owner is not None
        named = self._named.setdefault(owner, {})
        if channel in named:
            return None
        named[channel] = None
        return owner

    def forget(self, channel: str) -> None:
        """It was deleted."""
        owner = inbox_owner(channel)
        named = None if owner is None else self._named.get(owner)
        if owner is None or named is None:
            return
        named.pop(channel, None)
        if not named:
            del self._named[owner]

    @staticmethod
    def news_of(user: str) -> str:
        """The topic that moves when a user gets a new inbox. No channel can have this name."""
        return f"user:{user}:*"

    def of(self, user: str) -> list[str]:
        """The plain inbox first, named ones in the order of their first message."""
        return [f"user:{user}", *self._named.get(user, ())]
