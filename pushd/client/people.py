"""What the server says of users, sessions, groups and inboxes. Times are ms since 1970."""

from __future__ import annotations

from typing import Any

import msgspec


class SessionItem(msgspec.Struct, frozen=True):
    """A live connection, or a device that polls. ``user`` None: a service.

    ``channels``: the first of those that it follows; ``following``: how many. ``address`` None:
    the key lacks scope admin.
    """

    session: str
    transport: str
    node: str
    since: int
    last_seen: int
    user: str | None = None
    device: str | None = None
    address: str | None = None
    following: int = 0
    channels: list[str] = []


class NodeItem(msgspec.Struct, frozen=True):
    """A node. ``role``: the ``owner`` writes the log, an ``edge`` follows it. ``lag_ms``: how late
    its loop is. ``stale_ms``: of an edge, since the owner last confirmed it."""

    node: str
    role: str
    url: str
    version: str
    since: int
    sessions: int
    connections: int
    held_polls: int
    lag_ms: float
    stale_ms: int | None = None
    redis: str = ""


class UserItem(msgspec.Struct, frozen=True):
    """``sessions``: how many. ``last_seen``: None for who is not online.

    ``state`` "unknown": sessions of other nodes are not known for a while; all this is as it was
    known last.
    """

    user: str
    online: bool
    sessions: int
    last_seen: int | None = None
    state: str = "known"


class DeviceState(msgspec.Struct, frozen=True):
    """How far a device was given a channel; ``lag``: how many messages it lacks."""

    device: str
    delivered: str
    lag: int


class UserChannel(msgspec.Struct, frozen=True):
    """``unread`` None: it is not the user's own, and nothing of it was ever marked as read."""

    channel: str
    epoch: str
    first: int
    head: int
    read: str | None = None
    unread: int | None = None
    devices: list[DeviceState] = []


class UserInfo(msgspec.Struct, frozen=True):
    """One user: live sessions, and how far each device is in each channel."""

    user: str
    online: bool
    last_seen: int | None = None
    sessions: list[SessionItem] = []
    channels: list[UserChannel] = []
    state: str = "known"


class Erased(msgspec.Struct, frozen=True):
    """The inboxes that were deleted, the groups that were left, how many sessions were ended."""

    inboxes: list[str]
    kicked: int
    groups: list[str] = []


class Revoked(msgspec.Struct, frozen=True):
    """``at``: tokens issued until then are refused, until ``until``."""

    at: int
    until: int
    user: str | None = None
    jti: str | None = None


class GroupItem(msgspec.Struct, frozen=True):
    """``members``: how many."""

    group: str
    members: int


class GroupInfo(msgspec.Struct, frozen=True):
    """``members``: how many; ``online``: how many of them are."""

    group: str
    members: int
    online: int
    state: str = "known"


class Member(msgspec.Struct, frozen=True):
    """``joined``: when. ``cursor``: where the group's channel was then."""

    user: str
    online: bool
    joined: int
    cursor: str
    state: str = "known"


class GroupOfUser(msgspec.Struct, frozen=True):
    """As ``Member`` has it, and how many members the group has."""

    group: str
    members: int
    joined: int
    cursor: str


class MembersChanged(msgspec.Struct, frozen=True):
    """How many have in fact joined and left, and how many there are now."""

    group: str
    added: int
    removed: int
    members: int


class Present(msgspec.Struct, frozen=True):
    """Somebody who follows the channel, with what the application lets others know."""

    user: str
    attributes: dict[str, Any] = {}


class Presence(msgspec.Struct, frozen=True):
    """Who is there. ``presence``: the channel that tells of changes; follow it from ``cursor``.

    ``state`` "unknown": sessions of other nodes are not known for a while, so somebody may be
    gone, or be there as well.
    """

    channel: str
    presence: str
    cursor: str
    count: int
    items: list[Present]
    next: str | None = None
    state: str = "known"


class InboxItem(msgspec.Struct, frozen=True):
    """One of the user's own channels. ``delivered``: of the device that asks."""

    channel: str
    epoch: str
    first: int
    head: int
    unread: int
    delivered: str | None = None
    read: str | None = None


class Inbox(msgspec.Struct, frozen=True):
    """All channels that are the user's own; ``unread``: of all together."""

    items: list[InboxItem]
    unread: int | None = None
    next: str | None = None
