"""The hot routes that publish: to one channel, and to many; line by line is in ``lines``."""

from __future__ import annotations

import time

import msgspec
import trio

from pushd.core.frames import Message
from pushd.core.permissions import Identity
from pushd.core.responses import NDJSON
from pushd.deliveries import Delivery
from pushd.errors import BadRequest, PushdError, TooLarge
from pushd.front.connection import HttpConnection
from pushd.front.heavy import HEAVY, hold_body, whose
from pushd.front.lines import SLICE_BYTES, publish_lines
from pushd.front.request import Request
from pushd.hub import Hub
from pushd.log import Stored
from pushd.publish import Fanned, stored_json

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
        hub.start_job(publish_lines, connection, identity, request.body)
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
