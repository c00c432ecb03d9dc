"""The event stream that carries hints where no WebSocket gets through, as a ``link.Link``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from pushd.client.http import Http
from pushd.client.link import Link, LinkLost
from pushd.client.problems import is_transient
from pushd.client.websocket import hint_query
from pushd.errors import PushdError, TokenExpired, Unauthorized

# A line that is longer is no event of ours; without a bound it would fill the memory.
_MOST_EVENT_CHARS: Final = 1 << 20
_ANSWER_S: Final = 10.0


class EventParser:
    """Text in any pieces in, the ``data`` of whole events out (HTML standard, 9.2.6)."""

    def __init__(self) -> None:
        self._rest = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, text: str) -> list[str]:
        """Raises LinkLost for an event beyond all bounds."""
        # A lone CR ends a line, too; one at the end of a piece may be half of a CRLF.
        pending = self._rest + text
        held = "\r" if pending.endswith("\r") else ""
        pending = pending.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = pending.split("\n")
        self._rest = rest + held
        found = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) + self._size > _MOST_EVENT_CHARS:
            raise LinkLost("an event is too long", blocked=True)
        return found

    def _line(self, line: str) -> str | None:
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
                self._size += len(value)
            return None
        data, self._data, self._size = self._data, [], 0
        return "\n".join(data) if data else None


class _EventLink:
    two_way = False

    def __init__(self, texts: trio.MemoryReceiveChannel[str]) -> None:
        self._texts = texts
        self._parser = EventParser()
        self._events: list[str] = []

    async def receive(self) -> str:
        while not self._events:
            try:
                piece = await self._texts.receive()
            except trio.EndOfChannel:
                raise LinkLost("the event stream ended") from None
            # Newest last, so that the next one is popped from the end.
            self._events = self._parser.feed(piece)[::-1]
        return self._events.pop()

    async def send(self, text: str) -> None:
        raise LinkLost("an event stream goes one way")


@asynccontextmanager
async def open_events(
    http: Http, channels: list[str], device: str | None, replaces: str | None
) -> AsyncIterator[Link]:
    """Ask for the stream and yield it as a link. Raises LinkLost, and what the token function does.

    ``replaces``: the session that this one takes over from, though the server may think it lives.
    """
    query = hint_query(channels, device, replaces)
    scope = trio.CancelScope(deadline=trio.current_time() + _ANSWER_S)
    with scope:
        try:
            async with http.events(f"/v1/events?{query}".removesuffix("?")) as texts:
                scope.deadline = float("inf")
                yield _EventLink(texts)
        except PushdError as error:
            raise _lost(error) from None
    if scope.cancelled_caught:
        raise LinkLost("the event stream was not answered in time", blocked=True)


def _lost(error: PushdError) -> LinkLost:
    if isinstance(error, Unauthorized | TokenExpired):
        return LinkLost(error.code, 4001)
    retry_after = None if error.retry_after is None else float(error.retry_after)
    # Another refusal may be a proxy's; if it is the server's, a pull is refused as well, and ends.
    reason = f"no event stream: {error.detail}"
    return LinkLost(reason, None, retry_after, blocked=not is_transient(error))
