"""Fetching one small document from an address that the settings name.

Deliberately little: one GET, one plain answer 200. No redirect leads elsewhere, no proxy and no
credential is taken from wherever the process runs, nothing is unpacked, and nothing takes longer
or becomes larger than it may.
"""

from __future__ import annotations

import ssl
from functools import cache
from urllib.parse import SplitResult, urlsplit

import h11
import trio

from pushd import __version__
from pushd.errors import BadSetting

FETCH_S = 5.0  # from the name's look-up to the last byte
MAX_HEAD = 16 * 1024
READ_SIZE = 16 * 1024


async def fetch(url: str, max_bytes: int) -> bytes:
    """The body at ``url`` (http or https).

    Raises BadSetting, which names the host and the reason, when it is not to be had.
    """
    parts = urlsplit(url)
    reason = f"no whole answer within {FETCH_S:g} s"
    with trio.move_on_after(FETCH_S):
        try:
            stream = await _connect(parts)
            try:
                return await _get(stream, parts, max_bytes)
            finally:
                await trio.aclose_forcefully(stream)
        except h11.RemoteProtocolError:
            reason = "the answer is no proper HTTP"
        except trio.BrokenResourceError as error:
            reason = _describe(error.__cause__ or error)
        except (OSError, ssl.SSLError) as error:
            reason = _describe(error)
    raise BadSetting(f"{parts.netloc}: {reason}")


def _describe(error: BaseException) -> str:
    """Why a connection failed, in the words of the system: nothing that the other side sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    words = error.strerror if isinstance(error, OSError) else None
    return words or "cannot be reached"


async def _connect(parts: SplitResult) -> trio.abc.Stream:
    host = parts.hostname or ""
    if parts.scheme != "https":
        return await trio.open_tcp_stream(host, parts.port or 80)
    context = await trio.to_thread.run_sync(_context)
    # The handshake comes with the first bytes sent.
    return await trio.open_ssl_over_tcp_stream(
        host, parts.port or 443, https_compatible=True, ssl_context=context
    )


@cache
def _context() -> ssl.SSLContext:
    """The certificates of the system, so that an organisation's own are known here as elsewhere.

    Made in a thread: it reads all of them.
    """
    return ssl.create_default_context()


async def _get(stream: trio.abc.Stream, parts: SplitResult, max_bytes: int) -> bytes:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = [
        ("Host", parts.netloc),
        ("Accept", "application/jwk-set+json, application/json"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"pushd/{__version__}"),
        ("Connection", "close"),
    ]
    request = h11.Request(method="GET", target=target, headers=headers)
    await stream.send_all(connection.send(request) + connection.send(h11.EndOfMessage()))
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(READ_SIZE)))
        elif isinstance(event, h11.Response):
            _check(event, parts)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise BadSetting(f"{parts.netloc}: more than {max_bytes} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return body
        elif isinstance(event, h11.ConnectionClosed):
            raise BadSetting(f"{parts.netloc}: no answer")


def _check(response: h11.Response, parts: SplitResult) -> None:
    if response.status_code != 200:
        more = "; redirects are not followed" if 300 <= response.status_code < 400 else ""
        raise BadSetting(f"{parts.netloc}: status {response.status_code}{more}")
    for name, value in response.headers:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise BadSetting(f"{parts.netloc}: the answer is compressed")
