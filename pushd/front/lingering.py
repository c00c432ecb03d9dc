"""After the last words of an engine: what the peer still sends is read, and nobody looks at it.

Closed with bytes unread, the system resets the connection, and the words may not arrive.
"""

from __future__ import annotations

import socket

import trio

from pushd.front.patience import LINGER_S

MOST_BYTES = 1 << 20
READ_SIZE = 65536


async def read_away(sock: socket.socket) -> None:
    """Until the peer closes, for a short while, and only so much."""
    left = MOST_BYTES
    with trio.move_on_after(LINGER_S):
        while left > 0:
            try:
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                continue
            except (OSError, trio.ClosedResourceError):
                return
            if not data:
                return
            left -= len(data)
