"""No credential is ever logged, however it came, right or wrong, and however much is logged."""

from __future__ import annotations

import contextlib
from pathlib import Path

import trio

from tests.support.server import ServerProcess
from tests.support.websocket import Closed, WebSocket
from tests.support.wire import ConnectionLost, Http, Wire

PATHS = [
    "/v1/channels/news/messages?after=0",
    "/v1/channels/news/messages?after=nonsense",
    "/v1/channels/user:alice/messages?wait=0",
    "/v1/pull",
    "/v1/events?channels=news",
    "/v1/stats",
    "/nowhere",
    "/metrics",
    "/v1/ws",
]


def spoilt(server: ServerProcess, user: str) -> str:
    """A token whose signature is wrong; whoever tries one may have a right one nearly the same."""
    token = server.token(user)
    token = token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB")
    server.secrets.append(token)
    return token


async def show_over_http(server: ServerProcess, token: str) -> None:
    """In the header and, where it must not be, in the query."""
    for path in PATHS:
        for target in (path, f"{path}{'&' if '?' in path else '?'}token={token}"):
            async with await Http.open(server.address) as http:
                answer = await http.get(target, token)
                assert token.encode() not in answer.head + answer.body


async def show_malformed(server: ServerProcess, token: str) -> None:
    """In requests that are refused before anybody looks at the token."""
    for request in (
        f"GET /x?token={token} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n",
        f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\nAuthorization: {token}\r\n\r\n",
        f"BREW /{token} HTTP/1.1\r\nHost: a\r\n\r\n",
        f"\x01{token}\r\n\r\n",
        f"GET /v1/ws?device=a/b&token={token} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Protocol: bearer.{token}\r\n\r\n",
        f"GET /elsewhere?token={token} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\n\r\n",
    ):
        async with await Wire.open(server.address) as wire:
            await wire.write(request.encode())
            assert token.encode() not in await wire.read_to_end()


async def show_over_websocket(server: ServerProcess, token: str) -> None:
    """In all ways; each session ends by a frame that makes the server complain."""
    ways: list[tuple[str, str | None, str]] = [
        ("/v1/ws", token, ""),
        (f"/v1/ws?token={token}", None, ""),
        ("/v1/ws", None, f"Authorization: Bearer {token}\r\n"),
        ("/v1/ws", None, ""),
    ]
    for target, subprotocol, header in ways:
        with contextlib.suppress(Closed, ConnectionLost):
            async with await WebSocket.open(server.address) as socket:
                await socket.upgrade(target, token=subprotocol, header=header)
                await socket.send({"type": "auth", "token": token})
                await socket.send({"type": "refresh", "token": token})
                await socket.send({"type": token, "channel": token})
                await socket.send_frame(2, token.encode())
                await socket.send_frame(5, token.encode())  # no such opcode: it is cut
                while True:
                    await socket.message()


async def test_no_credential_is_logged_even_when_everything_is(tmp_path: Path) -> None:
    """``ServerProcess`` scans the log at its end, for these and for the signatures alone."""
    async with ServerProcess(tmp_path, log_level="debug") as server:
        for token in (server.token("alice"), spoilt(server, "bob"), server.token("eve", ttl_s=-9)):
            with trio.fail_after(60):
                await show_over_http(server, token)
                await show_malformed(server, token)
                await show_over_websocket(server, token)
        await server.kill()
        assert server.log()
