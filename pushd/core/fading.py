"""Which messages are about to go: those in the last part of a channel's window.

By number that is arithmetic. For age and bytes the log keeps ladders in memory: a few seqs of the
window's old end, and what is known of the messages after each.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from pushd.core.namespaces import Retention

# (seq, key), both rising: every message after ``seq`` has at least that key. Ages: when it was
# stored, ms since 1970. Sizes: bytes of the channel since the start of the process, less those from
# the message to the end.
Ladder = tuple[tuple[int, int], ...]


class Ladders(NamedTuple):
    """Of one life of a channel."""

    ages: Ladder = ()
    sizes: Ladder = ()


NO_LADDERS: Final = Ladders()


class Window(Protocol):
    """What is known of a channel: see ``Head``."""

    @property
    def first(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def first_at(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def added(self) -> int: ...
    @property
    def ladders(self) -> Ladders: ...


class Fading(NamedTuple):
    """Said of a position: so many of the messages after it are in the last part of the window.

    ``in_ms``: the first of them does not go for its age before that; None: it is younger, and goes
    when others come.
    """

    messages: int
    in_ms: int | None

    def as_text(self) -> bytes:
        """As a member of an object, with the comma after it."""
        in_ms = b"null" if self.in_ms is None else b"%d" % self.in_ms
        return b'"expiring":{"messages":%d,"in_ms":%b},' % (self.messages, in_ms)


def fading(window: Window, keep: Retention, after: int, now_ms: int) -> Fading | None:
    """None: nothing after ``after`` is about to go. Rather too early than too late: a ladder tells
    age and size up to a step."""
    head = window.seq
    if after >= head or not keep.last:
        return None
    upto = 0
    in_ms = None
    unseen = max(after + 1, window.first)
    if keep.messages is not None:
        beyond = head - keep.messages
        upto = beyond + least_last(keep.messages, keep.last)
        if unseen <= beyond:
            in_ms = 0
    if keep.age_s is not None:
        ages, age_ms = window.ladders.ages, int(keep.age_s * 1000)
        old = _reached(window.first_at, ages, now_ms - int(age_ms * (1 - keep.last)), head)
        upto = max(upto, old)
        if in_ms is None and unseen <= old:
            in_ms = max(0, _least(window.first_at, ages, unseen) + age_ms - now_ms)
    if keep.bytes is not None and window.bytes > (limit := keep.bytes * (1 - keep.last)):
        least = window.added - window.bytes
        upto = max(upto, _reached(least, window.ladders.sizes, window.added - int(limit), head))
    if upto < unseen:
        return None
    return Fading(min(upto, head) + 1 - unseen, in_ms)


def least_last(messages: int, last: float) -> int:
    """How many messages the last part of a window of so many has: one at least."""
    return max(1, int(messages * last))


def _reached(least: int, ladder: Ladder, threshold: int, head: int) -> int:
    """The last seq that may lie below the threshold; 0: none does. ``least``: of all keys."""
    upto = 0
    for seq, key in ladder:
        if least >= threshold:
            return upto
        upto, least = seq, max(least, key)
    return head if least < threshold else upto


def _least(least: int, ladder: Ladder, seq: int) -> int:
    """The key that this message has at least."""
    for before, key in ladder:
        if before >= seq:
            break
        least = max(least, key)
    return least
