"""What the server says, as typed structs. Unknown members are ignored (docs/protocol.md).

Everything is checked while it is decoded: an answer of another form raises BadAnswer.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from pushd.client.problems import BadAnswer

T = TypeVar("T")


class Published(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message is on disk. ``at``: ms since 1970. ``duplicate``: this id was there before.

    ``online`` (results of ``publish_to``): whether somebody was there for it; ``state`` "unknown":
    as far as is known, while sessions of other nodes are not.
    """

    channel: str
    epoch: str
    seq: int
    id: str
    at: int
    duplicate: bool = False
    online: bool | None = None
    state: str = "known"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message as pulled; ``sender`` is None when a service published it."""

    seq: int
    id: str
    type: str
    at: int
    data: Any
    sender: str | None = None


class Fading(msgspec.Struct, frozen=True):
    """So many messages after a page are about to be removed. ``in_ms``: not before that; None: when
    others come."""

    messages: int
    in_ms: int | None = None


class Pulled(msgspec.Struct, frozen=True):
    """A page of messages, oldest first. ``next``: the cursor after it; ``more``: there are more.

    ``first`` and ``head``: the seqs of the oldest and the newest message that the channel retains.
    ``expiring``: of what comes after it, some is about to be removed.
    """

    epoch: str
    first: int
    head: int
    next: str
    more: bool
    messages: list[Message]
    channel: str = ""
    expiring: Fading | None = None

    @property
    def oldest(self) -> int:
        """Seq of the oldest message here: what is older is before it."""
        return self.messages[0].seq if self.messages else self.first


class ResetAnswer(msgspec.Struct, frozen=True):
    """No complete answer is possible; ``resume`` is where to go on. ``skipped``: if known."""

    code: str
    resume: str
    epoch: str = ""
    first: int = 1
    head: int = 0
    skipped: int | None = None
    detail: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """An error that concerns one channel or one line."""

    code: str
    detail: str = ""
    retry_after_ms: int | None = None


class ChannelAnswer(msgspec.Struct, frozen=True):
    """One channel of a multi-pull: messages, or ``reset``, or ``error``."""

    epoch: str = ""
    first: int = 1
    head: int = 0
    next: str = ""
    more: bool = False
    messages: list[Message] = []
    reset: ResetAnswer | None = None
    error: Refusal | None = None
    expiring: Fading | None = None


class Head(msgspec.Struct, frozen=True):
    """A channel's newest position, in hello and subscribed frames."""

    epoch: str
    head: int
    first: int = 1
    delivered: str | None = None
    read: str | None = None


class PullAdvice(msgspec.Struct, frozen=True):
    """How often to pull in any case, and how far to spread the pulls after a hello."""

    interval_s: float = 20.0
    jitter_ms: int = 0


class Frame(msgspec.Struct, frozen=True):
    """Any server frame; which members count depends on ``type``. Also a multi-pull's notice."""

    type: str
    channel: str = ""
    channels: list[str] = []
    epoch: str = ""
    seq: int = 0
    heads: dict[str, Head] = {}
    denied: list[Any] = []
    more: bool = False
    session: str | None = None
    device: str | None = None
    heartbeat_s: float = 25.0
    pull: PullAdvice = PullAdvice()
    jitter_ms: int = 0
    code: int | str | None = None
    detail: str | None = None
    reason: str | None = None
    reconnect: bool | None = None
    cursor: str = ""
    retry_after_ms: float | None = None


class ManyPublished(msgspec.Struct, frozen=True):
    """The answer of ``POST /v1/publish``."""

    results: list[Published]
    delivered: bool | None = None


class CallAnswer(msgspec.Struct, frozen=True):
    """The answer of ``POST /v1/call``."""

    data: Any


class MultiPulled(msgspec.Struct, frozen=True):
    """The answer of ``POST /v1/pull``."""

    channels: dict[str, ChannelAnswer]
    notices: list[Frame] = []


class ChannelItem(msgspec.Struct, frozen=True):
    """One line of ``GET /v1/channels``."""

    channel: str
    epoch: str
    first: int
    head: int


class SlowDevice(msgspec.Struct, frozen=True):
    """The active device that lacks most of a channel: ``behind`` messages, of which ``gone`` are
    no longer kept. ``last_seen``: ms since 1970."""

    user: str
    device: str
    cursor: str
    behind: int
    gone: int
    last_seen: int


class ChannelInfo(msgspec.Struct, frozen=True):
    """``GET /v1/channels/{channel}``. ``at``: of the newest message, ms since 1970. ``held``: so
    many messages are there for slow devices only."""

    channel: str
    epoch: str
    first: int
    head: int
    messages: int
    bytes: int
    at: int
    followers: int
    rules: dict[str, Any]
    slowest: SlowDevice | None = None
    held: int = 0


def decode(raw: bytes | str, form: type[T]) -> T:
    """``raw`` as ``form``; BadAnswer names what does not fit."""
    try:
        return msgspec.json.decode(raw, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise BadAnswer(f"The server's answer is not what the protocol says: {cause}.") from None


def denied_names(denied: list[Any]) -> dict[str, Refusal]:
    """The refused channels of a hello: plain names, or objects with channel, code and detail."""
    refused: dict[str, Refusal] = {}
    for item in denied:
        if isinstance(item, str):
            refused[item] = Refusal("forbidden", "The token does not permit this channel.")
        elif isinstance(item, dict) and isinstance(item.get("channel"), str):
            refused[item["channel"]] = Refusal(
                str(item.get("code", "forbidden")), str(item.get("detail", ""))
            )
    return refused
