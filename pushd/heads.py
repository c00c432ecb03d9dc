"""What a user is told of a channel's head: how far it was given and read, and what is missing."""

from __future__ import annotations

from typing import Any

from pushd.core.positions import parse_cursor
from pushd.core.pulling import Position
from pushd.core.unread import unread
from pushd.errors import PushdError
from pushd.groups import Groups
from pushd.log import Marks
from pushd.places import Places


class Heads:
    """Entries of ``heads`` in frames, and of an inbox; used on the Trio loop only."""

    __slots__ = ("_groups", "_places")

    def __init__(self, places: Places, groups: Groups) -> None:
        self._places = places
        self._groups = groups

    def entry(self, user: str | None, channel: str, at: Position, marks: Marks) -> dict[str, Any]:
        """Where a channel is, how far it was given and read, and what the user has not read."""
        entry: dict[str, Any] = {
            **at.as_dict(),
            "delivered": None if marks.delivered is None else str(marks.delivered),
            "read": None if marks.read is None else str(marks.read),
        }
        if user is not None:
            entry["unread"] = self.unread(user, channel, at, marks)
        return entry

    def unread(self, user: str, channel: str, at: Position, marks: Marks) -> int | None:
        """How many messages of it the user has not read; see ``core.unread``."""
        since = marks.since or self._groups.since(channel, user)
        return unread(channel, at, marks.read, since)

    def compared(self, channel: str, cursor: str, at: Position) -> dict[str, Any]:
        """What an entry says beside: of a cursor that is not good, or will not be for long."""
        try:
            after = self._places.after(channel, parse_cursor(cursor), at)
        except PushdError as error:
            key = "reset" if error.status == 410 else "error"
            return {key: {"code": error.code, "detail": error.detail, **error.extra}}
        return self.lacking(channel, after)

    def lacking(self, channel: str, after: int) -> dict[str, Any]:
        """What it says beside of messages after ``after`` that are about to go."""
        fading = self._places.fading(channel, after)
        return {} if fading is None else {"expiring": fading._asdict()}
