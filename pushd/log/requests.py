"""What goes into the log and what comes out of it: plain records that cross the threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from pushd.core.fading import NO_LADDERS
from pushd.core.messages import Draft
from pushd.core.positions import Cursor
from pushd.errors import PushdError

MIB: Final = 1024 * 1024
# What a queued entry costs beside its texts: objects, tuples, the row to be written.
_ENTRY_OVERHEAD: Final = 64
# What a stored message counts beside its data, wherever bytes of a channel are counted.
MESSAGE_OVERHEAD: Final = 64


class Entry(NamedTuple):
    """One message for one channel."""

    channel: str
    draft: Draft


class Stored(NamedTuple):
    """A message that is on disk. ``at``: ms since 1970. ``duplicate``: stored by an earlier try."""

    channel: str
    epoch: str
    seq: int
    id: str
    at: int
    duplicate: bool


class Own(NamedTuple):
    """Whose own messages an append stores, and where that says that the user has read so far:
    in the ``entries`` with these numbers, from 0. ``device``, ``session``: who knows it."""

    user: str
    device: str | None
    session: str | None
    entries: tuple[int, ...]


class Append:
    """Entries that are stored all or not at all.

    ``publisher`` is the space in which ids count. ``done`` is called exactly once, on the loop,
    with one ``Stored`` per entry in the same order, or with the error. ``size`` is in bytes.
    ``own``: for a log that is another node's.
    """

    __slots__ = ("done", "entries", "own", "publisher", "size")

    def __init__(
        self,
        entries: list[Entry],
        publisher: str,
        done: Callable[[list[Stored] | PushdError], None],
        own: Own | None = None,
    ) -> None:
        self.own = own
        self.entries = entries
        self.publisher = publisher
        self.done = done
        size = 0
        for channel, draft in entries:
            size += len(draft.data) + len(channel) + _ENTRY_OVERHEAD
        self.size = size


class Watched(NamedTuple):
    """Of one channel: up to where the slowest has got it, when that was looked up (Trio's clock),
    and when it is compared again."""

    seq: int
    looked_at: float
    again_at: float


class Head:
    """The committed state of one life of a channel. Changed on the loop only; there is one each.

    ``at`` and ``first_at``: ms since 1970, of the newest and the oldest message (if there is one).
    ``bytes`` are on disk, those included that wait to be swept. ``redactions``: since the start.
    ``channel_id`` belongs to the name, ``log_id`` to this life. ``added``: bytes since the start;
    ``ladders``: what is known of the oldest messages, see core.fading. ``watched``: and of the
    slowest device.
    """

    __slots__ = (
        "added",
        "at",
        "bytes",
        "channel",
        "channel_id",
        "epoch",
        "first",
        "first_at",
        "ladders",
        "log_id",
        "redactions",
        "seq",
        "watched",
    )

    def __init__(
        self,
        channel: str,
        channel_id: int,
        epoch: str,
        seq: int,
        first: int,
        at: int,
        log_id: int = 0,
        bytes_: int = 0,
        first_at: int = 0,
    ) -> None:
        self.channel = channel
        self.channel_id = channel_id
        self.epoch = epoch
        self.seq = seq
        self.first = first
        self.at = at
        self.log_id = log_id
        self.bytes = bytes_
        self.first_at = first_at
        self.redactions = 0
        self.added = 0
        self.ladders = NO_LADDERS
        self.watched: Watched | None = None

    def __repr__(self) -> str:
        return f"<Head {self.channel} {self.epoch}.{self.seq} first {self.first}>"


class Advance(NamedTuple):
    """A head has moved: ``messages`` (as pulled) have the seqs ``start``, ``start + 1``, …"""

    head: Head
    start: int
    messages: list[bytes]


class Change(NamedTuple):
    """``first`` has moved, contents were redacted, or the channel was deleted (``head`` None)."""

    channel: str
    head: Head | None


class Marks(NamedTuple):
    """How far a device has been given, and a user has read, a channel; None: never recorded.

    ``since``: of ``all``, where it was when the user was first seen; of a group, when the user has
    joined; None: not yet.
    """

    delivered: Cursor | None
    read: Cursor | None
    since: Cursor | None = None


class MissingMessages(PushdError):
    """Messages that should be on disk are not: trimmed just now, or lost. Never a silent hole.

    Ask for the head again and decide anew; when it still promises them, the log is damaged.
    """


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Bytes, messages, seconds. ``listen`` is only shown to a second process that is refused.

    ``active_s``: a device that was heard of since then is one that comes back.
    """

    min_free_bytes: int = 256 * MIB
    backlog_bytes: int = 16 * MIB
    batch_messages: int = 512
    batch_bytes: int = MIB
    write_behind_s: float = 1.0
    idempotency_s: float = 86_400.0
    waiting_reads: int = 10_000
    waiting_changes: int = 1_000
    retention_interval_s: float = 60.0
    devices_per_user: int = 20
    device_idle_s: float = 30 * 86_400.0
    active_s: float = 86_400.0
    listen: str = ""
