"""The hot route of event streams: ``GET /v1/events``."""

from __future__ import annotations

from pushd.core.events import parse_id
from pushd.core.names import check_device
from pushd.core.permissions import Identity
from pushd.core.positions import Cursor
from pushd.errors import DeviceConnected, NotReady, RateLimited, Unauthorized
from pushd.front.connection import HttpConnection
from pushd.front.origins import check_connecting
from pushd.front.pulls import device_of
from pushd.front.query import parse_query
from pushd.front.request import Request
from pushd.hub import Hub
from pushd.sse.session import EventSession, refuse_for_now


def serve_events(connection: HttpConnection, request: Request) -> None:
    """Begin the stream, or raise what is answered with a status: then an EventSource stops.

    So what passes is told in the stream, with the time to come again.
    """
    hub = connection.hub
    query = parse_query(request.query)
    named = query.get("device")
    named = None if named is None else check_device(named)
    check_connecting(hub, request)
    try:
        identity = _identify(connection, request, query.get("token"))
    except (NotReady, RateLimited) as error:
        refuse_for_now(connection, error, chunked=request.keep_alive)
        return
    device = device_of(identity, named)
    _make_room(hub, identity, device, query.get("replaces"))
    # Without keep-alive (HTTP/1.0, say) the end of the connection is the end of the stream.
    session = EventSession(
        connection, identity, device, _known(request), chunked=request.keep_alive
    )
    session.start([name for name in query.get("channels", "").split(",") if name])


def _identify(connection: HttpConnection, request: Request, token: str | None) -> Identity:
    """By the header, else by the address: an EventSource can set no header."""
    if token is None or b"authorization" in request.headers:
        return connection.caller.identify(request)
    identity = connection.caller.identify_by(request, token)
    if identity.is_service:
        # Addresses end up in the logs of proxies; a token expires, a key does not.
        raise Unauthorized("A key may not stand in an address, only in Authorization.")
    return identity


def _known(request: Request) -> dict[str, Cursor] | None:
    last = request.headers.get(b"last-event-id")
    return None if last is None else parse_id(last.decode("utf-8", "replace"))


def _make_room(hub: Hub, identity: Identity, device: str | None, replaces: str | None) -> None:
    """End the session that this one replaces. Raises DeviceConnected for one that lives on."""
    if identity.user is None:
        return
    same = [each for each in hub.sessions.of_user(identity.user) if each.device == device]
    for session in same:
        if session.id == replaces:
            session.bye(1000, "replaced")
        elif session.node is not None:
            continue  # its node may be dead: that shows late
        elif session.transport == "websocket" and device is not None and not session.closing:
            raise DeviceConnected(
                "This device has a WebSocket that lives.", extra={"session": session.id}
            )
