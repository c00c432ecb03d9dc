"""The newest messages of busy channels, encoded, and finished answers over them.

After a hint everybody asks for the same increment: it is joined once and the same bytes go to
all. What differs per user is never in here. Bounded in all; the least recently used goes first.
"""

from __future__ import annotations

from collections import OrderedDict

from pushd.core.pulling import cut
from pushd.log import Advance, Head

MAX_ANSWERS = 256  # finished answers per channel: (after, limit) pairs between two publishes
MAX_ANSWER_BYTES = 8 * 1024 * 1024  # of them together
# Bytes that each costs beside its own: object headers, slots of lists and tables. Measured.
OVERHEAD = 120  # a message
TAIL_OVERHEAD = 600  # a channel
ANSWER_OVERHEAD = 350  # an answer


class Tail:
    """Messages ``start … start+len-1`` of one life of a channel, contiguous up to its head."""

    __slots__ = ("answer_bytes", "answers", "epoch", "messages", "redactions", "size", "start")

    def __init__(self, head: Head, start: int) -> None:
        self.epoch = head.epoch
        self.redactions = head.redactions
        self.start = start
        self.messages: list[bytes] = []
        self.answers: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # with their dates
        self.answer_bytes = 0
        self.size = TAIL_OVERHEAD  # of all that is in it


class Tails:
    """All tails of this node. ``max_bytes`` for all together, ``max_messages`` per channel.

    Used means written to, or that an answer had to be made: finished ones are given out without
    a note of it, which would cost more than it brings.
    """

    def __init__(self, max_bytes: int, max_messages: int) -> None:
        self.size = 0
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._tails: OrderedDict[str, Tail] = OrderedDict()

    def advance(self, advance: Advance) -> None:
        """Newly committed messages. Every finished answer of the channel is stale now."""
        head = advance.head
        tail = self._tails.get(head.channel)
        if (
            tail is None
            or tail.epoch != head.epoch
            or (tail.start + len(tail.messages) != advance.start)
        ):
            tail = self._begin(head, advance.start)
        else:
            self._drop_answers(tail)
            self._tails.move_to_end(head.channel)
        tail.messages.extend(advance.messages)
        self._grow(tail, sum(map(len, advance.messages)) + OVERHEAD * len(advance.messages))
        if len(tail.messages) > self._max_messages * 5 // 4:
            self._shorten(tail, len(tail.messages) - self._max_messages)
        self._evict()

    def answer(self, head: Head, after: int, limit: int, date: bytes) -> bytes | None:
        """A finished answer, if it was made under the same ``date`` (its header says when)."""
        tail = self._tails.get(head.channel)
        if tail is None or tail.epoch != head.epoch:
            return None
        kept = tail.answers.get((after, limit))
        return kept[1] if kept is not None and kept[0] == date else None

    def keep_answer(self, head: Head, after: int, limit: int, answer: bytes, date: bytes) -> None:
        """Call only with an answer that was made for this very head."""
        tail = self._tails.get(head.channel)
        if tail is None or tail.epoch != head.epoch:
            tail = self._begin(head, head.seq + 1)
        else:
            self._tails.move_to_end(head.channel)
        old = tail.answers.pop((after, limit), None)
        if old is not None:
            self._grow_answers(tail, -len(old[1]) - ANSWER_OVERHEAD)
        size = len(answer) + ANSWER_OVERHEAD
        if len(tail.answers) >= MAX_ANSWERS or tail.answer_bytes + size > MAX_ANSWER_BYTES:
            self._drop_answers(tail)
        tail.answers[after, limit] = (date, answer)
        self._grow_answers(tail, size)
        self._evict()

    def messages(self, head: Head, after: int, limit: int, max_bytes: int) -> list[bytes] | None:
        """The messages after ``after``, at least one; None when the tail does not reach back."""
        tail = self._tails.get(head.channel)
        if tail is None or tail.epoch != head.epoch or after + 1 < tail.start:
            return None
        at = after + 1 - tail.start
        found = tail.messages[at : at + limit]
        if not found:
            return None
        if tail.size > max_bytes:
            return cut(found, max_bytes)
        return found

    def change(self, channel: str, head: Head | None) -> None:
        """Trimmed, redacted or deleted (``head`` None): forget what must not be given out."""
        tail = self._tails.get(channel)
        if tail is None:
            return
        if head is None or head.epoch != tail.epoch or head.redactions != tail.redactions:
            self.drop(channel)
            return
        self._drop_answers(tail)
        if tail.start < head.first:
            self._shorten(tail, min(head.first - tail.start, len(tail.messages)))

    def drop(self, channel: str) -> None:
        """Nothing kept of the channel may be answered."""
        tail = self._tails.pop(channel, None)
        if tail is not None:
            self.size -= tail.size

    def _grow(self, tail: Tail, size: int) -> None:
        tail.size += size
        self.size += size

    def _begin(self, head: Head, start: int) -> Tail:
        self.drop(head.channel)
        tail = self._tails[head.channel] = Tail(head, start)
        self.size += tail.size
        return tail

    def _grow_answers(self, tail: Tail, size: int) -> None:
        tail.answer_bytes += size
        self._grow(tail, size)

    def _drop_answers(self, tail: Tail) -> None:
        if tail.answers:
            self._grow(tail, -tail.answer_bytes)
            tail.answers = {}
            tail.answer_bytes = 0

    def _shorten(self, tail: Tail, count: int) -> None:
        gone = tail.messages[:count]
        del tail.messages[:count]
        tail.start += count
        self._grow(tail, -sum(map(len, gone)) - OVERHEAD * count)

    def _evict(self) -> None:
        while self.size > self._max_bytes and self._tails:
            _, tail = self._tails.popitem(last=False)
            self.size -= tail.size
