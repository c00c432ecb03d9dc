"""A connection to another node, within a deadline; of one that is not made, nothing is left."""

from __future__ import annotations

import errno
import ssl
from functools import cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import trio

CONNECT_S: Final = 5.0  # with the handshake


class Dialed(NamedTuple):
    """``transport``: what ``stream`` runs over. Its socket closed, both are, without a wait."""

    transport: trio.SocketStream
    stream: trio.abc.Stream


async def dial(url: str, context: ssl.SSLContext | None = None) -> Dialed:
    """``url``: http or https. ``context``: whom to trust; None: as the system does.

    Raises OSError, also when it takes too long, or BrokenResourceError.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if secure and context is None:
        context = await trio.to_thread.run_sync(_context)
    with trio.move_on_after(CONNECT_S):
        transport = await trio.open_tcp_stream(host, port)
        if not secure or context is None:
            return Dialed(transport, transport)
        try:
            stream = trio.SSLStream(transport, context, server_hostname=host, https_compatible=True)
            await stream.do_handshake()
        except BaseException:
            transport.socket.close()
            raise
        return Dialed(transport, stream)
    raise TimeoutError(errno.ETIMEDOUT, f"no connection within {CONNECT_S:.3g} s")


@cache
def _context() -> ssl.SSLContext:
    """The certificates of the system. Made in a thread: it reads all of them."""
    return ssl.create_default_context()
