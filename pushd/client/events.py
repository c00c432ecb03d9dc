"""What a follower is told, one after another."""

from __future__ import annotations

from typing import NamedTuple

from pushd.client.answers import Message


class Received(NamedTuple):
    """A message. ``cursor`` is the position after it: save it once the message is processed."""

    channel: str
    cursor: str
    message: Message


class Reset(NamedTuple):
    """Messages are missing for good: load a snapshot. Following goes on from ``cursor``."""

    channel: str
    cursor: str
    code: str
    skipped: int | None
    detail: str

    @property
    def resume(self) -> str:
        """The protocol's word for ``cursor``."""
        return self.cursor


class Placed(NamedTuple):
    """``head`` became a position: what is published from here on will be received."""

    channel: str
    cursor: str


class Dropped(NamedTuple):
    """The server refuses this channel; it is followed no more."""

    channel: str
    code: str
    detail: str


class Status(NamedTuple):
    """The connection: ``live`` (hints arrive), ``lost``, or ``polling`` (no WebSocket)."""

    kind: str
    detail: str


Event = Received | Reset | Placed | Dropped | Status
