"""Whether an answer is what its cursor asked for: any other would leave a silent hole."""

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
