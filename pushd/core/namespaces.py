"""What the settings say of whole namespaces: who may read and publish, what is kept how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from pushd.core.names import PRESENCE_PREFIX, SESSION_PREFIX

PublishRule = Literal["granted", "users", "services"]
PUBLISH_RULES: Final[tuple[PublishRule, ...]] = ("granted", "users", "services")

DAY: Final = 86_400.0
# Long enough for a client that changes networks, short enough to be no history.
EPHEMERAL_AGE_S: Final = 60.0
# What waits for one user waits longer than what everybody had a chance to see.
INBOX_AGE_S: Final = 90 * DAY


class Hold(NamedTuple):
    """How much is kept at most for active devices that have not got it; None: no bound."""

    age_s: float
    messages: int | None
    bytes: int | None


class Retention(NamedTuple):
    """How much of a channel is kept; None: no bound. Seconds, messages, bytes of the messages.

    ``hold``: what is beyond these bounds may stay for slow devices, within other bounds. ``last``:
    the part of the window in which clients are told that messages are about to go; 0: never.
    """

    age_s: float | None = 7 * DAY
    messages: int | None = 100_000
    bytes: int | None = None
    hold: Hold | None = None
    last: float = 0.1


# A session that lives pulls within half a minute; what it has had is of no use to others.
SESSION_RETENTION: Final = Retention(age_s=600.0, messages=1_000)
# Whoever has missed more of who came and went asks who is there.
PRESENCE_RETENTION: Final = Retention(age_s=EPHEMERAL_AGE_S)


class Rules(NamedTuple):
    """One namespace. ``pulls_per_second``: what spreading a hint aims at; None: the node's.

    ``publish`` is about users: as their tokens grant, each of them, or none (services only).
    ``presence``: who follows a channel is told in one of its own.
    ``webhook``: the application is told of its messages.
    """

    public: bool = False
    ephemeral: bool = False
    publish: PublishRule = "granted"
    retention: Retention = Retention()
    pulls_per_second: int | None = None
    presence: bool = False
    webhook: bool = False


class Namespaces:
    """The rules by channel. Cheap enough to ask for every request; bounded by the settings."""

    __slots__ = ("_default", "_rules")

    def __init__(self, default: Rules, rules: Mapping[str, Rules]) -> None:
        self._default = default
        self._rules = dict(rules)

    def of(self, channel: str) -> Rules:
        """``channel``: a checked name. Its namespace is what stands before the first ``:``."""
        return self._rules.get(channel.partition(":")[0], self._default)

    def name_of(self, channel: str) -> str:
        """The namespace whose rules are the channel's; empty: those that hold for the rest."""
        name = channel.partition(":")[0]
        return name if name in self._rules else ""

    def retention(self, channel: str) -> Retention:
        """How much of the channel is kept."""
        if channel.startswith(SESSION_PREFIX):
            return SESSION_RETENTION
        if channel.startswith(PRESENCE_PREFIX):
            return PRESENCE_RETENTION
        return self.of(channel).retention

    @property
    def public(self) -> frozenset[str]:
        """The names of those that every user may read."""
        return frozenset(name for name, rules in self._rules.items() if rules.public)

    @property
    def presence(self) -> frozenset[str]:
        """The names of those whose channels tell who follows them."""
        return frozenset(name for name, rules in self._rules.items() if rules.presence)

    @property
    def with_webhook(self) -> frozenset[str]:
        """The names of those whose messages the application is told of."""
        return frozenset(name for name, rules in self._rules.items() if rules.webhook)


NO_RULES: Final = Namespaces(Rules(), {})
