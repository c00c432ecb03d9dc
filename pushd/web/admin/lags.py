"""How far sessions are behind: what their devices lack of the channels that they follow."""

from __future__ import annotations

from functools import partial

from pushd.answers import answer_of
from pushd.core.positions import HEAD, Cursor
from pushd.front.pulls import first_contact
from pushd.log import MOST_DEVICES, Following, Head
from pushd.sessions import Session
from pushd.web.call import Call


def behind(cursor: Cursor, head: Head) -> int:
    """How many retained messages come after it; one of another life is before them all."""
    at = cursor.seq if cursor.epoch == head.epoch else 0
    return head.seq - max(at, head.first - 1)


async def lags_of(call: Call, sessions: list[Session]) -> dict[str, int]:
    """By session; of those that name a device, in the channels that the caller may know of."""
    named = [each for each in sessions if each.user is not None and each.device is not None]
    lags: dict[str, int] = {}
    for at in range(0, len(named), MOST_DEVICES):
        part = named[at : at + MOST_DEVICES]
        followed = [_heads(call, each) for each in part]
        asked = [
            Following(each.user or "", each.device or "", [head.channel_id for head in heads])
            for each, heads in zip(part, followed, strict=True)
        ]
        found = await answer_of(partial(call.hub.log.read_delivered, asked))
        for each, heads, delivered in zip(part, followed, found, strict=True):
            lags[each.id] = sum(_lag(call, each, head, delivered) for head in heads)
    return lags


def _heads(call: Call, session: Session) -> list[Head]:
    heads = call.hub.log.heads
    return [heads[name] for name in session.following if name in heads and call.covers(name)]


def _lag(call: Call, session: Session, head: Head, delivered: dict[int, Cursor]) -> int:
    """Of a channel that it was never given anything of: as much as its first pull would bring."""
    cursor = delivered.get(head.channel_id)
    if cursor is None:
        cursor = first_contact(call.hub, session.user, head.channel)
    return 0 if cursor == HEAD else behind(cursor, head)
