"""Who may read and publish what: identities and patterns (docs/protocol.md, "Who may do what").

Reading reserved channels follows identity and membership alone; patterns add topics. So a
careless ``*`` in a token opens no inbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from pushd.core.jsoncheck import MAX_DEPTH, check_json
from pushd.core.names import (
    MAX_CHANNEL_BYTES,
    Kind,
    check_channel,
    check_characters,
    inbox_owner,
    kind_of,
    namespace_of,
)
from pushd.core.namespaces import PublishRule
from pushd.errors import BadRequest

PUBLISH, READ, ADMIN = "publish", "read", "admin"
SCOPES = frozenset({PUBLISH, READ, ADMIN})
NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}
MAX_ATTRIBUTES_BYTES: Final = 1024


@dataclass(slots=True, frozen=True)
class Identity:
    """Who asks. Shared by all requests with the same token, therefore immutable.

    ``user`` None means a service (an API key): then ``scopes`` and ``patterns`` count (no
    patterns: every channel), else ``subscribe`` and ``publish``. ``expires``: Unix seconds, None
    for never. ``device``: pinned by the token. ``iat``: when the token was issued, Unix seconds.
    ``key``: fingerprint of what vouched for it. ``attributes``: what others may know of the user,
    as the application says. ``node``: another node of the cluster, which serves users itself.
    """

    user: str | None
    device: str | None = None
    expires: float | None = None
    subscribe: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    jti: str | None = None
    key_name: str | None = None
    iat: float | None = field(default=None, compare=False)
    attributes: Mapping[str, Any] = field(default_factory=lambda: NO_ATTRIBUTES, compare=False)
    key: str = field(default="", compare=False, repr=False)
    node: str | None = None

    @property
    def is_service(self) -> bool:
        """It came by an API key."""
        return self.user is None

    @property
    def publisher(self) -> str:
        """The scope of message ids: a user's own, or the one space of all services."""
        return "service" if self.user is None else f"user:{self.user}"


def no_member(_group: str, _user: str) -> bool:
    """Nobody is in any group."""
    return False


def may_read(
    identity: Identity,
    channel: str,
    public_namespaces: frozenset[str],
    is_member: Callable[[str, str], bool] = no_member,
) -> bool:
    """Whether ``identity`` may pull and subscribe to ``channel`` (a checked name).

    ``is_member``: whether a group, by its id, has a user.

    ``session:`` channels are for the user of the live session, whom ``Access`` knows.
    """
    kind = kind_of(channel)
    if kind is Kind.SESSION:
        return False
    if identity.user is None:
        scope = ADMIN if kind is Kind.INTERNAL else READ
        return scope in identity.scopes and _within_limit(identity, channel, kind)
    if kind is Kind.TOPIC:
        return namespace_of(channel) in public_namespaces or _cover(
            identity.subscribe, channel, kind
        )
    if kind is Kind.USER:
        return inbox_owner(channel) == identity.user
    if kind is Kind.GROUP:
        return is_member(channel[len("group:") :], identity.user)
    return kind is Kind.ALL


def may_publish(identity: Identity, channel: str, rule: PublishRule = "granted") -> bool:
    """Whether ``identity`` may publish to ``channel`` (a checked name).

    ``rule``: what the channel's namespace says of users; it opens or closes topics only.
    ``$…`` is written by the server alone, ``session:`` by services.
    """
    if identity.user is None and not identity.patterns:  # asked for ten thousand targets at once
        return PUBLISH in identity.scopes and channel[:1] != "$"
    kind = kind_of(channel)
    if kind is Kind.INTERNAL:
        return False
    if identity.user is None:
        return PUBLISH in identity.scopes and _within_limit(identity, channel, kind)
    if kind is Kind.TOPIC and rule != "granted":
        return rule == "users"
    return kind is not Kind.SESSION and _cover(identity.publish, channel, kind)


def matches(pattern: str, channel: str) -> bool:
    """Whether ``pattern`` (checked: a name, or a prefix that ends in ``*``) covers ``channel``.

    A reserved name is covered only if the pattern spells its prefix out, ``:`` included, or is
    exactly ``all``; internal names never are.
    """
    return _cover((pattern,), channel, kind_of(channel))


def check_pattern(pattern: str) -> str:
    """Return ``pattern`` if it is a channel name or a prefix ending in ``*``, else BadRequest."""
    if pattern.startswith("$"):
        raise BadRequest("A pattern cannot grant internal channels ('$…').")
    if not pattern.endswith("*"):
        return check_channel(pattern)
    if pattern != "*":
        check_characters(pattern[:-1], "pattern before its final '*'", MAX_CHANNEL_BYTES)
    return pattern


def check_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return them if they are small, and JSON that every client reads: presence repeats them to
    everybody. Raises BadRequest."""
    if attributes:
        told = msgspec.json.encode(attributes)
        if (size := len(told)) > MAX_ATTRIBUTES_BYTES:
            most = MAX_ATTRIBUTES_BYTES
            raise BadRequest(f"Attributes may have {most} bytes; these have {size}.")
        check_json(told, MAX_DEPTH - 1)
    return attributes


def _within_limit(identity: Identity, channel: str, kind: Kind) -> bool:
    return not identity.patterns or _cover(identity.patterns, channel, kind)


def _cover(patterns: Sequence[str], channel: str, kind: Kind) -> bool:
    if kind is Kind.INTERNAL:
        return False
    if channel in patterns:
        return True
    if kind is Kind.ALL:
        return False
    reserved = "" if kind is Kind.TOPIC else kind.value + ":"
    for pattern in patterns:  # a plain loop: this is asked for every pull
        if (
            pattern[-1:] == "*"
            and channel.startswith(pattern[:-1])
            and pattern.startswith(reserved)
        ):
            return True
    return False
