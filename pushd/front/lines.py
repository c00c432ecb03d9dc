"""Publishing line by line (NDJSON): each line is a message, and has its result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import trio

from pushd.core.frames import Targets
from pushd.core.permissions import Identity
from pushd.core.responses import NDJSON
from pushd.errors import Overloaded, PushdError, RateLimited
from pushd.front.connection import HttpConnection
from pushd.front.heavy import whose
from pushd.hub import Hub
from pushd.log import Append, Stored
from pushd.publish import Line, numbered_lines, stored_json

SLICE = 100  # NDJSON lines parsed in one turn: about a millisecond
# A line may be as much work as a thousand of the usual ones, and so may one large body.
SLICE_BYTES = 64 * 1024
RETRY_S = 0.05
PATIENCE_S = 20.0  # how long the lines of one body wait for room in the backlog


class _Lines:
    """The results of an NDJSON publish, one per line in order, answered when all are in."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self._results: list[bytes] = []
        self._open = 1  # the reader of the lines holds one, so that it cannot end too early

    def expect(self, number: int) -> _LineDone:
        self._results.append(b"")
        self._open += 1
        return _LineDone(self, len(self._results) - 1, number)

    def acked(self, stored: list[Stored]) -> None:
        self._connection.hub.counters.acked(stored)

    def told(self, stored: Stored) -> dict[str, Any]:
        online, state = self._connection.hub.audience.of(stored)
        told = {**stored_json(stored), "online": online}
        return told if state == "known" else {**told, "state": state}

    def settle(self, at: int, result: dict[str, Any]) -> None:
        self._results[at] = msgspec.json.encode(result)
        self.finish()

    def finish(self) -> None:
        self._open -= 1
        if self._open == 0:
            hub = self._connection.hub
            body = b"\n".join([*self._results, b""])
            self._connection.respond(hub.responses.make(200, body, NDJSON))


class _LineDone:
    __slots__ = ("_at", "_lines", "_number")

    def __init__(self, lines: _Lines, at: int, number: int) -> None:
        self._lines = lines
        self._at = at
        self._number = number

    def __call__(self, result: list[Stored] | PushdError) -> None:
        if isinstance(result, PushdError):
            self._lines.settle(self._at, {"line": self._number, **result.as_dict()})
        else:
            self._lines.acked(result)
            self._lines.settle(self._at, {"line": self._number, **self._lines.told(result[0])})


async def publish_lines(connection: HttpConnection, identity: Identity, body: bytes) -> None:
    """Parse in slices, so that a large body does not hold up the loop; submit each in order."""
    hub = connection.hub
    lines = _Lines(connection)
    limited: RateLimited | None = None
    give_up = trio.current_time() + PATIENCE_S
    try:
        for portion in _slices(body):
            batch: list[Append] = []
            async with hub.turns.of(whose(identity)):
                for number, line in portion:
                    done = lines.expect(number)
                    if limited is None:
                        limited = hub.rates.refusal(identity, connection.address)
                    if limited is not None:  # and no line passes one that was refused
                        done(limited)
                        continue
                    try:
                        parsed = hub.publisher.parse_line(line)
                        batch.append(_line_append(hub, identity, parsed, done))
                    except PushdError as error:
                        done(error)
            await _submit(hub, identity, batch, give_up)
    except Exception:
        # Whoever runs the job logs it; without an answer the connection would wait for ever.
        connection.refuse(PushdError("The server failed to answer this."))
        raise
    finally:
        hub.bodies.give(len(body))
    lines.finish()


def _slices(body: bytes) -> Iterator[list[tuple[int, bytes]]]:
    """The lines of a body, as many at once as may be parsed in one turn."""
    portion: list[tuple[int, bytes]] = []
    room = SLICE_BYTES
    for line in numbered_lines(body):
        portion.append(line)
        room -= len(line[1])
        if room <= 0 or len(portion) == SLICE:
            yield portion
            portion, room = [], SLICE_BYTES
    yield portion


def _line_append(hub: Hub, identity: Identity, line: Line, done: _LineDone) -> Append:
    channels = hub.publisher.channels_of(Targets(channels=[line.channel]))
    return hub.publisher.append(identity, channels, hub.publisher.draft(identity, line), done)


async def _submit(hub: Hub, identity: Identity, batch: list[Append], give_up: float) -> None:
    """A full backlog slows one body's lines down; past its patience they are refused."""
    while batch:
        try:
            # A long body takes a while: what is revoked meanwhile publishes no more.
            hub.access.check_valid(identity, time.time())
            hub.log.submit_many(batch)
        except Overloaded as error:
            if trio.current_time() < give_up:
                await trio.sleep(RETRY_S)
                continue
            for append in batch:
                append.done(error)
        except PushdError as error:
            for append in batch:
                append.done(error)
        return
