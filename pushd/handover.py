"""A connection that the front hands to another engine, as a Trio stream.

Receiving replays the bytes that were already read (or made canonical) first; sending goes through
the connection's one outgoing side, so nothing can be put in the middle of a frame.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

from pushd.outgoing import Outgoing

READ_SIZE = 65536


class HandoverStream(trio.abc.Stream):
    """``on_bytes`` is called whenever the peer is heard. ``one_way`` drops what comes after."""

    def __init__(
        self,
        out: Outgoing,
        replay: bytes,
        on_bytes: Callable[[], None] | None = None,
        *,
        one_way: bool = False,
    ) -> None:
        self._sock: socket.socket = out.sock
        self._out = out
        self._replay = replay
        self.on_bytes = on_bytes
        self._one_way = one_way
        self._drained: trio.Event | None = None

    def drained(self) -> None:
        """The socket took everything: whoever waits in ``send_all`` may go on."""
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Returns when the socket has taken the bytes. Cancelled meanwhile, they still go out."""
        await trio.lowlevel.checkpoint()
        if self._out.closed:
            raise trio.BrokenResourceError("the connection is gone")
        if not self._out.write(bytes(data)):
            await self.wait_send_all_might_not_block()

    async def wait_send_all_might_not_block(self) -> None:
        """Until the socket has taken everything. Raises BrokenResourceError."""
        while self._out.tail_bytes and not self._out.closed:
            if self._drained is None:
                self._drained = trio.Event()
            # The flusher's deadline ends this: it drains the tail or aborts the connection.
            await self._drained.wait()
        if self._out.closed:
            raise trio.BrokenResourceError("the peer took no bytes in time")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What was read already, then what comes; nothing at the end."""
        if self._replay:
            await trio.lowlevel.checkpoint()
            most = len(self._replay) if max_bytes is None else max_bytes
            data, self._replay = self._replay[:most], self._replay[most:]
            return data
        while not self._out.closed:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                data = self._sock.recv(max_bytes or READ_SIZE)
            except (BlockingIOError, InterruptedError):
                continue
            except trio.ClosedResourceError:
                continue
            except OSError as error:
                self._out.failed(error)
                return b""
            if self._one_way and data:
                continue
            if self.on_bytes is not None:
                self.on_bytes()
            return data
        return b""

    async def send_eof(self) -> None:
        """Say that nothing more will be sent; the peer may still send."""
        await trio.lowlevel.checkpoint()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._out.abort()

    async def aclose(self) -> None:
        """Nothing more goes out, and whoever still reads sees the end: the peer may never close."""
        self._out.finish()
        self.drained()
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
        await trio.lowlevel.checkpoint()
