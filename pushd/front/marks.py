"""What a frame does over a WebSocket, for those who have none: read marks."""

from __future__ import annotations

import time

from pushd.catchup import caught_up, judged
from pushd.core.names import check_device
from pushd.errors import PushdError
from pushd.front.bodies import decode_body, read_decoder
from pushd.front.connection import HttpConnection
from pushd.front.pulls import device_of
from pushd.front.request import Request


def read(connection: HttpConnection, request: Request, channel: str) -> None:
    """``POST /v1/channels/{channel}/read``: 204, and the user's others are told."""
    identity = connection.caller.identify(request)
    body = decode_body(read_decoder, request.body)
    device = device_of(identity, None if body.device is None else check_device(body.device))
    hub = connection.hub

    def record(away: PushdError | None) -> None:
        try:
            hub.marking.read(identity, channel, body.cursor, time.time(), device)
        except PushdError as error:
            connection.refuse(judged(error, away))
        else:
            connection.respond(hub.responses.make(204, b""))

    caught_up(hub.log, {channel: body.cursor}, record)
