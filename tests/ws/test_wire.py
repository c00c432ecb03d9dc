"""Frames byte by byte (RFC 6455): odd but right ones work. Wrong ones: ``tests/hostile``."""

from __future__ import annotations

from pathlib import Path

import pytest
from wsproto.connection import ConnectionType
from wsproto.events import TextMessage

from pushd.ws.telling import TellingConnection
from tests.support.app import Server, Socket, running_server, until
from tests.support.frames import CONTINUATION, fragments, frame
from tests.support.http import ConnectionLost
from tests.support.sessions import session
from tests.support.websocket import PING, PONG, TEXT, Closed

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


@pytest.mark.parametrize(("count", "taken"), [(1024, True), (1025, False)])
async def test_as_many_fragments_as_allowed_and_one_more(
    server: Server, count: int, taken: bool
) -> None:
    payload = b'{"type":"ping","pad":"%b"}' % (b"x" * 2000)
    async with session(server) as socket:
        data = fragments(payload[: count - 1], 1, end=False)
        await socket.write(data + frame(CONTINUATION, payload[count - 1 :]))
        if taken:
            await socket.expect("pong")
        else:
            with pytest.raises(Closed) as closed:
                await socket.message()
            assert closed.value.code == 1009


def test_a_frame_may_come_in_any_number_of_pieces() -> None:
    """Over a bad line a byte at a time: they are no fragments."""
    connection = TellingConnection(ConnectionType.SERVER)
    data, text = frame(TEXT, b"x" * 3000), ""
    for at in range(len(data)):
        connection.receive_data(data[at : at + 1])
        for event in connection.events():
            assert isinstance(event, TextMessage)
            text += event.data
    assert text == "x" * 3000


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
