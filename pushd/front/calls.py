"""``POST /v1/call``: what the frame ``call`` does, for those who have no WebSocket."""

from __future__ import annotations

import msgspec

from pushd.errors import PushdError
from pushd.front.bodies import call_decoder, decode_body
from pushd.front.connection import HttpConnection
from pushd.front.request import Request


class _Done:
    """Answers one call when the application has: a record, not a task."""

    __slots__ = ("_connection", "_id")

    def __init__(self, connection: HttpConnection, id_: str | None) -> None:
        self._connection = connection
        self._id = id_

    def __call__(self, result: bytes | PushdError) -> None:
        if isinstance(result, PushdError):
            self._connection.refuse(result)
            return
        body = msgspec.json.encode({"id": self._id, "data": msgspec.Raw(result)})
        self._connection.respond(self._connection.hub.responses.make(200, body))


def call(connection: HttpConnection, request: Request) -> None:
    """Answered when the application has answered; if the client leaves before, it is done still."""
    identity = connection.caller.identify(request)
    body = decode_body(call_decoder, request.body)
    connection.hub.rates.take(identity, connection.address)
    connection.hub.application.calls.start(identity, None, body, _Done(connection, body.id))
