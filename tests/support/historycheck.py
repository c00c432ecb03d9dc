"""Whether a history may be: what contradicts the promises of docs/guarantee.md, on any node.

Pure, and ignorant of the server.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.histories import (
    NONE,
    Acked,
    Event,
    Hinted,
    Number,
    Pulled,
    Quiet,
    Reset,
    Restored,
    Retained,
    Sent,
    rank,
)

STALE_S = 10.0  # an answer that does not say that it may be old has everything acked before that


class Fault(NamedTuple):
    kind: str
    what: str


@dataclass(slots=True)
class _Channel:
    names: dict[Number, str] = field(default_factory=dict)
    seqs: dict[tuple[str, str], int] = field(default_factory=dict)  # (epoch, id) -> seq
    before: dict[str, Number] = field(default_factory=dict)  # id -> the top when first sent
    acked: dict[str, tuple[int, Number | None]] = field(default_factory=dict)  # at which event
    top: Number = ("", 0)  # of what was acked
    times: list[float] = field(default_factory=list)
    tops: list[Number] = field(default_factory=list)  # as of ``times``
    retained: Retained | None = None
    hints: dict[Number, Hinted] = field(default_factory=dict)


def check(history: Iterable[Event]) -> list[Fault]:
    """All faults, in the order in which they show."""
    checker = Checker()
    for event in history:
        checker.see(event)
    return checker.faults


class Checker:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._channels: dict[str, _Channel] = {}
        self._cursors: dict[tuple[str, str], Number] = {}  # by client and channel
        self._told: dict[tuple[str, str], Number] = {}  # by session and channel
        self._restores = 0
        self._count = 0

    def see(self, event: Event) -> None:
        if isinstance(event, Restored):
            self._restored(event)
        elif isinstance(event, Quiet):
            self._quiet(event)
        else:
            channel = self._channels.setdefault(event.channel, _Channel())
            match event:
                case Sent():
                    channel.before.setdefault(event.id, channel.top)
                    channel.retained = None
                case Acked():
                    self._acked(channel, event)
                case Pulled():
                    self._pulled(channel, event)
                case Reset():
                    self._reset(event)
                case Hinted():
                    self._hinted(channel, event)
                case Retained():
                    self._retained(channel, event)
        self._count += 1

    def _fault(self, kind: str, event: object, why: object) -> None:
        self.faults.append(Fault(kind, f"{why}: {str(event)[:600]}"))

    # -- what has a number -----------------------------------------------------------------------

    def _name(self, channel: _Channel, number: Number, id_: str, event: object) -> None:
        if (before := channel.names.setdefault(number, id_)) != id_:
            self._fault("two names", event, f"{number} was {before!r}, then {id_!r}")
        epoch, seq = number
        if (other := channel.seqs.setdefault((epoch, id_), seq)) != seq:
            self._fault("stored twice", event, f"{id_!r} at {other} and {seq}")

    def _acked(self, channel: _Channel, event: Acked) -> None:
        self._name(channel, event.number, event.id, event)
        before = channel.before.get(event.id, ("", 0))
        if rank(event.number) <= rank(before):
            self._fault("order", event, f"{before} was acked before it was sent")
        channel.acked[event.id] = (self._count, event.number)
        channel.top = max(channel.top, event.number, key=rank)
        channel.times.append(event.at)
        channel.tops.append(channel.top)

    def _restored(self, event: Restored) -> None:
        """What came after the backup may be gone, what is there has another epoch; and what was
        published without an id, whose id was its number, another id."""
        self._restores += 1
        for channel in self._channels.values():
            channel.acked = {
                id_: (at, None)
                for id_, (at, number) in channel.acked.items()
                if at < event.covers and not (number and id_ == f"{number[0]}.{number[1]}")
            }
            channel.times, channel.tops, channel.retained = [], [], None
            channel.hints.clear()

    # -- what clients are told -------------------------------------------------------------------

    def _pulled(self, channel: _Channel, event: Pulled) -> None:
        at = self._cursors.get((event.client, event.channel))
        self._cursors[event.client, event.channel] = event.next
        if at is not None and event.after != at:
            self._fault("hole", event, f"the client was at {at}")
        if event.after is not None and event.after[0] not in (event.epoch, NONE):
            self._fault("silent epoch", event, "a page of another life, without a reset")
        start = event.after[1] if event.after is not None else 0
        seqs = [seq for seq, _ in event.entries]
        last = start + len(seqs)
        if seqs != list(range(start + 1, last + 1)) or event.next != (event.epoch, last):
            self._fault("hole", event, "not what comes after the cursor")
        if last > event.head or event.more != (last < event.head):
            self._fault("hole", event, "its end, its head and 'more' do not fit")
        for seq, id_ in event.entries:
            self._name(channel, (event.epoch, seq), id_, event)
        if not event.stale:
            self._fresh(channel, event)

    def _fresh(self, channel: _Channel, event: Pulled) -> None:
        head = rank((event.epoch, event.head))
        place = bisect_right(channel.times, event.asked - STALE_S)
        if place and head < rank(channel.tops[place - 1]):
            self._fault("old", event, f"{channel.tops[place - 1]} was acked long before")
        if event.atleast and head < rank((event.epoch, event.atleast)):
            self._fault("old", event, "it does not have what the client was told of")

    def _reset(self, event: Reset) -> None:
        self._cursors[event.client, event.channel] = event.resume
        old = event.after[0] if event.after is not None else NONE
        if event.code != "epoch_changed" or not self._restores:
            self._fault("reset", event, "nothing has happened that would make one")
        elif rank((event.epoch, 0)) <= rank((old, 0)):
            self._fault("older epoch", event, f"the client was in {old}")

    def _hinted(self, channel: _Channel, event: Hinted) -> None:
        before = self._told.get((event.session, event.channel), (NONE, 0))
        self._told[event.session, event.channel] = event.number
        if rank(event.number) < rank(before):
            newer = event.number[0] == before[0]
            self._fault("hint fell" if newer else "older epoch", event, f"it was {before}")
        channel.hints.setdefault(event.number, event)

    # -- at the end of a round -------------------------------------------------------------------

    def _retained(self, channel: _Channel, event: Retained) -> None:
        if [seq for seq, _ in event.entries] != list(range(1, len(event.entries) + 1)):
            self._fault("hole", event, "what is kept has one")
        for seq, id_ in event.entries:
            self._name(channel, (event.epoch, seq), id_, event)
        self._nothing_lost(channel, event)
        for (epoch, seq), hint in channel.hints.items():
            if epoch == event.epoch and seq > len(event.entries):
                self._fault("hint ahead", hint, f"the head is {len(event.entries)}")
        channel.hints.clear()
        other = channel.retained
        if other is not None and (other.epoch, other.entries) != (event.epoch, event.entries):
            ends = f"{other.node}: {other.epoch}.{len(other.entries)}"
            self._fault("nodes differ", f"{event.node} {event.channel}", ends)
        channel.retained = event

    def _nothing_lost(self, channel: _Channel, event: Retained) -> None:
        ids = {id_ for _, id_ in event.entries}
        for id_, (_, number) in channel.acked.items():
            if id_ not in ids or (number is not None and number[0] != event.epoch):
                self._fault("lost", f"{event.node} {event.channel}", f"{id_!r}, acked as {number}")

    def _quiet(self, event: Quiet) -> None:
        for (client, name), cursor in self._cursors.items():
            kept = self._channels[name].retained
            if client in event.clients and kept is not None:
                head = (kept.epoch, len(kept.entries))
                if cursor != head:
                    self._fault("behind", f"{client} {name} at {cursor}", f"the head is {head}")
