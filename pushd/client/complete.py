"""Cursors and answers: whether there may be more, and whether an answer leaves a silent hole."""

from __future__ import annotations

from pushd.client.answers import ChannelAnswer
from pushd.client.problems import BadAnswer
from pushd.core.positions import HEAD, NO_EPOCH, START, Cursor, parse_cursor
from pushd.errors import BadRequest


def position(text: str) -> Cursor:
    """A cursor that an answer gave."""
    try:
        return parse_cursor(text, allow_head=False)
    except BadRequest:
        raise BadAnswer(f"The server gave {text!a} as a cursor.") from None


def is_ahead(epoch: str, seq: int, cursor: Cursor) -> bool:
    """Whether a pull from ``cursor`` could bring something, as far as this position tells."""
    if cursor == HEAD:
        return True
    if cursor == START:
        return seq > 0
    if epoch != cursor.epoch:
        # Never written to when the cursor was given, and still not: nothing to fetch.
        return not (cursor.epoch == NO_EPOCH and seq == 0)
    return seq > cursor.seq


def check_complete(name: str, before: Cursor, after: Cursor, answer: ChannelAnswer) -> None:
    """Messages follow the cursor and each other without a hole, and ``next`` is after the last."""
    seqs = [message.seq for message in answer.messages]
    start, other_life = before.seq + 1, before.epoch not in (NO_EPOCH, answer.epoch)
    if before in (START, HEAD):
        # Where these begin only the server knows.
        start, other_life = (seqs[0] if seqs else after.seq + 1), False
    expected = list(range(start, start + len(seqs)))
    if other_life or seqs != expected or after != (answer.epoch, start + len(seqs) - 1):
        raise BadAnswer(
            f"The answer for {name!r} leaves a hole: after {before} came "
            f"{seqs[:1]}…{seqs[-1:]} of epoch {answer.epoch}, next {answer.next}."
        )
