"""About channels, and who has which message."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pushd.core.positions import MAX_SEQ


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
