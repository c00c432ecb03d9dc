"""About sessions and users."""

from __future__ import annotations

import msgspec

from pushd.sight import State


class SessionItem(msgspec.Struct):
    """A live connection, or a device that polls. ``user`` null: a service.

    ``channels``: the first of those that it follows; ``following``: how many. ``address`` null:
    the key lacks scope admin. ``lag``: how many messages of those channels the device lacks;
    null without a device.
    """

    session: str
    user: str | None
    device: str | None
    transport: str
    node: str
    address: str | None
    since: int
    last_seen: int
    following: int
    channels: list[str]
    lag: int | None


class SessionPage(msgspec.Struct):
    items: list[SessionItem]
    next: str | None


class UserItem(msgspec.Struct, omit_defaults=True):
    """``sessions``: how many; none, and online, is a reload. ``last_seen``: null when offline.

    ``state`` unknown: sessions of other nodes are not known for a while, and all this is as it was
    known last.
    """

    user: str
    online: bool
    sessions: int
    last_seen: int | None
    state: State = "known"


class UserPage(msgspec.Struct):
    items: list[UserItem]
    next: str | None


class DeviceState(msgspec.Struct):
    """How far a device has been given a channel; ``lag``: how many messages it still lacks."""

    device: str
    delivered: str
    lag: int


class UserChannel(msgspec.Struct):
    """``unread`` null: it is not the user's own, and nothing of it was ever marked as read."""

    channel: str
    epoch: str
    first: int
    head: int
    read: str | None
    unread: int | None
    devices: list[DeviceState]


class User(msgspec.Struct, omit_defaults=True):
    """One user: live sessions, and how far each device is in each channel. ``state``: as in
    ``UserItem``."""

    user: str
    online: bool
    last_seen: int | None
    sessions: list[SessionItem]
    channels: list[UserChannel]
    state: State = "known"


class Erased(msgspec.Struct):
    """The inboxes that were deleted, the groups that were left, how many sessions were ended."""

    inboxes: list[str]
    groups: list[str]
    kicked: int


class Kicked(msgspec.Struct):
    kicked: int
