"""Answers of the hot routes; their bodies are in ``front/bodies.py``."""

from __future__ import annotations

from typing import Any

import msgspec

from pushd.sight import State


class Stored(msgspec.Struct):
    """Where a message is, on disk. ``duplicate``: an earlier attempt stored it."""

    channel: str
    epoch: str
    seq: int
    id: str
    at: int
    duplicate: bool = False


class PublishResult(Stored, kw_only=True):
    """``online``: whether somebody is there for it now, such as a session of the user. ``state``
    unknown: sessions of other nodes are not known for a while."""

    online: bool
    state: State = "known"


class Published(msgspec.Struct):
    """``delivered``: only of one that waited: whether the user had it in time."""

    results: list[PublishResult]
    delivered: bool = False


class CallResult(msgspec.Struct):
    """``id``: of the call, if it had one."""

    id: str | None
    data: msgspec.Raw


class Pulled(msgspec.Struct):
    """A message as everybody gets it. ``sender`` is absent when a service published it."""

    seq: int
    id: str
    type: str
    at: int
    data: msgspec.Raw
    sender: str = ""


class Expiring(msgspec.Struct):
    """Of the messages that follow, so many are in the last part of the channel's window. ``in_ms``:
    the first does not go for its age before that; null: it goes when others come."""

    messages: int
    in_ms: int | None


class Pull(msgspec.Struct):
    """``next``: the cursor to use next. ``more``: the head is farther. ``expiring``: what comes
    after ``next`` is about to go."""

    channel: str
    epoch: str
    first: int
    head: int
    next: str
    more: bool
    messages: list[Pulled]
    expiring: Expiring | None = None


class Refused(msgspec.Struct):
    code: str
    status: int
    detail: str
    cure: str
    retry_after_ms: int = 0


class ResetTo(Refused, kw_only=True):
    """``resume``: the cursor to go on from. ``skipped``: how many are gone, if that is known."""

    epoch: str
    first: int
    head: int
    skipped: int | None
    resume: str


class Part(msgspec.Struct):
    """One channel: what a pull of it answers, or ``reset``, or ``error``."""

    channel: str = ""
    epoch: str = ""
    first: int = 0
    head: int = 0
    next: str = ""
    more: bool = False
    messages: list[Pulled] = []
    expiring: Expiring | None = None
    reset: ResetTo | None = None
    error: Refused | None = None


class Notice(msgspec.Struct):
    """What a session would be told: ``read``, or ``bye``."""

    type: str
    channel: str = ""
    cursor: str = ""
    code: int = 0
    reason: str = ""
    reconnect: bool = False
    retry_after_ms: int = 0


class MultiPull(msgspec.Struct):
    channels: dict[str, Part]
    notices: list[Notice]


class InboxItem(msgspec.Struct):
    """``delivered``: of the device that asks. ``read``: of the user. Both a cursor, or null."""

    channel: str
    epoch: str
    first: int
    head: int
    delivered: str | None
    read: str | None
    unread: int


class Inbox(msgspec.Struct):
    """``unread``: of all channels together, on the first page; null on the others."""

    items: list[InboxItem]
    next: str | None
    unread: int | None


class Follower(msgspec.Struct):
    """A user who follows the channel, and what the application says of the user to others."""

    user: str
    attributes: dict[str, Any]


class Followers(msgspec.Struct):
    """``cursor``: follow ``presence`` from there, and no join or leave is missed. Of several pages
    that of the first one. ``count``: of all. ``state``: as of a ``PublishResult``."""

    channel: str
    presence: str
    cursor: str
    count: int
    items: list[Follower]
    next: str | None
    state: State = "known"


class Health(msgspec.Struct):
    status: str
    node: str = ""
