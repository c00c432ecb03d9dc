"""The hint link over real sockets, with trio-websocket's own server at the other end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import trio
from trio_websocket import WebSocketRequest, serve_websocket

from pushd.client.link import LinkLost
from pushd.client.websocket import open_link, split_channels, websocket_url
from pushd.core.names import MAX_CHANNEL_BYTES
from tests.support.refusing import nobody_listens

Handler = Callable[[WebSocketRequest], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The base URL of a WebSocket server."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, handler, "127.0.0.1", 0, ssl_context=None)
        )
        yield f"http://127.0.0.1:{server.port}/prefix"
        nursery.cancel_scope.cancel()


async def test_address_header_and_subprotocol_arrive() -> None:
    seen: list[WebSocketRequest] = []

    async def handler(request: WebSocketRequest) -> None:
        seen.append(request)
        connection = await request.accept(subprotocol="pushd.v1")
        await connection.send_message(await connection.get_message())

    async with serving(handler) as url:
        target = websocket_url(url, ["#ubuntu", "user:bob"], "dev&1")
        async with open_link(target, {"Authorization": "Bearer tok"}) as link:
            await link.send("hello")
            assert await link.receive() == "hello"
    (request,) = seen
    assert request.path == "/prefix/v1/ws?channels=%23ubuntu,user:bob&device=dev%261"
    assert request.proposed_subprotocols == ("pushd.v1",)
    assert (b"authorization", b"Bearer tok") in [
        (name.lower(), value) for name, value in request.headers
    ]


@pytest.mark.parametrize("code", [1000, 1012, 4001, 4009])
async def test_a_close_brings_code_and_reason(code: int) -> None:
    async def handler(request: WebSocketRequest) -> None:
        connection = await request.accept(subprotocol="pushd.v1")
        await connection.aclose(code, "because")

    async with serving(handler) as url, open_link(websocket_url(url, ["a"], None), {}) as link:
        with pytest.raises(LinkLost) as lost:
            await link.receive()
    assert (lost.value.code, lost.value.reason) == (code, "because")


async def lost_at(url: str) -> LinkLost:
    """Why there is no link."""
    with pytest.raises(LinkLost) as lost:
        async with open_link(websocket_url(url, ["a"], None), {}):
            raise AssertionError("linked")
    return lost.value


@pytest.mark.parametrize(
    ("status", "blocked"),
    [*((at, True) for at in (400, 403, 404, 426, 500, 502)), (401, False), (429, False)],
)
async def test_a_refused_handshake_may_be_that_of_a_proxy(status: int, blocked: bool) -> None:
    """Then another transport may get through; it does no good where the server itself refuses."""

    async def handler(request: WebSocketRequest) -> None:
        await request.reject(status)

    async with serving(handler) as url:
        lost = await lost_at(url)
    assert str(status) in lost.reason
    assert (lost.blocked, lost.code) == (blocked, 4001 if status == 401 else None)


async def test_a_refused_handshake_tells_status_and_delay() -> None:
    async def handler(request: WebSocketRequest) -> None:
        await request.reject(503, extra_headers=[(b"Retry-After", b"9")], body=b"full")

    async with serving(handler) as url:
        lost = await lost_at(url)
    assert "503" in lost.reason
    assert (lost.retry_after_s, lost.blocked) == (9, False)


@pytest.mark.parametrize(
    "said", [None, b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"]
)
async def test_no_answer_to_the_handshake_may_be_that_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch, said: bytes | None
) -> None:
    monkeypatch.setattr("pushd.client.websocket._ANSWER_S", 1.0)

    async def handler(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if said is None:
            await trio.sleep_forever()
        await stream.send_all(said)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        lost = await lost_at(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        nursery.cancel_scope.cancel()
    assert lost.blocked, lost


async def test_another_subprotocol_is_no_link() -> None:
    async def handler(request: WebSocketRequest) -> None:
        connection = await request.accept()
        with pytest.raises(Exception):  # noqa: B017, PT011 - until the client is gone
            await connection.get_message()

    async with serving(handler) as url:
        with pytest.raises(LinkLost, match=r"pushd\.v1"):
            async with open_link(websocket_url(url, ["a"], None), {}):
                raise AssertionError("linked")


async def test_nobody_listening_is_a_lost_link() -> None:
    with nobody_listens() as url:
        lost = await lost_at(url)
    assert "no connection" in lost.reason
    assert not lost.blocked, "nor is there anybody for another transport"


async def test_an_error_of_the_body_comes_out_alone() -> None:
    async def handler(request: WebSocketRequest) -> None:
        await request.accept(subprotocol="pushd.v1")
        await trio.sleep_forever()

    async with serving(handler) as url:
        with pytest.raises(ZeroDivisionError):
            async with open_link(websocket_url(url, ["a"], None), {}):
                raise ZeroDivisionError


async def test_the_stream_breaking_off_is_a_lost_link() -> None:
    async def handler(request: WebSocketRequest) -> None:
        connection = await request.accept(subprotocol="pushd.v1")
        await connection._stream.aclose()

    async with serving(handler) as url, open_link(websocket_url(url, ["a"], None), {}) as link:
        with pytest.raises(LinkLost, match="broke") as lost:
            await link.receive()
    assert lost.value.code is None


def test_tls_and_names_in_the_address() -> None:
    names = ["日本", "a+b=c", "50%", "x&device=evil"]
    parts = urlsplit(websocket_url("https://example.org/p", names, "d"))
    assert (parts.scheme, parts.netloc, parts.path) == ("wss", "example.org", "/p/v1/ws")
    raw = parts.query.split("&")
    assert len(raw) == 2, "no name may start a parameter"
    assert [unquote(name) for name in raw[0].removeprefix("channels=").split(",")] == names
    assert parse_qs(parts.query)["device"] == ["d"]


@pytest.mark.parametrize("count", [1, 5, 128])
@pytest.mark.parametrize("name", ["a", "日" * (MAX_CHANNEL_BYTES // 3)])
def test_the_address_stays_short(count: int, name: str) -> None:
    channels = [name] * count
    named, rest = split_channels(channels)
    assert named + rest == channels
    assert named
    assert len(websocket_url("http://x", named, "d" * 128)) < 7000
    if name == "a":
        assert not rest
