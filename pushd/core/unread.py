"""How many messages of a channel a user has not read: one definition for all who tell it."""

from __future__ import annotations

from pushd.core.names import Kind, kind_of
from pushd.core.positions import Cursor
from pushd.core.pulling import Position


def unread(
    channel: str, at: Position, read: Cursor | None, since: Cursor | None = None
) -> int | None:
    """Retained messages after the read mark. None: not counted, as nothing was ever marked there.

    ``since``: where counting began. Inboxes count from their start; ``all`` not before the user was
    first seen (None: not yet), groups from joining (None: is no member), topics from the first read
    mark on. A mark of an earlier life of the channel is before all of this one.
    """
    kind = kind_of(channel)
    if kind is Kind.USER:
        pass
    elif kind is Kind.ALL:
        if read is None and since is None:
            return 0
    elif (since if kind is Kind.GROUP else read) is None:
        return None
    return at.seq - max(_in_life(read, at), _in_life(since, at), at.first - 1)


def _in_life(mark: Cursor | None, at: Position) -> int:
    return min(mark.seq, at.seq) if mark is not None and mark.epoch == at.epoch else 0
