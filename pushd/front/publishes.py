"""The hot routes that publish: to one channel, to many, and line by line (NDJSON)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import trio

from pushd.core.frames import Message, Targets
from pushd.core.permissions import Identity
from pushd.core.responses import NDJSON
from pushd.deliveries import Delivery
from pushd.errors import BadRequest, Overloaded, PushdError, RateLimited, TooLarge
from pushd.front.connection import HttpConnection
from pushd.front.heavy import HEAVY, hold_body, whose
from pushd.front.request import Request
from pushd.hub import Hub
from pushd.log import Append, Stored
from pushd.publish import Fanned, Line, numbered_lines, stored_json

SLICE = 100  # NDJSON lines parsed in one turn: about a millisecond
# A line may be as much work as a thousand of the usual ones, and so may one large body.
SLICE_BYTES = 64 * 1024
RETRY_S = 0.05
PATIENCE_S = 20.0  # how long the lines of one body wait for room in the backlog

_JSON_TYPES = (b"application/json", b"text/json")
_TEXT_TYPES = (b"text/plain", b"application/x-www-form-urlencoded")


def content_type(request: Request) -> bytes:
    """The media type in lower case, without parameters; JSON when none is given."""
    header = request.headers.get(b"content-type", b"application/json")
    return header.partition(b";")[0].strip().lower()


def _message_of(hub: Hub, request: Request) -> Message:
    kind = content_type(request)
    if kind in _JSON_TYPES or kind.endswith(b"+json"):
        return hub.publisher.parse_message(request.body)
    if kind in _TEXT_TYPES:
        return hub.publisher.text_message(request.body)
    raise BadRequest("The Content-Type must be application/json or text/plain.")


class _Done:
    """Answers one publish when the log has stored it: a record, not a task."""

    __slots__ = ("_connection",)

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    def __call__(self, result: list[Stored] | PushdError) -> None:
        if isinstance(result, PushdError):
            self._connection.refuse(result)
            return
        stored = result[0]
        self._connection.hub.counters.acked(result)
        status = 200 if stored.duplicate else 201
        body = msgspec.json.encode(stored_json(stored))
        self._connection.respond(self._connection.hub.responses.make(status, body))


def publish_one(connection: HttpConnection, request: Request, channel: str) -> None:
    """``POST /v1/channels/{channel}/messages``."""
    identity = connection.caller.identify(request)
    hub = connection.hub
    draft = hub.publisher.draft(identity, _message_of(hub, request))
    hub.rates.take(identity, connection.address)
    hub.publisher.submit(identity, [channel], draft, _Done(connection))


def publish_many(connection: HttpConnection, request: Request) -> None:
    """``POST /v1/publish``: one message to many targets, or NDJSON lines."""
    identity = connection.caller.identify(request)
    hub = connection.hub
    if content_type(request) == NDJSON:
        ended = request.body.count(b"\n")
        if ended + (not request.body.endswith(b"\n")) > hub.settings.max_targets:
            raise TooLarge(f"At most {hub.settings.max_targets} lines at once.")
        hold_body(hub, len(request.body))
        hub.start_job(_publish_lines, connection, identity, request.body)
    elif len(request.body) > HEAVY:
        hold_body(hub, len(request.body))
        hub.start_job(_publish_large, connection, identity, request.body)
    else:
        _publish_fanned(connection, identity, hub.publisher.parse_fanned(request.body))


def _publish_fanned(connection: HttpConnection, identity: Identity, fanned: Fanned) -> None:
    hub = connection.hub
    channels = hub.publisher.channels_of(fanned.to)
    draft = hub.publisher.draft(identity, fanned.message)
    hub.rates.take(identity, connection.address, len(channels))
    if fanned.wait is not None:
        delivery = hub.deliveries.expect(identity, fanned.wait, channels)
        with delivery.unless_refused():
            hub.publisher.submit(identity, channels, draft, _Waited(connection, delivery))
        return

    def done(result: list[Stored] | PushdError) -> None:
        if isinstance(result, PushdError):
            connection.refuse(result)
            return
        hub.counters.acked(result)
        body = msgspec.json.encode({"results": hub.audience.results(result)})
        connection.respond(hub.responses.make(200, body))

    hub.publisher.submit(identity, channels, draft, done)


class _Waited:
    """Answers one publish when a user has what the log has stored, or the time is up."""

    __slots__ = ("_connection", "_delivery")

    def __init__(self, connection: HttpConnection, delivery: Delivery) -> None:
        self._connection = connection
        self._delivery = delivery

    def __call__(self, result: list[Stored] | PushdError) -> None:
        connection, hub = self._connection, self._connection.hub
        if isinstance(result, PushdError):
            self._delivery.cancel()
            connection.refuse(result)
            return
        hub.counters.acked(result)

        def finish(delivered: bool) -> None:
            told = {"results": hub.audience.results(result), "delivered": delivered}
            connection.respond(hub.responses.make(200, msgspec.json.encode(told)))

        if connection.out.closed:
            self._delivery.cancel()
        else:
            connection.waiting = self._delivery
            self._delivery.stored(result, finish)


async def _publish_large(connection: HttpConnection, identity: Identity, body: bytes) -> None:
    """A mebibyte of brackets takes a tenth of a second: looked through in a thread."""
    hub = connection.hub
    try:
        async with hub.turns.of(whose(identity)):
            parse = hub.publisher.parse_fanned
            large = len(body) > SLICE_BYTES
            fanned = await trio.to_thread.run_sync(parse, body) if large else parse(body)
            hub.access.check_valid(identity, time.time())
            _publish_fanned(connection, identity, fanned)
    except PushdError as error:
        connection.refuse(error)
    except Exception:
        connection.refuse(PushdError("The server failed to answer this."))
        raise
    finally:
        hub.bodies.give(len(body))


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
        online = self._connection.hub.audience.online(stored.channel)
        return {**stored_json(stored), "online": online}

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


async def _publish_lines(connection: HttpConnection, identity: Identity, body: bytes) -> None:
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
