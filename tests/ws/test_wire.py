"""Frames byte by byte (RFC 6455): odd but right ones work, wrong ones end that one session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.app import Server, Socket, running_server, until
from tests.support.http import ConnectionLost
from tests.support.sessions import ask, session
from tests.support.websocket import CLOSE, PING, PONG, TEXT, Closed

CONTINUATION = 0


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


def fragments(payload: bytes, size: int) -> bytes:
    """A text message in pieces of this size."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if at else TEXT, part, final=at == last) for at, part in enumerate(parts)
    )


PING_FRAME = b'{"type":"ping","pad":"%b"}' % ("ü" * 50).encode()


@pytest.mark.parametrize("size", [1, 2, 7, 50, 1000])
async def test_a_message_in_fragments(server: Server, size: int) -> None:
    async with session(server) as socket:
        await socket.write(fragments(PING_FRAME, size) + frame(TEXT, b'{"type":"ping"}'))
        for _ in range(2):
            await socket.expect("pong")


async def test_control_frames_between_fragments(server: Server) -> None:
    async with session(server) as socket:
        await socket.write(frame(TEXT, b'{"type":', final=False))
        await socket.write(frame(PING, b"between"))
        await socket.write(frame(CONTINUATION, b'"ping"}'))
        assert await socket.frame() == (PONG, b"between")
        await socket.expect("pong")


@pytest.mark.parametrize("step", [1, 3])
async def test_a_frame_in_small_packets(server: Server, step: int) -> None:
    data = frame(TEXT, PING_FRAME) + frame(PING, b"x")
    async with session(server) as socket:
        for at in range(0, len(data), step):
            await socket.write(data[at : at + step])
        await socket.expect("pong")
        assert await socket.frame() == (PONG, b"x")


async def test_many_frames_in_one_packet(server: Server) -> None:
    async with session(server) as socket:
        await socket.write(frame(TEXT, b'{"type":"ping"}') * 500)
        for _ in range(500):
            await socket.expect("pong")


async def test_empty_fragments(server: Server) -> None:
    async with session(server) as socket:
        await socket.write(frame(TEXT, b'{"type":"ping"', final=False))
        await socket.write(frame(CONTINUATION, final=False) * 1000)
        await socket.write(frame(CONTINUATION, b"}"))
        await socket.expect("pong")


WRONG: dict[str, bytes] = {
    "unmasked": frame(TEXT, b"{}", masked=False),
    "rsv1": frame(TEXT, b"{}", rsv=4),
    "rsv2": frame(TEXT, b"{}", rsv=2),
    "rsv3": frame(PING, b"", rsv=1),
    **{f"opcode {code}": frame(code, b"") for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragmented ping": frame(PING, b"a", final=False),
    "fragmented close": frame(CLOSE, b"", final=False),
    "long ping": frame(PING, b"x" * 126),
    "long close": frame(CLOSE, b"\x03\xe8" + b"x" * 124),
    "length 2^63-1": frame(TEXT, b"x" * 70_000, length=b"\x7f" + (2**63 - 1).to_bytes(8, "big")),
    "length 2^63": frame(TEXT, b"{}", length=b"\x7f" + (2**63).to_bytes(8, "big")),
    "length of 3 bytes for 2": frame(TEXT, b"{}", length=b"\x7e\x00\x02"),
    "length of 9 bytes for 2": frame(TEXT, b"{}", length=b"\x7f" + (2).to_bytes(8, "big")),
    "continuation of nothing": frame(CONTINUATION, b"{}"),
    "text within a text": frame(TEXT, b"{", final=False) + frame(TEXT, b"}"),
    "no utf-8": frame(TEXT, b'{"a":"\xff"}'),
    "overlong utf-8": frame(TEXT, b"\xc0\xaf"),
    "surrogate in utf-8": frame(TEXT, b"\xed\xa0\x80"),
    "half a character at the end": frame(TEXT, b'{"type":"ping"}\xc3'),
    "no utf-8 across fragments": frame(TEXT, b"\xc3", final=False) + frame(CONTINUATION, b"\x28"),
    **{
        f"close code {code}": frame(CLOSE, code.to_bytes(2, "big"))
        for code in (0, 999, 1004, 1005, 1006, 1015, 5000, 65535)
    },
    "close with half a code": frame(CLOSE, b"\x03"),
    "close without utf-8": frame(CLOSE, b"\x03\xe8\xff"),
    "no frame at all": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}


async def ended(socket: Socket) -> int | None:
    """The code of the bye or close frame with which the session ended, or None for neither."""
    code = None
    try:
        while True:
            message = await socket.message()
            assert message["type"] == "bye", message
            code = message["code"]
    except Closed as closed:
        return closed.code
    except ConnectionLost:
        return code


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_frame_ends_that_session_and_no_other(server: Server, name: str) -> None:
    async with session(server) as socket, session(server) as other:
        await socket.write(WRONG[name])
        code = await ended(socket)
        assert code in (None, 1002, 1007, 1009), name
        await until(lambda: len(server.hub.sessions.by_id) == 1)
        assert (await ask(other, "ping"))["type"] == "pong"
    assert server.hub.counters.frames_in <= 2


async def test_what_comes_after_a_close_is_not_served(server: Server) -> None:
    publish = {"type": "publish", "to": {"all": True}, "message": {"data": 1}}
    async with session(server, publish=["all"]) as socket:
        await socket.write(
            frame(CLOSE, b"\x03\xe8") + frame(TEXT, json.dumps(publish).encode()) + b"\xff" * 10
        )
        assert (await socket.frame())[0] == CLOSE
        await socket.read_to_end()
    await until(lambda: not server.hub.connections)
    assert server.hub.log.heads == {}


@pytest.mark.parametrize("size", [1, 100])
async def test_fragments_beyond_the_limit(tmp_path: Path, size: int) -> None:
    async with running_server(tmp_path, max_body=2048) as server, session(server) as socket:
        await socket.write(fragments(b'"' + b"x" * 2100 + b'"', size)[:-1])
        assert await ended(socket) == 1009
        await until(lambda: not server.hub.sessions.by_id)


async def test_a_message_without_end(tmp_path: Path) -> None:
    """Empty fragments cost memory, too: they are not taken for ever."""
    async with running_server(tmp_path, max_body=2048) as server, session(server) as socket:
        with pytest.raises(ConnectionLost):
            await _endless(socket)
        await until(lambda: not server.hub.sessions.by_id)


async def _endless(socket: Socket) -> None:
    await socket.write(frame(TEXT, b"{", final=False))
    for _ in range(300):
        await socket.write(frame(CONTINUATION, final=False) * 10_000)
    raise AssertionError("three million fragments were taken")
