"""What happened in a cluster: what publishers were acked, clients answered, and nodes hinted.

A history is a list of these events in the order in which they were seen, by one process with one
clock. Whether it may be so says ``historycheck``.
"""

from __future__ import annotations

from dataclasses import dataclass

Number = tuple[str, int]  # (epoch, seq)
NONE = "none"


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt to publish; a retry has the same id."""

    channel: str
    id: str


@dataclass(frozen=True, slots=True)
class Acked:
    channel: str
    id: str
    number: Number
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Pulled:
    """A page. ``after``: what the client asked with, None for the start. ``atleast``: the seq of
    the hint that it asked for. ``stale``: it says that it may be old. ``asked``: when."""

    client: str
    node: str
    channel: str
    after: Number | None
    epoch: str
    head: int
    entries: tuple[tuple[int, str], ...]  # (seq, id)
    next: Number
    more: bool = False
    stale: bool = False
    atleast: int = 0
    asked: float = 0.0


@dataclass(frozen=True, slots=True)
class Reset:
    client: str
    node: str
    channel: str
    after: Number | None
    code: str
    epoch: str
    resume: Number


@dataclass(frozen=True, slots=True)
class Hinted:
    """``session``: one life of one connection."""

    session: str
    node: str
    channel: str
    number: Number


@dataclass(frozen=True, slots=True)
class Retained:
    """A channel read from its start at a node, while nobody publishes."""

    node: str
    channel: str
    epoch: str
    entries: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nobody publishes, all was given time to heal: these clients should have everything."""

    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """The log was replaced by a backup that began when the history had ``covers`` events."""

    covers: int


Event = Sent | Acked | Pulled | Reset | Hinted | Retained | Quiet | Restored


def rank(number: Number) -> Number:
    """No life at all comes before all lives."""
    return ("" if number[0] == NONE else number[0], number[1])
