"""History backwards: which messages a page before a seq has. It makes no promise of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pushd.core.names import check_device
from pushd.core.positions import MAX_SEQ, Cursor, parse_cursor
from pushd.core.pulling import Position, parse_count, parse_seq, resolve
from pushd.errors import BadRequest, Expired

_FORWARDS = ("after", "wait")


class Back(NamedTuple):
    """What is asked for: at most ``limit`` messages before that one; None: the newest.

    ``before`` without an epoch is of whatever life the channel has. ``device`` is only checked.
    """

    before: Cursor | None
    limit: int
    device: str | None = None


class Window(NamedTuple):
    """Messages ``after + 1`` to ``upto``; none when they are equal."""

    after: int
    upto: int


def parse_back(given: Mapping[str, str], default_limit: int, max_limit: int) -> Back:
    """``before=SEQ`` or ``before=EPOCH.SEQ`` with ``limit``, or ``last=N``. Raises BadRequest."""
    for name in _FORWARDS:
        if name in given:
            raise BadRequest(f"{name!r} reads forwards: it goes neither with 'before' nor 'last'.")
    if "atleast" in given:
        parse_seq("atleast", given["atleast"])
    device = check_device(given["device"]) if "device" in given else None
    if "last" in given:
        if "before" in given or "limit" in given:
            raise BadRequest("'last' goes alone: it says how many of the newest.")
        return Back(None, parse_count("last", given["last"], max_limit), device)
    limit = default_limit
    if "limit" in given:
        limit = parse_count("limit", given["limit"], max_limit)
    text = given["before"]
    if "." in text:
        before = parse_cursor(text)
        if before.seq < 1:
            raise BadRequest("before must name a message; they are counted from 1.")
        return Back(before, limit, device)
    return Back(Cursor("", parse_count("before", text, MAX_SEQ)), limit, device)


def window(ask: Back, at: Position) -> Window:
    """What of it is retained. Raises Reset when ``before`` is of another life, or was never there.

    One message beyond the head may be named, so that a page before it can be asked for.
    """
    upto = at.seq
    if ask.before is not None:
        upto = ask.before.seq - 1
        try:
            resolve(Cursor(ask.before.epoch or at.epoch, upto), at)
        except Expired:
            upto = at.first - 1  # nothing older is there any more, as ``first`` says
    return Window(max(upto - ask.limit, at.first - 1), upto)


def newest(messages: list[bytes], max_bytes: int) -> list[bytes]:
    """As many from the end as fit, always one."""
    room = max_bytes
    for count, message in enumerate(reversed(messages)):
        room -= len(message)
        if room < 0 and count:
            return messages[-count:]
    return messages
