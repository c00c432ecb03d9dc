"""What nodes say to each other over HTTP: bodies of ``/v1/cluster/…``, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from pushd.core.messages import DEFAULT_TYPE
from pushd.log import Own

PATH = "/v1/cluster/"


class HeadState(msgspec.Struct, array_like=True, gc=False):
    """One life of a channel as the owner knows it; see ``log.Head``. ``at``, ``first_at``: ms.

    ``bytes`` may be of some time ago: that removed ones leave the disk is no change.
    """

    channel: str
    epoch: str
    first: int
    seq: int
    at: int
    first_at: int = 0
    redactions: int = 0
    bytes: int = 0
    added: int = 0


class Ended(msgspec.Struct, array_like=True, gc=False):
    """This life of a channel was deleted, and no other has begun yet."""

    channel: str
    epoch: str


class Members(msgspec.Struct, array_like=True):
    """What a group is now, as far as somebody has joined or left; or, in a snapshot, part of it.

    ``joined``: users that are members, each with the seq of life ``epoch`` where it joined, as in
    ``Groups``. ``left``: those that are not. State, not steps: take it as it is.
    """

    group: str
    epoch: str
    joined: dict[str, int]
    left: list[str] = []


class Revoked(msgspec.Struct, array_like=True):
    """What is revoked now. ``until`` 0: no longer. Unix seconds."""

    kind: str
    value: str
    at: float
    until: float


class ReadMark(msgspec.Struct, array_like=True):
    """A user's read mark has risen. ``device``, ``session``: those that know it already."""

    user: str
    channel: str
    cursor: str
    device: str | None = None
    session: str | None = None


class Bye(msgspec.Struct, array_like=True):
    """End one session (``session``), or all of a user (``user``), or of a group's members."""

    session: str
    user: str
    code: int
    reason: str
    reconnect: bool | None
    retry_after_ms: int = 0
    group: str = ""


class FeedAsk(msgspec.Struct):
    """``after`` None: the snapshot, from ``page`` on (None: its first)."""

    generation: str
    node: str
    after: int | None = None
    page: str | None = None


class Feed(msgspec.Struct, omit_defaults=True):
    """What has changed since ``after``, or a page of the snapshot.

    ``version``: to ask on from; of a snapshot, the one at its first page. All is told as it is when
    this is made, so it may be newer than ``version``, and comes again then. ``reset``: ``after`` is
    too old, or the page is of a snapshot that is over: read the snapshot, from its first page.
    ``page``: of a snapshot, the next one, None at its end: what no page had is gone at the owner.
    ``more``: of changes, there are others already.
    """

    generation: str
    version: int
    reset: bool = False
    more: bool = False
    page: str | None = None
    heads: list[HeadState] = []
    ended: list[Ended] = []
    members: list[Members] = []
    revoked: list[Revoked] = []
    reads: list[ReadMark] = []  # of changes only, as the byes
    byes: list[Bye] = []


class EntryBody(msgspec.Struct, omit_defaults=True):
    """One message for one channel, checked at the edge. ``lives``: it is of a session there.

    Without ``data`` it is the message of the entry before: one may go to ten thousand channels.
    """

    channel: str
    data: msgspec.Raw = msgspec.Raw(b"")
    type: str = DEFAULT_TYPE
    id: str | None = None
    sender: str | None = None
    lives: bool = False


class AppendBody(msgspec.Struct):
    """Entries that are stored all or none. ``own``: as ``log.Append`` has it."""

    publisher: str
    entries: list[EntryBody]
    own: Own | None = None


class AppendBatch(msgspec.Struct):
    """``batch``: made once by the edge; the same again is answered from memory, for a minute."""

    generation: str
    node: str
    batch: str
    appends: list[AppendBody]


class StoredBody(msgspec.Struct, array_like=True, gc=False):
    """As ``log.Stored``; ``online``: as ``Audience`` says."""

    channel: str
    epoch: str
    seq: int
    id: str
    at: int
    duplicate: bool
    online: bool


class Failure(msgspec.Struct):
    """A PushdError: raised again at the edge. ``retry_after``: seconds."""

    code: str
    status: int
    detail: str
    cure: str = ""
    retry_after: int | None = None
    extra: dict[str, Any] = {}


class AppendResult(msgspec.Struct, omit_defaults=True):
    """One of the two."""

    stored: list[StoredBody] = []
    error: Failure | None = None


class AppendResults(msgspec.Struct):
    """``known`` False: not all sessions of other nodes are known now, and ``online`` may be off."""

    generation: str
    results: list[AppendResult]
    known: bool = True


class MarksBody(msgspec.Struct):
    """``delivered``: user, device, channel, cursor."""

    generation: str
    node: str
    delivered: list[tuple[str, str, str, str]] = []
    read: list[ReadMark] = []
    seen: list[str] = []


class LoadBody(msgspec.Struct):
    """``asked``: user, device, channels."""

    generation: str
    node: str
    asked: list[tuple[str, str | None, list[str]]]


class MarksFound(msgspec.Struct, array_like=True):
    """As ``log.Marks``, in cursors' wire form."""

    channel: str
    delivered: str | None
    read: str | None
    since: str | None


class LoadResults(msgspec.Struct):
    """In the order of what was asked."""

    generation: str
    found: list[list[MarksFound]]


class AwaitBody(msgspec.Struct):
    """Until a device of ``user`` has one of these (cursors in wire form)."""

    generation: str
    node: str
    user: str
    wanted: dict[str, str]
    ms: int


class AwaitResult(msgspec.Struct):
    generation: str
    delivered: bool
