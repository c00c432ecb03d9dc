"""The decision of a pull: reply, wait, or reset. Never a silent hole."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from pushd.core.fading import Fading
from pushd.core.positions import HEAD, MAX_SEQ, NO_EPOCH, START, Cursor
from pushd.errors import BadRequest, CursorAhead, EpochChanged, Expired, Reset

_encode_string = msgspec.json.Encoder().encode


class Position(NamedTuple):
    """What a node knows of a channel. ``first = seq + 1`` when nothing is retained."""

    epoch: str
    first: int
    seq: int

    def as_dict(self) -> dict[str, str | int]:
        """As the wire has it."""
        return {"epoch": self.epoch, "first": self.first, "head": self.seq}


UNWRITTEN = Position(NO_EPOCH, 1, 0)


def resolve(cursor: Cursor, at: Position) -> int:
    """The seq after which to answer. Raises Reset when that answer could not be complete.

    ``resume`` is the start of what is retained, so that nothing that is still there is missed.
    """
    if cursor == START:
        return at.first - 1
    if cursor == HEAD:
        return at.seq
    if cursor.epoch != at.epoch:
        if cursor.epoch != NO_EPOCH:
            raise _reset(EpochChanged, cursor, at)
        # Given before the channel's first message: still complete if that one is retained.
    elif cursor.seq > at.seq:
        raise _reset(CursorAhead, cursor, at)
    if cursor.seq < at.first - 1:
        raise _reset(Expired, cursor, at)
    return cursor.seq


def is_within(cursor: Cursor, at: Position) -> bool:
    """A complete answer after it is possible."""
    return cursor.epoch == at.epoch and at.first - 1 <= cursor.seq <= at.seq


_WHY = {
    EpochChanged: "The channel began a new life (deleted and made again, or restored).",
    CursorAhead: "The cursor is ahead of the channel's head.",
    Expired: "Messages after the cursor are no longer retained.",
}


def _reset(kind: type[Reset], cursor: Cursor, at: Position) -> Reset:
    skipped = at.first - 1 - cursor.seq if kind is Expired else None
    extra = {
        **at.as_dict(),
        "skipped": skipped,
        "resume": str(Cursor(at.epoch, at.first - 1)),
    }
    return kind(_WHY[kind], extra=extra)


NO_MESSAGES = b'"messages":[]}'  # how the object ends that brings none


def answer_body(
    channel: str,
    at: Position,
    after: int,
    messages: list[bytes],
    more: bool | None = None,
    fading: Fading | None = None,
    stale: int | None = None,
) -> bytes:
    """The object that answers a pull: ``messages`` follow ``after`` without a hole.

    ``more``: whether there are others to ask for; None: whether the head is farther. ``fading``: of
    those that follow. ``stale``: milliseconds since this node knew how things are.
    """
    newest = after + len(messages)
    if more is None:
        more = newest < at.seq
    return (
        b'{"channel":%b,"epoch":"%b","first":%d,"head":%d,"next":"%b.%d","more":%b,%b%b"messages":[%b]}'
        % (
            _encode_string(channel),
            at.epoch.encode(),
            at.first,
            at.seq,
            at.epoch.encode(),
            newest,
            b"true" if more else b"false",
            b"" if fading is None else fading.as_text(),
            b"" if stale is None else b'"stale":%d,' % stale,
            b",".join(messages),
        )
    )


class _Answer(msgspec.Struct):
    channel: str
    epoch: str
    first: int
    head: int
    next: str
    messages: list[msgspec.Raw]
    stale: int | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def shorten(body: bytes, max_bytes: int, fading: Callable[[str, int], Fading | None]) -> bytes:
    """The same answer with as many of its messages as fit, always one.

    ``fading``: tells it of a channel and a position.
    """
    answer = _decode_answer(body)
    after = int(answer.next.rpartition(".")[2]) - len(answer.messages)
    at = Position(answer.epoch, answer.first, answer.head)
    messages = cut(list(map(bytes, answer.messages)), max_bytes)
    faded = fading(answer.channel, after + len(messages))
    return answer_body(answer.channel, at, after, messages, fading=faded, stale=answer.stale)


def cut(messages: list[bytes], max_bytes: int) -> list[bytes]:
    """As many from the start as fit, always one."""
    total = 0
    for count, message in enumerate(messages):
        total += len(message) + 1
        if total > max_bytes and count:
            return messages[:count]
    return messages


def parse_count(name: str, text: str, most: int) -> int:
    """A whole number 1…most in plain ASCII digits; more than ``most`` is refused, not cut."""
    if not (text.isascii() and text.isdigit() and len(text) <= 16) or not 1 <= int(text) <= most:
        raise BadRequest(f"{name} must be a whole number from 1 to {most}.")
    return int(text)


def parse_wait(text: str, longest: float) -> float:
    """Seconds, whole or with a decimal fraction; longer than ``longest`` is shortened to it."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and whole and len(digits) <= 12):
        raise BadRequest("wait must be a number of seconds, such as 25.")
    return min(float(text), longest)


def parse_seq(name: str, text: str) -> int:
    """A seq 0…2^53-1 in plain ASCII digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 16) or int(text) > MAX_SEQ:
        raise BadRequest(f"{name} must be a seq, a whole number.")
    return int(text)
