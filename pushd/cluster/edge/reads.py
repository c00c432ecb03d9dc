"""Messages that an edge has not kept: asked of the owner, a few questions at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn
from urllib.parse import quote

import msgspec
import trio

from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.mirror import Mirror
from pushd.cluster.edge.pulled import LIMIT, PULL, Part, decode_part, decode_pull, pull_body
from pushd.cluster.edge.upstream import Upstream
from pushd.core.positions import Cursor
from pushd.core.pulling import cut
from pushd.errors import NotReady, Overloaded, PushdError
from pushd.log import Head, MissingMessages
from pushd.log.reading import call

READERS: Final = 6  # questions under way
ATTEMPTS_S: Final = 5.0

Done = Callable[[list[bytes] | PushdError], None]


class _Read(NamedTuple):
    """Messages ``after + 1`` to ``upto``; ``back``: the newest of them."""

    head: Head
    epoch: str
    after: int
    upto: int
    limit: int
    max_bytes: int
    back: bool
    done: Done


class Reads:
    """``told`` hears of what the answers say beside messages. ``run`` is the service."""

    def __init__(self, upstream: Upstream, mirror: Mirror, told: Callable[[Applied], None]) -> None:
        self._upstream = upstream
        self._mirror = mirror
        self._told = told
        self._waiting: deque[_Read] = deque()
        self._free = trio.lowlevel.ParkingLot()
        self._busy = 0

    def __len__(self) -> int:
        """How many wait, or are under way."""
        return len(self._waiting) + self._busy

    def full(self, most: int) -> bool:
        """Whether no more than so many may wait."""
        return len(self) >= most

    def after(
        self, head: Head, after: int, upto: int, limit: int, max_bytes: int, done: Done
    ) -> None:
        """The oldest of them, as many as fit, at least one."""
        self._add(_Read(head, head.epoch, after, upto, limit, max_bytes, False, done))

    def back(self, head: Head, after: int, upto: int, max_bytes: int, done: Done) -> None:
        """The newest of them, as many as fit."""
        self._add(_Read(head, head.epoch, after, upto, LIMIT, max_bytes, True, done))

    def _add(self, read: _Read) -> None:
        self._waiting.append(read)
        self._free.unpark()

    async def run(self) -> None:
        """Until cancelled: then who waits is told."""
        try:
            async with trio.open_nursery() as readers:
                for _ in range(READERS):
                    readers.start_soon(self._serve)
        finally:
            while self._waiting:
                call(self._waiting.popleft().done, NotReady("The server is stopping."))

    async def _serve(self) -> None:
        while True:
            while not self._waiting:
                await self._free.park()
            read = self._waiting.popleft()
            answer: list[bytes] | PushdError = NotReady("The server is stopping.", retry_after=1)
            self._busy += 1
            try:
                answer = await self._answer(read)
            except PushdError as error:
                answer = error
            except msgspec.DecodeError:
                answer = Overloaded("The owner's answer cannot be read.", retry_after=1)
            finally:
                self._busy -= 1
                call(read.done, answer)

    async def _answer(self, read: _Read) -> list[bytes] | PushdError:
        """Raises PushdError, DecodeError."""
        part = await (self._back(read) if read.back else self._after(read))
        if part.error is not None or part.epoch != read.epoch:
            # What has become of it the feed says, or has said.
            return NotReady("The channel has changed at the owner.", retry_after=1)
        messages = [bytes(each) for each in part.messages]
        newest = int(part.next.rpartition(".")[2])
        if newest > read.upto:
            messages = messages[: len(messages) - (newest - read.upto)]
        if read.back:
            messages.reverse()
            messages = cut(messages, read.max_bytes)
            messages.reverse()
        else:
            messages = cut(messages, read.max_bytes)
        return messages or NotReady("The owner has no room for it now.", retry_after=1)

    async def _after(self, read: _Read) -> Part:
        cursor = Cursor(read.epoch, read.after)
        body = pull_body({read.head.channel: str(cursor)}, min(read.limit, LIMIT))
        answer = await self._upstream.ask(PULL, body, deadline=trio.current_time() + ATTEMPTS_S)
        part = decode_pull(answer)[read.head.channel]
        if part.reset is not None:
            self._changed(read, cursor, part.reset)
        return part

    async def _back(self, read: _Read) -> Part:
        count = min(read.upto - read.after, LIMIT)
        query = f"before={read.epoch}.{read.upto + 1}&limit={count}"
        path = f"/v1/channels/{quote(read.head.channel, safe='')}/messages?{query}"
        answer = await self._upstream.ask(
            path, b"", deadline=trio.current_time() + ATTEMPTS_S, method="GET"
        )
        return decode_part(answer)

    def _changed(self, read: _Read, cursor: Cursor, reset: dict[str, object]) -> NoReturn:
        """Trimmed, or another life: then what waits for it is decided anew."""
        channel, applied = read.head.channel, Applied()
        self._mirror.was_reset(channel, cursor, reset, applied)
        self._told(applied)
        if self._mirror.holds(read.head) and read.after >= read.head.first - 1:
            raise NotReady("The channel has changed at the owner.", retry_after=1)
        raise MissingMessages(f"Channel {channel!r} was changed meanwhile.")


def guarded(mirror: Mirror, head: Head, after: int | None, done: Done) -> Done:
    """Worthless when the channel was changed while it was under way, as in ``log.Reading``."""
    redactions = head.redactions

    def check(answer: list[bytes] | PushdError) -> None:
        current = mirror.holds(head) and head.redactions == redactions
        current = current and (after is None or after >= head.first - 1)
        if isinstance(answer, list) and not current:
            answer = MissingMessages(f"Channel {head.channel!r} was changed meanwhile.")
        done(answer)

    return check
