"""What nodes say to each other through Redis, as JSON: hints, and records of who is where."""

from __future__ import annotations

from typing import Final

import msgspec

# Where changes of sessions are said, and the beginning of the names of the hashes with all of them.
SESSIONS: Final = "sessions"
# The field of such a hash that says what it is complete up to; no session has this id.
SESSIONS_STATE: Final = "#"


class Hint(msgspec.Struct):
    """What the owner tells all edges through Redis: a claim, to be confirmed by asking.

    ``version``: of the journal. ``control``: something beside heads has changed, or more heads
    than are named: ask for the feed at once. ``heads``: channel, epoch, seq. ``nodes``: those with
    sessions that are to be told something: these ask at once.
    """

    generation: str
    version: int
    control: bool = False
    heads: list[tuple[str, str, int]] = []
    nodes: list[str] = []


class OwnerRecord(msgspec.Struct):
    """Where the owner is. In Redis with a signature of the cluster's key."""

    node: str
    url: str
    generation: str
    at: float  # Unix seconds


class SessionRecord(msgspec.Struct):
    """A live session of a node, as the cluster knows it. ``since``, ``last_seen``: Unix seconds."""

    session: str
    node: str
    user: str | None
    device: str | None
    transport: str
    address: str
    since: float
    last_seen: float
    channels: list[str] = []
    attributes: msgspec.Raw = msgspec.Raw(b"null")


class SessionEnd(msgspec.Struct, array_like=True):
    """Why a session ended, as a close code and in words."""

    session: str
    code: int
    reason: str


class SessionsState(msgspec.Struct):
    """Of a node's sessions in Redis: what they are complete up to.

    ``life``: of the node's process; ``base``: how often it has written all of them; ``number``: of
    the last change since; ``count``: of sessions.
    """

    life: str
    base: int
    number: int
    count: int


class SessionsSaid(msgspec.Struct):
    """A change of a node's sessions, numbered without a gap; or nothing but its last number.
    ``live``: new ones, and such that are different now. ``gone``: the node has ended."""

    node: str
    life: str
    base: int
    number: int
    live: list[SessionRecord] = []
    closed: list[SessionEnd] = []
    gone: bool = False
