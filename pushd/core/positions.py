"""Positions in a channel: epoch, seq, and the cursor ``EPOCH.SEQ`` that clients hand back."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pushd.errors import BadRequest

# Nine characters of base 36, lower case: fixed width, so that later epochs sort higher as text.
Epoch = str

EPOCH_WIDTH: Final = 9
# The epoch of a channel that was never written to. Sorts wrongly as text: see ``order_key``.
NO_EPOCH: Final = "none"
# The largest integer that JavaScript holds exactly.
MAX_SEQ: Final = 2**53 - 1

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_EPOCH_LIMIT: Final = 36**EPOCH_WIDTH
_CURSOR = re.compile(r"([0-9a-z]{9}|none)\.(0|[1-9][0-9]{0,15})", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)
# 'EPOCH.SEQ' at its longest; anything longer is not worth a look.
_MAX_CURSOR_CHARS: Final = EPOCH_WIDTH + 1 + 16

_EXPLANATION: Final = (
    "A cursor is '0' (from the start), 'head' (from now on) or 'EPOCH.SEQ' exactly as an answer "
    "gave it in 'next', such as '0mhx3f9ab.41'"
)


class Cursor(NamedTuple):
    """After message ``seq`` of life ``epoch`` of a channel. ``str()`` gives the wire form."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        if self.seq == 0 and self.epoch in ("", "head"):
            return self.epoch or "0"
        return f"{self.epoch}.{self.seq}"


START: Final = Cursor("", 0)
HEAD: Final = Cursor("head", 0)


def parse_cursor(text: str, *, allow_head: bool = True) -> Cursor:
    """The cursor that ``text`` spells; BadRequest for any other spelling of a position.

    Without ``allow_head`` the word ``head`` is refused (an ack names what was received).
    """
    if text == "0":
        return START
    if text == "head":
        if allow_head:
            return HEAD
        raise BadRequest("The cursor 'head' names no message; send the cursor of an answer.")
    if len(text) > _MAX_CURSOR_CHARS:
        raise BadRequest(f"The cursor is too long. {_EXPLANATION}.")
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadRequest(_why_not(text))
    epoch, seq = match[1], int(match[2])
    if seq > MAX_SEQ:
        raise BadRequest(f"The cursor's seq is beyond 2^53-1. {_EXPLANATION}.")
    # Never given out: what was never written to has no message to be after.
    if epoch == NO_EPOCH and seq:
        raise BadRequest(f"No channel of epoch 'none' has messages. {_EXPLANATION}.")
    return Cursor(epoch, seq)


def order_key(cursor: Cursor) -> tuple[str, int]:
    """Sorts cursors of one channel by age; those that name no message come first."""
    return cursor if len(cursor.epoch) == EPOCH_WIDTH else ("", 0)


def next_epoch(last: Epoch | None, now_ms: int) -> Epoch:
    """An epoch that sorts after ``last`` and is near the clock (``now_ms``: ms since 1970).

    Following the clock keeps epochs apart that different copies of a directory mint; going
    past ``last`` keeps the order when the clock was set back. A clock out of range is ignored.
    """
    value = now_ms if 0 <= now_ms < _EPOCH_LIMIT else 0
    if last is not None and last != NO_EPOCH:
        value = max(value, int(last, 36) + 1)
    if value >= _EPOCH_LIMIT:
        raise OverflowError("no epochs are left")
    digits = []
    for _ in range(EPOCH_WIDTH):
        value, digit = divmod(value, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _why_not(text: str) -> str:
    if _NUMBER.fullmatch(text):
        return (
            f"{text} is a bare number, not a cursor: a seq means nothing without the epoch it "
            f"belongs to. {_EXPLANATION}."
        )
    return f"{text!a} is not a cursor. {_EXPLANATION}."
