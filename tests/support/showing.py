"""Shows the server a credential in every way that there is, right or wrong."""

from __future__ import annotations

import contextlib

import msgspec

from tests.support.server import ServerProcess
from tests.support.websocket import Closed, WebSocket
from tests.support.wire import KEY, ConnectionLost, Http, Wire

PATHS = [
    "/v1/channels/news/messages?after=0",
    "/v1/channels/news/messages?after=nonsense",
    "/v1/channels/user:alice/messages?wait=0",
    "/v1/pull",
    "/v1/inbox",
    "/v1/stats",
    "/nowhere",
    "/metrics",
    "/v1/ws",
]
POSTS = ["/v1/publish", "/v1/channels/news/messages", "/v1/call", "/v1/ack", "/v1/groups/g/members"]


def spoilt(server: ServerProcess, user: str) -> str:
    """A token whose signature is wrong; whoever tries one may have a right one nearly the same."""
    token = server.token(user)
    token = token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB")
    server.secrets.append(token)
    return token


async def show(server: ServerProcess, token: str) -> None:
    """In all ways, and none of them may bring it back."""
    await _over_http(server, token)
    await _in_a_stream(server, token)
    await _malformed(server, token)
    await _over_websocket(server, token)


async def _over_http(server: ServerProcess, token: str) -> None:
    """In the header and, where it must not be, in the query."""
    for path in PATHS:
        for target in (path, f"{path}{'&' if '?' in path else '?'}token={token}"):
            async with await Http.open(server.address) as http:
                answer = await http.get(target, token)
                assert token.encode() not in answer.head + answer.body
    for path in POSTS:
        for body in (b"{", b'{"token":"%b"}' % token.encode()):
            async with await Http.open(server.address) as http:
                answer = await http.request("POST", path, token, body)
                assert token.encode() not in answer.head


async def _in_a_stream(server: ServerProcess, token: str) -> None:
    for head in (f"?token={token} HTTP/1.1\r\n", f" HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"):
        async with await Wire.open(server.address) as wire:
            await wire.write(f"GET /v1/events{head}Host: a\r\n\r\n".encode())
            assert token.encode() not in await wire.read_until(b"}")


async def _malformed(server: ServerProcess, token: str) -> None:
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


async def _over_websocket(server: ServerProcess, token: str) -> None:
    """Each session ends by a frame that makes the server complain."""
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
                shown = {"token": token}
                await socket.send({"type": "call", "id": "1", "name": "fails", "data": shown})
                await socket.send({"type": token, "channel": token})
                await socket.send_frame(2, token.encode())
                await socket.send_frame(5, token.encode())  # no such opcode: it is cut
                while True:
                    await socket.message()


async def all_that_is_listed(server: ServerProcess) -> str:
    """Every answer that operators can have about alice, the numbers, and the pages, as one text."""
    async with await Http.open(server.address) as http:
        described = await http.get("/openapi.json", KEY)
    found = ""
    examples = {"user": "alice", "channel": "news", "session": "x", "group": "g"}
    for path, operations in msgspec.json.decode(described.body)["paths"].items():
        if "get" not in operations or path.endswith(("/ws", "/events")):
            continue
        async with await Http.open(server.address) as http:
            answer = await http.get(path.format_map(examples), KEY)
            found += f"{path} {answer.status}\n{answer.body.decode()}\n"
    return found
