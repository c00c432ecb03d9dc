"""``GET /v1/channels/{channel}/presence``: who follows it, and the cursor to go on from."""

from __future__ import annotations

import time

from msgspec.json import encode

from pushd.core.pulling import parse_count
from pushd.errors import BadRequest
from pushd.front.bodies import DEFAULT_LIMIT
from pushd.front.connection import HttpConnection
from pushd.front.inbox import MAX_LIMIT, MAX_NEXT
from pushd.front.query import parse_query
from pushd.front.request import Request


def get_presence(connection: HttpConnection, request: Request, channel: str) -> None:
    """For whoever may read the channel. Raises Forbidden, NotFound, NotReady."""
    identity = connection.caller.identify(request)
    hub = connection.hub
    connection.caller.check_read(identity, channel, time.time())
    given = parse_query(request.query)
    limit = parse_count("limit", given["limit"], MAX_LIMIT) if "limit" in given else DEFAULT_LIMIT
    after = given.get("next", "")
    if len(after) > MAX_NEXT:
        raise BadRequest("next is not in the form of those that answers contain.")
    found = hub.rooms.page(channel, after, limit)
    body = b'{"channel":%b,"presence":%b,"cursor":%b,"count":%d,%b"items":[%b],"next":%b}' % (
        encode(channel),
        encode(found.channel),
        encode(found.cursor),
        found.members,
        b"" if found.known else b'"state":"unknown",',
        b",".join(found.items),
        encode(found.next),
    )
    connection.respond(hub.responses.make(200, body))
