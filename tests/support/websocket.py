"""A WebSocket client of a few lines (RFC 6455), so that a test can also be rude or silent."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

import msgspec

from tests.support.wire import Wire

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Closed(Exception):
    """The server's close frame. ``code`` 1005: it had none."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class WebSocket(Wire):
    """``message`` behaves as a client should; ``frame`` and ``send_frame`` do only what is said."""

    async def upgrade(self, target: str, *, token: str | None = None, header: str = "") -> None:
        """``token`` as subprotocol; ``header``: complete further lines. ConnectionLost if not."""
        key = base64.b64encode(os.urandom(16))
        protocols = "pushd.v1" if token is None else f"pushd.v1, bearer.{token}"
        await self.write(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\n"
            f"Sec-WebSocket-Protocol: {protocols}\r\n{header}\r\n".encode()
        )
        head = await self.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
        assert b": " + accept + b"\r\n" in head, head
        assert b"bearer" not in head

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. Servers send them whole and unmasked."""
        first, second = await self.read_exactly(2)
        assert first & 0x70 == 0, "a reserved bit is set"
        assert first & 0x80, "the server does not fragment"
        length = second
        if length == 126:
            length = int.from_bytes(await self.read_exactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.read_exactly(8), "big")
        return first & 0x0F, await self.read_exactly(length)

    async def send_frame(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        size = len(payload)
        if size < 126:
            head = bytes([0x80 | opcode, 0x80 | size])
        elif size < 65536:
            head = bytes([0x80 | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
        await self.write(head + mask + masked)

    async def send(self, value: object) -> None:
        await self.send_frame(TEXT, msgspec.json.encode(value))

    async def message(self) -> dict[str, Any]:
        """The next JSON message; pings are answered. Raises Closed after answering that, too."""
        while True:
            opcode, payload = await self.frame()
            if opcode == PING:
                await self.send_frame(PONG, payload)
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big") if payload else 1005
                await self.send_frame(CLOSE, payload[:2])
                raise Closed(code, payload[2:].decode())
            elif opcode == TEXT:
                value: dict[str, Any] = msgspec.json.decode(payload)
                return value

    async def leave(self) -> None:
        """Say goodbye and hang up, without waiting for the answer."""
        await self.send_frame(CLOSE, (1000).to_bytes(2, "big"))
        self.close()
