"""Taking a WebSocket over from the front: origin, token, upgrade."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import structlog
import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_server_stream,
)
from wsproto.utilities import ProtocolError

from pushd.auth import Authenticator
from pushd.core.frames import Auth, bye_frame, close_code, decode_client_frame
from pushd.core.names import check_device
from pushd.core.permissions import Identity
from pushd.core.responses import CLOSE, splice
from pushd.errors import (
    BadRequest,
    PushdError,
    Unauthorized,
    UpgradeRequired,
)
from pushd.front.caller import bearer
from pushd.front.connection import HttpConnection
from pushd.front.origins import check_connecting
from pushd.front.pulls import device_of
from pushd.front.query import parse_query
from pushd.front.request import Request
from pushd.handover import HandoverStream
from pushd.hook import Unasked
from pushd.hub import Hub
from pushd.ws.session import WebSocketSession, serve_session
from pushd.ws.telling import TellingConnection

SUBPROTOCOL = "pushd.v1"
TOKEN_PREFIX = "bearer."
HANDSHAKE_S = 10.0
CLOSE_S = 5.0

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")

log = structlog.get_logger("pushd.ws")


class Offer:
    """What a client brought with its upgrade. The token is taken out of everything else.

    ``shown``: of the headers those that the application is to see with the token. ``refusal``: what
    a client is told that brings no token after all.
    """

    __slots__ = (
        *("channels", "credential", "device", "in_address", "refusal", "shown", "subprotocol"),
    )

    def __init__(self, request: Request, authenticator: Authenticator) -> None:
        query = parse_query(request.query)
        device = query.get("device")
        self.device = None if device is None else check_device(device)
        self.channels = [name for name in query.get("channels", "").split(",") if name]
        offered = request.headers.get(b"sec-websocket-protocol", b"").decode("latin-1")
        protocols = [name.strip() for name in offered.split(",")]
        self.subprotocol = SUBPROTOCOL if SUBPROTOCOL in protocols else None
        self.credential = query.get("token")
        for name in protocols:
            if name.startswith(TOKEN_PREFIX):
                self.credential = name.removeprefix(TOKEN_PREFIX)
        header = request.headers.get(b"authorization")
        if header is not None:
            self.credential = bearer(header)
        self.in_address = self.credential is not None and self.credential == query.get("token")
        self.shown = authenticator.shown(request.headers)
        self.refusal: PushdError = Unauthorized("No token came in time.")

    async def identify(self, hub: Hub, address: str) -> Identity | PushdError | None:
        """None: nobody yet, the first frame must bring a token. Errors are told after the upgrade,
        because a browser shows no status of a refused one.

        What comes without a token may be known by its cookies. If not, or if nobody can tell now,
        the page may just happen to have some: then the first frame is waited for as well.
        """
        if self.credential is None and not self.shown:
            return None
        identity = await admit(hub, self.credential, self.shown, address)
        if isinstance(identity, PushdError):
            if self.credential is not None:
                return identity
            if identity.status != 401:
                self.refusal = identity
            return None
        if self.in_address and identity.is_service:
            # Addresses end up in the logs of proxies; a token expires, a key does not.
            return Unauthorized("A key may not stand in an address, only in Authorization.")
        return identity


async def admit(
    hub: Hub, credential: str | None, shown: Mapping[bytes, bytes], address: str
) -> Identity | PushdError:
    """Who it is, or why nobody. Waits where the application has to tell."""
    try:
        return hub.authenticator.identify(credential, time.time(), shown, address)
    except PushdError as error:
        return error
    except Unasked as unasked:
        question = unasked.question
    try:
        return await question.answered()
    except PushdError as error:
        return error


def _canonical(request: Request, offer: Offer) -> bytes:
    """The upgrade as trio-websocket shall see it: nothing of the client's but the checked key.

    wsproto decodes what it reads, Host as IDNA, and fails without an answer where it cannot.
    """
    lines = [
        b"GET / HTTP/1.1",
        b"host: localhost",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: " + request.headers[b"sec-websocket-key"],
    ]
    if offer.subprotocol is not None:
        lines.append(b"sec-websocket-protocol: " + offer.subprotocol.encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def serve_websocket(connection: HttpConnection) -> None:
    """The engine that the front hands ``/v1/ws`` to. Returns when the connection is over."""
    hub = connection.hub
    request = connection.take_handed()
    try:
        hub.check_load()
        offer = Offer(request, hub.authenticator)
        _check_version(request)
        check_connecting(hub, request)
        if connection.leftover:
            # The library would look at them only when more came.
            raise BadRequest("A client must wait for the upgrade before it sends frames.")
    except PushdError as error:
        hub.counters.errors[error.code] += 1
        extra = b"Sec-WebSocket-Version: 13\r\n" if error.status == 426 else b""
        connection.out.write(splice(hub.responses.problem(error, extra), CLOSE))
        return
    stream = HandoverStream(connection.out, _canonical(request, offer))
    connection.out.on_drained = stream.drained
    del request
    await _upgraded(hub, connection, offer, stream)


def _check_version(request: Request) -> None:
    """What the library would refuse without a word (RFC 6455, 4.2.1)."""
    if request.headers.get(b"sec-websocket-version") != b"13":
        raise UpgradeRequired("Only WebSocket version 13 is served.")
    key = request.headers.get(b"sec-websocket-key", b"")
    if not _KEY.fullmatch(key):
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64.")


async def _upgraded(
    hub: Hub, connection: HttpConnection, offer: Offer, stream: HandoverStream
) -> None:
    """One nursery per connection; whatever escapes the library, or is our fault, ends here."""
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(HANDSHAKE_S):
                wanted = await wrap_server_stream(
                    nursery, stream, max_message_size=hub.settings.max_body
                )
                websocket = await wanted.accept(subprotocol=offer.subprotocol)
            del wanted
            _forget_handshake(websocket)
            hub.counters.handshakes += 1
            await _serve(hub, connection, offer, stream, websocket, nursery)
            nursery.cancel_scope.cancel()
    except* (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the peer left, at whatever moment
    except* trio.TooSlowError:
        log.debug("websocket handshake timed out", address=connection.address)
    except* (HandshakeError, ProtocolError, OSError) as errors:
        # Refused handshakes, and peers that break the protocol.
        log.debug("websocket ended", address=connection.address, error=repr(errors.exceptions[0]))
    except* Exception:
        log.exception("websocket failed", address=connection.address)


def _forget_handshake(websocket: WebSocketConnection) -> None:
    """Let the finished handshake go (an h11 connection, 3 kB a session).

    Internals of trio-websocket 0.12.2 and wsproto 1.3.2: after the upgrade, wsproto's outer object
    only passes on to the inner one, which has the same methods.
    """
    inner = websocket._wsproto.connection
    if inner is not None:
        inner.__class__ = TellingConnection
        websocket._wsproto = inner  # type: ignore[assignment]


async def _serve(
    hub: Hub,
    connection: HttpConnection,
    offer: Offer,
    stream: HandoverStream,
    websocket: WebSocketConnection,
    nursery: trio.Nursery,
) -> None:
    identity = await offer.identify(hub, connection.address)
    if identity is None:
        identity = await _greeting(hub, connection, websocket, offer)
    if not isinstance(identity, PushdError):
        try:
            device = device_of(identity, offer.device)
        except PushdError as error:
            identity = error
    if isinstance(identity, PushdError):
        await refuse(connection, websocket, identity)
        return
    channels, offer.channels, offer.credential = offer.channels, [], None
    session = WebSocketSession(hub, identity, device, connection, stream, websocket, nursery)
    session.shown = offer.shown
    await serve_session(session, channels)


async def _greeting(
    hub: Hub, connection: HttpConnection, websocket: WebSocketConnection, offer: Offer
) -> Identity | PushdError:
    """Until the token comes, the connection is one of those that keep quiet."""
    try:
        connection.greetings.enter(connection.address)
    except PushdError as error:
        return error
    try:
        token = await _first_frame(hub, websocket, offer)
    except PushdError as error:
        return error
    finally:
        connection.greetings.leave(connection.address)
    return await admit(hub, token, offer.shown, connection.address)


async def _first_frame(hub: Hub, websocket: WebSocketConnection, offer: Offer) -> str:
    """``{"type":"auth","token":…}`` must be the first frame, and come in time: the token.

    Raises Unauthorized, or what else there is to say to a client that brings none.
    """
    with trio.move_on_after(hub.settings.auth_timeout):
        text = await websocket.get_message()
        try:
            frame = decode_client_frame(text if isinstance(text, str) else "")
        except BadRequest:
            frame = None
        if not isinstance(frame, Auth):
            raise Unauthorized("The first frame must be 'auth' with a token.")
        return frame.token
    raise offer.refusal


async def refuse(
    connection: HttpConnection, websocket: WebSocketConnection, error: PushdError
) -> None:
    """Say why, then close."""
    code = close_code(error)
    connection.hub.counters.errors[error.code] += 1
    retry_ms = (error.retry_after or 0) * 1000
    connection.out.write(bye_frame(code, error.code, retry_ms))
    with trio.move_on_after(CLOSE_S):
        await websocket.aclose(code, error.code)
