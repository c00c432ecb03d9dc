"""What is to be told of a channel: the messages after a cursor, or why some of them are gone."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import trio

from pushd.core.positions import Cursor
from pushd.core.pulling import Position, cut
from pushd.errors import Overloaded, PushdError, Reset
from pushd.log import Head, Log, MissingMessages
from pushd.places import Places
from pushd.tails import Tails

TRIES = 8  # of a channel that is changed while it is read


class Portion(NamedTuple):
    """``after``: the seq before the first. ``reset``: messages before them cannot be told."""

    channel: str
    epoch: str
    after: int
    messages: list[bytes]
    reset: dict[str, Any] | None

    @property
    def end(self) -> Cursor:
        """Where to go on once it was told."""
        return Cursor(self.epoch, self.after + len(self.messages))

    @property
    def size(self) -> int:
        """Bytes of its messages."""
        return sum(map(len, self.messages))

    def as_dict(self) -> dict[str, Any]:
        """As it is told."""
        told: dict[str, Any] = {"channel": self.channel, "epoch": self.epoch}
        if self.reset is not None:
            told["reset"] = self.reset
        told["messages"] = [msgspec.Raw(each) for each in self.messages]
        return told


class Portions:
    """Reads from the tail, else from the log. Used on the loop only."""

    def __init__(self, log: Log, places: Places, tails: Tails) -> None:
        self._log = log
        self._places = places
        self._tails = tails

    async def read(
        self, channel: str, cursor: Cursor, limit: int, max_bytes: int
    ) -> Portion | None:
        """At least one message, if there is one; None when there is no such channel (any more).

        Raises PushdError when the log cannot be read.
        """
        for _ in range(TRIES):
            head = self._log.heads.get(channel)
            if head is None:
                return None
            epoch, first, seq = head.epoch, head.first, head.seq
            after, reset = self._after(channel, cursor, Position(epoch, first, seq))
            if after >= seq:
                return Portion(channel, epoch, after, [], reset)
            messages = self._tails.messages(head, after, limit, max_bytes)
            if messages is None:
                messages = await self._load(head, after, limit, max_bytes)
            if messages is not None:
                return Portion(channel, epoch, after, cut(messages, max_bytes), reset)
        raise Overloaded(f"Channel {channel!r} changes faster than it is read.")

    def _after(
        self, channel: str, cursor: Cursor, at: Position
    ) -> tuple[int, dict[str, Any] | None]:
        try:
            return self._places.after(channel, cursor, at), None
        except Reset as reset:
            return at.first - 1, {"code": reset.code, "skipped": reset.extra["skipped"]}

    async def _load(self, head: Head, after: int, limit: int, max_bytes: int) -> list[bytes] | None:
        """None: the channel was changed meanwhile."""
        told = trio.Event()
        found: list[list[bytes] | PushdError] = []

        def done(result: list[bytes] | PushdError) -> None:
            found.append(result)
            told.set()

        self._log.read_messages(head, after, head.seq, limit, max_bytes, done)
        await told.wait()  # the log always answers
        result = found[0]
        if isinstance(result, MissingMessages):
            return None
        if isinstance(result, PushdError):
            raise result
        return result
