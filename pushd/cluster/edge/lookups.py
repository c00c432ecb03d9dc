"""What an edge asks the owner for: marks, many at a time, and messages that it has not kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
import trio

from pushd.cluster.edge.sentmarks import SentMarks
from pushd.cluster.edge.upstream import Upstream
from pushd.cluster.wire import PATH, LoadBody, LoadResults, MarksFound
from pushd.core.positions import Cursor, parse_cursor
from pushd.errors import NotReady, OwnerAway, PushdError
from pushd.log import Marks

BATCH: Final = 500  # questions that go together
BATCH_CHANNELS: Final = 5_000
ATTEMPTS_S: Final = 5.0  # after which who asks is told that there is no owner
RETRY_S: Final = 0.1

_results = msgspec.json.Decoder(LoadResults)
_encode = msgspec.json.Encoder().encode

Done = Callable[[dict[str, Marks] | PushdError], None]


class Ask(NamedTuple):
    """``since``: where a user has joined, of channels of groups: known here."""

    user: str
    device: str | None
    channels: list[str]
    since: Callable[[str], Cursor | None]
    done: Done


class Loads:
    """Of marks: one batch under way, what comes meanwhile goes together. ``run`` is the service."""

    def __init__(
        self, upstream: Upstream, marks: SentMarks, call: Callable[[Done, object], None]
    ) -> None:
        self._upstream = upstream
        self._marks = marks
        self._call = call
        self._waiting: deque[tuple[float, Ask]] = deque()
        self._wake = trio.Event()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, ask: Ask) -> None:
        """It is answered as long as ``run`` runs."""
        self._waiting.append((trio.current_time() + ATTEMPTS_S, ask))
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled: then who waits is told."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while self._waiting:
                    await self._batch()
        finally:
            self._refuse([ask for _, ask in self._waiting], NotReady("The server is stopping."))

    async def _batch(self) -> None:
        deadline, asks = self._take()
        before = [self._marks.unsent(ask.user, ask.device, ask.channels) for ask in asks]
        answer: list[list[MarksFound]] | PushdError
        answer = NotReady("The server is stopping.", retry_after=1)
        try:
            answer = await self._ask(asks, deadline)
        finally:
            if isinstance(answer, PushdError):
                self._refuse(asks, answer)
        if not isinstance(answer, PushdError):
            for ask, found, unsent in zip(asks, answer, before, strict=True):
                self._call(ask.done, self._merged(ask, found, unsent))

    async def _ask(self, asks: list[Ask], deadline: float) -> list[list[MarksFound]] | PushdError:
        while True:
            upstream = self._upstream
            body = LoadBody(
                upstream.generation,
                upstream.node,
                [(ask.user, ask.device, ask.channels) for ask in asks],
            )
            try:
                answer = await upstream.ask(PATH + "load", _encode(body), deadline=deadline)
                found = _results.decode(answer).found
            except NotReady as error:
                if trio.current_time() + RETRY_S >= deadline:
                    return error
            except PushdError as error:
                return error
            except msgspec.DecodeError:
                return PushdError("The owner's answer about marks cannot be read.")
            else:
                if len(found) != len(asks):
                    return PushdError("The owner's answer about marks is of other questions.")
                return found
            await trio.sleep(RETRY_S)

    def _take(self) -> tuple[float, list[Ask]]:
        deadline, first = self._waiting.popleft()
        asks, channels = [first], len(first.channels)
        while self._waiting and len(asks) < BATCH:
            channels += len(self._waiting[0][1].channels)
            if channels > BATCH_CHANNELS:
                break
            asks.append(self._waiting.popleft()[1])
        return deadline, asks

    def _refuse(self, asks: list[Ask], error: PushdError) -> None:
        for ask in asks:
            self._call(ask.done, error.again())

    def _merged(
        self, ask: Ask, found: list[MarksFound], before: dict[tuple[str, str | None, str], Cursor]
    ) -> dict[str, Marks]:
        """With what was recorded here and was not there yet."""
        after = self._marks.unsent(ask.user, ask.device, ask.channels)
        by_channel = {each.channel: each for each in found}
        merged = {}
        for channel in ask.channels:
            known = by_channel.get(channel) or MarksFound(channel, None, None, None)
            delivered, read = _cursor(known.delivered), _cursor(known.read)
            for unsent in (before, after):
                if ask.device is not None:
                    delivered = _newer(delivered, unsent.get((ask.user, ask.device, channel)))
                read = _newer(read, unsent.get((ask.user, None, channel)))
            merged[channel] = Marks(delivered, read, ask.since(channel) or _cursor(known.since))
        return merged


def _cursor(text: str | None) -> Cursor | None:
    return None if text is None else parse_cursor(text)


def _newer(one: Cursor | None, other: Cursor | None) -> Cursor | None:
    if one is None or other is None:
        return one or other
    return max(one, other)


def away() -> OwnerAway:
    """No owner was reached."""
    return OwnerAway("The node that owns the log cannot be reached.", retry_after=1)
