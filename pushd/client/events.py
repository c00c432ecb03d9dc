"""What a follower is told, one after another: tuples, so that ``match`` takes them apart."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pushd.client.answers import Message


class Received(NamedTuple):
    """A message. ``cursor`` is the position after it: the one to keep once it is processed."""

    channel: str
    cursor: str
    message: Message

    @property
    def data(self) -> Any:
        """What the publisher sent."""
        return self.message.data


class Reset(NamedTuple):
    """Messages are missing for good: load a snapshot. Following goes on from ``cursor``.

    ``code``: ``expired``, ``epoch_changed`` or ``cursor_ahead``; ``skipped``: how many, if known.
    """

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
    """Where following begins in this channel, when that was left to the server (or ``head``).

    What is published from here on will be received.
    """

    channel: str
    cursor: str


class ReadElsewhere(NamedTuple):
    """Another session of this user has moved the read mark; only the latest of a channel comes."""

    channel: str
    cursor: str


class Expiring(NamedTuple):
    """This consumer is slow: ``messages`` after those that follow here are about to be removed.

    ``in_ms``: not before that time; None: when others come. What is gone then, a Reset tells.
    """

    channel: str
    messages: int
    in_ms: int | None


class Dropped(NamedTuple):
    """The server refuses this channel; it is followed no more."""

    channel: str
    code: str
    detail: str


StatusKind = Literal["live", "lost", "polling", "retrying", "recovered"]


class Status(NamedTuple):
    """The connection, for logs and for a light on a page; following goes on in any case.

    ``live``: hints arrive. ``lost``: they did. ``polling``: nothing brings hints, held polls do it
    all. ``retrying``: pulls fail, too. ``recovered``: they work again.
    """

    kind: StatusKind
    detail: str


Event = Received | Reset | Placed | Expiring | ReadElsewhere | Dropped | Status
