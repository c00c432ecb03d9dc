"""What goes over the WebSocket from the server, as types: for the description and its test.

The frames themselves are made where they arise, as bytes; core/frames.py has the client's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pushd.web.shapes.hot import Expiring, PublishResult


class Head(msgspec.Struct):
    """Where a channel is. ``reset``: the cursor that was given cannot be gone on from.
    ``expiring``: what comes after it, or after ``delivered``, is about to go.

    ``unread`` null: nothing of it was ever marked as read, and it is not the user's own. Services
    have none.
    """

    epoch: str
    first: int
    head: int
    delivered: str | None
    read: str | None
    unread: int | None = None
    expiring: Expiring | None = None
    reset: dict[str, Any] = {}
    error: dict[str, Any] = {}


class Denied(msgspec.Struct):
    channel: str
    code: str


class PullAdvice(msgspec.Struct):
    interval_s: float
    jitter_ms: int


class Hello(msgspec.Struct, tag="hello"):
    """Comes before every hint."""

    session: str
    user: str | None
    device: str | None
    node: str
    heads: dict[str, Head]
    denied: list[Denied]
    more: bool
    heartbeat_s: float
    pull: PullAdvice


class Hint(msgspec.Struct, tag="hint"):
    """A channel is at this seq: pull."""

    channel: str
    epoch: str
    seq: int
    jitter_ms: int = 0


class Subscribed(msgspec.Struct, tag="subscribed"):
    """Answers subscribe; comes unasked when an inbox of the user begins, or a group was joined."""

    heads: dict[str, Head]
    denied: list[Denied]


class Unsubscribed(msgspec.Struct, tag="unsubscribed"):
    """Answers unsubscribe; comes unasked when a new token covers less, or a group was left."""

    channels: list[str]


class Pong(msgspec.Struct, tag="pong"):
    """Answers ping."""


class Refreshed(msgspec.Struct, tag="refreshed"):
    """The new token holds. ``expires``: Unix seconds."""

    expires: float | None


class Published(msgspec.Struct, tag="published"):
    """Answers publish: it is on disk. ``delivered``: only of one that waited."""

    results: list[PublishResult]
    id: str | None = None
    delivered: bool = False


class CallResult(msgspec.Struct, tag="result"):
    """Answers call: what the application says."""

    id: str
    data: msgspec.Raw


class ReadMark(msgspec.Struct, tag="read"):
    """Another device of the user has read so far."""

    channel: str
    cursor: str


class Error(msgspec.Struct, tag="error"):
    """What a frame of the client led to. Resets bring epoch, first, head, skipped, resume."""

    code: str
    detail: str
    id: str = ""
    channel: str = ""
    data: Any = None
    retry_after_ms: int = 0


class Bye(msgspec.Struct, tag="bye"):
    """Comes before every close that the server begins."""

    code: int
    reason: str
    reconnect: bool
    retry_after_ms: int


ServerFrame = (
    CallResult
    | Hello
    | Hint
    | Subscribed
    | Unsubscribed
    | Pong
    | Refreshed
    | Published
    | ReadMark
    | Error
    | Bye
)
