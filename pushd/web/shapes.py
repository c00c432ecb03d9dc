"""Bodies and answers of the operations that are not hot. All times are ms since 1970."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pushd.core.positions import MAX_SEQ
from pushd.sight import State

Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]


class Cluster(msgspec.Struct):
    """All nodes together."""

    nodes: int
    sessions: int
    users: int


class EndpointState(msgspec.Struct):
    """An address of the application. ``circuit`` open: it did not answer, so it is not asked for
    a while; half_open: one request at a time tries. ``reason``: of the last failure."""

    host: str
    circuit: Literal["closed", "open", "half_open"]
    reason: str | None


class Told(msgspec.Struct):
    """What the application was not told yet: channels that are farther than it knows, events that
    wait; and how many events it never will be. Zero where it wants to hear nothing."""

    channels_behind: int
    events_waiting: int
    events_lost: int


class Stats(msgspec.Struct):
    """This node in numbers. ``users``: those online, on all nodes that it knows of.
    ``transports``: its sessions of each."""

    node: str
    version: str
    uptime_s: int
    ready: bool
    sessions: int
    users: int
    transports: dict[str, int]
    held_polls: int
    connections: int
    followed: int
    groups: int
    memberships: int
    channels: int
    messages: int
    backlog_bytes: int
    wal_bytes: int
    garbage: int
    cut_messages: int
    deleted_channels: int
    age_retention: Literal["on", "paused"]
    tail_bytes: int
    loop_lag_ms: float
    calls: int
    application: dict[str, EndpointState]
    telling: Told
    cluster: Cluster


class NodeItem(msgspec.Struct):
    """A node. ``role``: the ``owner`` writes the log, an ``edge`` follows it. ``url``: where other
    nodes reach it; empty for one that is alone. ``lag_ms``: how late its loop is. ``stale_ms``: of
    an edge, since the owner last confirmed it. ``redis``: ``connected``, or not."""

    node: str
    role: str
    url: str
    version: str
    since: int
    sessions: int
    connections: int
    held_polls: int
    lag_ms: float
    stale_ms: int | None
    redis: str


class Nodes(msgspec.Struct):
    """``redis``: how the node that answers sees it; null without."""

    items: list[NodeItem]
    next: str | None
    redis: dict[str, Any] | None


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


class Checked(msgspec.Struct):
    """Sessions looked at, and those of them that were ended because they kept quiet."""

    checked: int
    reaped: int


class ChannelItem(msgspec.Struct):
    channel: str
    epoch: str
    first: int
    head: int


class ChannelPage(msgspec.Struct):
    items: list[ChannelItem]
    next: str | None


class Rules(msgspec.Struct):
    """What the settings say of the channel's namespace; null: no bound.

    ``hold_…``: how much is kept at most for active devices that have not got it; ``hold_age_s``
    null: nothing is.
    """

    public: bool
    ephemeral: bool
    publish: str
    retention_age_s: float | None
    retention_messages: int | None
    retention_bytes: int | None
    hold_age_s: float | None
    hold_messages: int | None
    hold_bytes: int | None


class SlowDevice(msgspec.Struct):
    """The active device that lacks most of a channel. ``behind``: so many messages; ``gone`` of
    them are no longer kept. ``last_seen``: when it pulled or acked last, to the 24th part of
    ``cursor_active``."""

    user: str
    device: str
    cursor: str
    behind: int
    gone: int
    last_seen: int


class Channel(msgspec.Struct):
    """``at``: of the newest message. ``followers``: sessions of this node that get its hints.

    ``slowest`` null: no device that was heard of within ``cursor_active`` has pulled it. ``held``:
    so many messages are beyond the usual bounds, and there for slow devices only.
    """

    channel: str
    epoch: str
    first: int
    head: int
    messages: int
    bytes: int
    at: int
    followers: int
    slowest: SlowDevice | None
    held: int
    rules: Rules


class TrimBody(msgspec.Struct, forbid_unknown_fields=True):
    """Messages before this seq go; head + 1 takes all there are."""

    before: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]


class Receipt(msgspec.Struct):
    """One user: the devices that have it with their cursors, and the read mark if it is read."""

    user: str
    delivered: dict[str, str]
    read: str | None


class ReceiptPage(msgspec.Struct):
    channel: str
    epoch: str
    seq: int
    items: list[Receipt]
    next: str | None


class RevocationBody(msgspec.Struct, forbid_unknown_fields=True):
    """``user`` or ``jti``. ``until``: when no such token is valid any more; left out: 30 days."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    until: Time | None = None


class RevocationItem(msgspec.Struct, omit_defaults=True):
    """``at``: when it was revoked."""

    at: int
    until: int
    user: str | None = None
    jti: str | None = None


class RevocationPage(msgspec.Struct):
    items: list[RevocationItem]
    next: str | None


class Problem(msgspec.Struct):
    """A refusal (RFC 9457). ``code`` is stable; ``cure`` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    cure: str
    retry_after_ms: int | None = None
