"""The owner's heads as an edge knows them: what is newer wins, whatever comes when.

Two things tell of heads: the feed, in its order, and pulls, whose answers overtake it and are
overtaken. So a state counts only if it is newer than what is known: of a later life, or of the same
one and farther. No clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.pulled import Part
from pushd.cluster.wire import Ended, HeadState
from pushd.core.positions import NO_EPOCH, Cursor, parse_cursor
from pushd.core.topics import NOTHING, Mark
from pushd.log import Advance, Change, Head
from pushd.log.live import Live

log = structlog.get_logger("pushd.cluster")

# Which messages go for their age or size an edge does not know: of it, none ever does.
NEVER: Final = 1 << 62


class Mirror:
    """``followed`` says whether messages of a channel are wanted as soon as they are there."""

    def __init__(self, live: Live, followed: Callable[[str], bool] = lambda channel: False) -> None:
        self.followed = followed
        self.generation = ""
        self._live = live
        # Lives that have ended while an answer that knows of them may be under way.
        self._ended: dict[str, str] = {}
        # And channels whose messages it may show as they were before a redaction.
        self._redacted: set[str] = set()
        # What the snapshot under way has not shown yet; and whether it is of another generation:
        # then what it shows is true, whatever an earlier one has said.
        self._unconfirmed: dict[str, None] = {}
        self._anew = False

    def mark(self, channel: str) -> Mark:
        """Where the channel is, as far as is known."""
        head = self._live.heads.get(channel)
        return NOTHING if head is None else (head.epoch, head.seq)

    def cursor(self, channel: str) -> Cursor | None:
        """The same; None: there is none."""
        head = self._live.heads.get(channel)
        return None if head is None else Cursor(head.epoch, head.seq)

    def holds(self, head: Head) -> bool:
        """This life of the channel has not ended."""
        return self._live.heads.get(head.channel) is head

    # -- the feed

    def begin_snapshot(self, generation: str) -> None:
        """All heads follow. No answer to a pull from before is applied any more."""
        self._anew = generation != self.generation
        self.generation = generation
        self._unconfirmed = dict.fromkeys(self._live.heads)
        self._ended.clear()

    def end_snapshot(self, applied: Applied) -> None:
        """What it has not shown is gone."""
        for channel in self._unconfirmed:
            self._drop(channel, applied)
        self._unconfirmed = {}
        self._anew = False

    def head(self, state: HeadState, applied: Applied) -> None:
        """So the owner says; whether it is news is decided here."""
        channel, epoch = state.channel, state.epoch
        anew = self._anew and channel in self._unconfirmed
        self._unconfirmed.pop(channel, None)
        if epoch <= self._ended.get(channel, ""):
            return
        head = self._live.heads.get(channel)
        if head is not None and head.epoch == epoch and not (anew and state.seq < head.seq):
            self._moved(head, state, applied)
            return
        if head is not None:
            if epoch < head.epoch and not anew:
                return
            # In one step: nobody may find no life at all between the two.
            self._drop(channel, applied)
            self._begin(state, applied)
        elif self.followed(channel):
            applied.claims[channel] = (epoch, state.seq)
        else:
            self._begin(state, applied)

    def ended(self, ended: Ended, applied: Applied) -> None:
        """This life, and any before it, is over."""
        channel, epoch = ended.channel, ended.epoch
        self._over(channel, epoch)
        head = self._live.heads.get(channel)
        if head is not None and head.epoch <= epoch:
            self._drop(channel, applied)

    def _moved(self, head: Head, state: HeadState, applied: Applied) -> None:
        """In the life that is known. What is new comes with its messages where they are wanted;
        what is gone is gone at once."""
        rises = state.seq > head.seq
        if rises and self.followed(head.channel):
            applied.claims[head.channel] = (state.epoch, state.seq)
            rises = False
        seq = state.seq if rises else head.seq
        first = min(state.first, seq + 1)
        if first > head.first or state.redactions > head.redactions:
            if state.redactions > head.redactions:
                self._redacted.add(head.channel)
            head.first = max(first, head.first)
            head.redactions = max(state.redactions, head.redactions)
            applied.changes.append(Change(head.channel, head))
        if rises:
            head.seq, head.at = seq, state.at
            applied.advances.append(Advance(head, seq + 1, []))

    def _begin(self, state: HeadState, applied: Applied) -> Head:
        head = Head(state.channel, 0, state.epoch, state.seq, state.first, state.at, first_at=NEVER)
        head.redactions = state.redactions
        self._live.heads[state.channel] = head
        applied.advances.append(Advance(head, 1, []))  # that a life has begun
        return head

    def _drop(self, channel: str, applied: Applied) -> None:
        head = self._live.heads.pop(channel, None)
        if head is not None:
            applied.changes.append(Change(channel, None))
            if not self._anew:
                self._over(channel, head.epoch)

    def _over(self, channel: str, epoch: str) -> None:
        self._ended[channel] = max(epoch, self._ended.get(channel, ""))

    # -- pulls

    def begin_pull(self) -> None:
        """Its answer will know all that was applied before. There is one at a time."""
        self._ended.clear()
        self._redacted.clear()

    def pulled(self, channel: str, asked: Cursor | None, part: Part, applied: Applied) -> bool:
        """The answer to a pull after ``asked`` (None: nothing was known). Whether there is more."""
        if part.error is not None:
            log.error("the owner refused a pull", channel=channel, code=part.error.get("code"))
            return False
        if part.reset is not None:
            return asked is not None and self.was_reset(channel, asked, part.reset, applied)
        if channel in self._redacted:
            return True
        next_ = parse_cursor(part.next)
        if next_.epoch == NO_EPOCH or next_.epoch <= self._ended.get(channel, ""):
            return False
        head = self._live.heads.get(channel)
        if head is None or head.epoch < next_.epoch:
            if next_.seq == 0:
                return True  # there was no room for its messages
            self._drop(channel, applied)
            head = self._begin(HeadState(channel, next_.epoch, part.first, next_.seq, 0), applied)
            if part.messages:
                self._advance(head, next_.seq, part, len(part.messages), applied)
        elif head.epoch == next_.epoch:
            if part.first > head.first:
                head.first = min(part.first, max(head.seq, next_.seq) + 1)
                applied.changes.append(Change(channel, head))
            if next_.seq > head.seq:
                new = min(len(part.messages), next_.seq - head.seq)
                head.seq = next_.seq
                self._advance(head, next_.seq, part, new, applied)
        else:
            return False
        return part.head > head.seq

    def was_reset(
        self, channel: str, asked: Cursor, reset: dict[str, object], applied: Applied
    ) -> bool:
        """The owner's word about a position that was known here. Whether to ask on."""
        epoch, first, seq = str(reset["epoch"]), int(str(reset["first"])), int(str(reset["head"]))
        if reset.get("code") == "epoch_changed":
            self.ended(Ended(channel, asked.epoch), applied)
            ended = self._ended[channel]
            if channel not in self._live.heads and epoch != NO_EPOCH and epoch > ended:
                # In one step: nobody may find no life at all between the two.
                self._begin(HeadState(channel, epoch, first, seq, 0), applied)
                return False
            return epoch != NO_EPOCH
        if reset.get("code") == "expired":
            head = self._live.heads.get(channel)
            if head is not None and head.epoch == epoch and first > head.first:
                rises = seq > head.seq
                head.first, head.seq = min(first, max(seq, head.seq) + 1), max(seq, head.seq)
                applied.changes.append(Change(channel, head))
                if rises:
                    applied.advances.append(Advance(head, head.seq + 1, []))
        return False

    def _advance(self, head: Head, seq: int, part: Part, new: int, applied: Applied) -> None:
        messages = [bytes(each) for each in part.messages[len(part.messages) - new :]]
        applied.advances.append(Advance(head, seq - new + 1, messages))
