"""WebSocket frames as bytes, right or wrong in every way (RFC 6455, 5.2)."""

from __future__ import annotations

from tests.support.websocket import TEXT

CONTINUATION, BINARY = 0, 2


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """``length``: the length field as it is to be, without the mask bit."""
    if length is None:
        size = len(payload)
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    first = (0x80 if final else 0) | rsv << 4 | opcode
    second = length[0] | (0x80 if masked else 0)
    mask = b"\0\0\0\0" if masked else b""
    return bytes([first, second]) + length[1:] + mask + payload


def fragments(payload: bytes, size: int, *, end: bool = True) -> bytes:
    """A text message in pieces of this size; without ``end`` more is to come."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(parts) - 1 if end else -1
    return b"".join(
        frame(CONTINUATION if at else TEXT, part, final=at == last) for at, part in enumerate(parts)
    )
