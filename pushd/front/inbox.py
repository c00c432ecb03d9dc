"""``GET /v1/inbox``: the user's own channels, and what is unread in each. Asked at each page load:
one read of the disk, and the connection stays."""

from __future__ import annotations

import heapq
import time
from typing import Any, Final, NamedTuple

from msgspec.json import encode

from pushd.core.names import check_device
from pushd.core.pulling import parse_count
from pushd.errors import BadRequest, Forbidden, PushdError
from pushd.front.bodies import DEFAULT_LIMIT
from pushd.front.connection import HttpConnection
from pushd.front.pulls import device_of
from pushd.front.query import parse_query
from pushd.front.request import Request
from pushd.log import Marks

MAX_LIMIT: Final = 1000
MAX_NEXT: Final = 1024  # characters


class _Ask(NamedTuple):
    """``after`` None: the first page, which also tells of all together."""

    device: str | None
    limit: int
    after: str | None


def _parse(given: dict[str, str]) -> _Ask:
    after = given.get("next")
    if after is not None and len(after) > MAX_NEXT:
        raise BadRequest("next is not in the form of those that answers contain.")
    return _Ask(
        check_device(given["device"]) if "device" in given else None,
        parse_count("limit", given["limit"], MAX_LIMIT) if "limit" in given else DEFAULT_LIMIT,
        after,
    )


def get_inbox(connection: HttpConnection, request: Request) -> None:
    """Raises Forbidden to services, which have no channels of their own."""
    identity = connection.caller.identify(request)
    user = identity.user
    if user is None:
        raise Forbidden(
            "An inbox is of a user; this is a service.", cure="Ask GET /v1/users/ID of any user."
        )
    ask = _parse(parse_query(request.target.partition(b"?")[2]))
    device = device_of(identity, ask.device)
    hub = connection.hub
    own = hub.sessions.own_channels(user)
    if ask.after is None:
        names = sorted(own)
    else:
        after = ask.after
        names = heapq.nsmallest(ask.limit + 1, (name for name in own if name > after))

    def loaded(marks: dict[str, Marks] | PushdError) -> None:
        try:
            if isinstance(marks, PushdError):
                raise marks
            hub.access.check_valid(identity, time.time())
            still = set(hub.sessions.own_channels(user))  # a group may be another's meanwhile
            heads = [_item(connection, user, name, marks[name]) for name in names if name in still]
            if ask.after is None and marks["all"].since is None:
                hub.log.record_seen(user)
        except PushdError as error:
            connection.refuse(error)
        else:
            connection.respond(hub.responses.make(200, _page(heads, ask)))

    hub.log.load_marks(user, device, names, loaded)


def _item(connection: HttpConnection, user: str, channel: str, marks: Marks) -> dict[str, Any]:
    at = connection.hub.pulls.position(channel)
    return {"channel": channel, **connection.hub.sessions.heads.entry(user, channel, at, marks)}


def _page(heads: list[dict[str, Any]], ask: _Ask) -> bytes:
    items = heads[: ask.limit]
    return encode(
        {
            "items": items,
            "next": items[-1]["channel"] if len(heads) > ask.limit else None,
            "unread": sum(each["unread"] for each in heads) if ask.after is None else None,
        }
    )
