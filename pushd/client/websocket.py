"""The WebSocket that carries hints, as a ``hints.Link``."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import h11
import trio
import trio_websocket
from wsproto.utilities import ProtocolError

from pushd.client.groups import one_exception
from pushd.client.link import Link, LinkLost
from pushd.client.problems import parse_retry_after

SUBPROTOCOL: Final = "pushd.v1"
_CONNECT_S: Final = 10.0
_ANSWER_S: Final = 10.0  # to the handshake
_DISCONNECT_S: Final = 1.0
# The library stops reading, pongs included, while this many messages are unread.
_QUEUED: Final = 256
_MOST_FRAME_BYTES: Final = 1 << 20
# The server takes 16 KiB of request head; a token takes its share.
_MOST_QUERY_CHARS: Final = 6000

# It logs each frame; a token travels in a header, but nobody asked for this noise either.
logging.getLogger("trio-websocket").setLevel(logging.WARNING)


_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class _WebSocketLink:
    two_way = True

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def receive(self) -> str:
        while True:
            try:
                message = await self._connection.get_message()
            except trio_websocket.ConnectionClosed as closed:
                raise _lost(closed) from None
            if isinstance(message, str):
                return message

    async def send(self, text: str) -> None:
        try:
            await self._connection.send_message(text)
        except trio_websocket.ConnectionClosed as closed:
            raise _lost(closed) from None


def _lost(closed: trio_websocket.ConnectionClosed) -> LinkLost:
    reason = closed.reason
    if reason is None or reason.code == 1006:
        return LinkLost("the connection broke")
    return LinkLost(reason.reason or f"closed with code {reason.code}", reason.code)


def split_channels(channels: list[str]) -> tuple[list[str], list[str]]:
    """Those that fit into the address, and those that have to be subscribed by a frame."""
    size = 0
    for index, channel in enumerate(channels):
        size += len(quote(channel, safe=":")) + 1
        if size > _MOST_QUERY_CHARS:
            return channels[:index], channels[index:]
    return channels, []


def websocket_url(url: str, channels: list[str], device: str | None) -> str:
    """``ws(s)://…/v1/ws?channels=a,b&device=D`` for the server at ``url``."""
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    path = parts.path.rstrip("/") + "/v1/ws"
    return urlunsplit((scheme, parts.netloc, path, hint_query(channels, device), ""))


def hint_query(channels: list[str], device: str | None, replaces: str | None = None) -> str:
    """``channels=a,b&device=D&replaces=S``: what is left out is not named."""
    named = ",".join(quote(channel, safe=":") for channel in channels)
    given = {"channels": named, "device": device and quote(device, safe="")}
    given["replaces"] = replaces and quote(replaces, safe="")
    return "&".join(f"{name}={text}" for name, text in given.items() if text)


@asynccontextmanager
async def open_link(url: str, headers: Mapping[str, str]) -> AsyncIterator[Link]:
    """Connect, yield the link, close. Raises LinkLost for whatever the network or library does."""
    with _only_lost():
        with trio.fail_after(_CONNECT_S):
            stream, host, resource = await _open_stream(url)
        # The library leaves the socket open when the server closes first: this one is ours.
        try:
            async with trio.open_nursery() as nursery:
                with _answer_in_time():
                    connection = await trio_websocket.wrap_client_stream(
                        nursery,
                        stream,
                        host,
                        resource,
                        subprotocols=[SUBPROTOCOL],
                        extra_headers=[(n.encode(), v.encode()) for n, v in headers.items()],
                        message_queue_size=_QUEUED,
                        max_message_size=_MOST_FRAME_BYTES,
                    )
                if connection.subprotocol != SUBPROTOCOL:
                    raise LinkLost("the server does not speak pushd.v1", blocked=True)
                yield _WebSocketLink(connection)
                with trio.move_on_after(_DISCONNECT_S):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)


async def _open_stream(url: str) -> tuple[_Stream, str, str]:
    """A stream to the server, its name for the Host header, and what to ask it for."""
    parts = urlsplit(url)
    host, resource = parts.hostname or "", f"{parts.path}?{parts.query}".removesuffix("?")
    if parts.scheme == "ws":
        plain = await trio.open_tcp_stream(host, parts.port or 80)
        return plain, parts.netloc, resource
    secure = await trio.open_ssl_over_tcp_stream(
        host, parts.port or 443, ssl_context=ssl.create_default_context(), https_compatible=True
    )
    return secure, parts.netloc, resource


@contextmanager
def _answer_in_time() -> Iterator[None]:
    """Whoever takes a connection and says nothing may be a proxy that knows no WebSockets."""
    try:
        with trio.fail_after(_ANSWER_S):
            yield
    except trio.TooSlowError:
        raise LinkLost("the WebSocket was not answered in time", blocked=True) from None


@contextmanager
def _only_lost() -> Iterator[None]:
    try:
        with one_exception():
            yield
    except trio_websocket.ConnectionRejected as refused:
        raise _rejected(refused) from None
    except trio.TooSlowError:
        raise LinkLost("the server did not answer in time") from None
    except OSError as cause:
        raise LinkLost(f"no connection: {cause.strerror or cause}") from None
    except (
        trio_websocket.ConnectionClosed,
        trio.BrokenResourceError,
        trio.ClosedResourceError,
        # Escape from the library when the peer dies or closes at the wrong moment, or answers the
        # handshake with what is none: then it tries to refuse that, which no client can.
        ProtocolError,
        h11.ProtocolError,
    ):
        raise LinkLost("the connection broke", blocked=True) from None


def _rejected(refused: trio_websocket.ConnectionRejected) -> LinkLost:
    headers = {name.lower(): value for name, value in refused.headers or ()}
    retry_after = parse_retry_after(headers.get(b"retry-after", b"").decode("latin-1"))
    status = refused.status_code
    return LinkLost(
        f"the WebSocket was refused with HTTP {status}",
        4001 if status == 401 else None,
        retry_after,
        # Those two mean "later", and another transport would only add to the crowd.
        blocked=status not in (401, 429, 503),
    )
