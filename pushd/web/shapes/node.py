"""About nodes, the one that answers and all of them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


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


class Checked(msgspec.Struct):
    """Sessions looked at, and those of them that were ended because they kept quiet."""

    checked: int
    reaped: int


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
