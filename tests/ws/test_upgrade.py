"""The upgrade itself: which requests become a WebSocket, and what the others are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.app import Server, running_server
from tests.support.http import request

LISTED = "https://app.example.com"
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, origins=(LISTED,)) as running:
        yield running


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (LISTED, True),
        ("http://localhost", True),  # the Host that the test says: a page of this server
        ("http://localhost:8080", False),
        (f"{LISTED}.evil.net", False),
        ("null", False),
    ],
)
async def test_pages_of_the_list_and_of_this_host(
    server: Server, origin: str, allowed: bool
) -> None:
    headers = {**UPGRADE, "Origin": origin}
    async with server.peer() as peer:
        await peer.write(request("GET", f"/v1/ws?token={server.token()}", headers=headers))
        answer = await peer.answer()
        assert answer.status == (101 if allowed else 403)
        if not allowed:
            assert answer.code == "forbidden"
            assert await peer.is_closed()


BAD: dict[str, tuple[dict[str, str | None], int]] = {
    "no upgrade": ({"Upgrade": None}, 400),
    "no connection": ({"Connection": None}, 400),
    "another connection": ({"Connection": "keep-alive"}, 400),
    "version 7": ({"Sec-WebSocket-Version": "7"}, 426),
    "no version": ({"Sec-WebSocket-Version": None}, 426),
    "no key": ({"Sec-WebSocket-Key": None}, 400),
    "empty key": ({"Sec-WebSocket-Key": ""}, 400),
    "short key": ({"Sec-WebSocket-Key": "AAAA"}, 400),
    "no base64": ({"Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!=="}, 400),
    "bad authorization": ({"Authorization": "Basic YTpi"}, 401),
    "long subprotocol": ({"Sec-WebSocket-Protocol": "x" * 32_768}, 431),
}


@pytest.mark.parametrize("name", BAD)
async def test_no_upgrade(server: Server, name: str) -> None:
    changes, status = BAD[name]
    headers = {name: value for name, value in {**UPGRADE, **changes}.items() if value is not None}
    async with server.peer() as peer:
        await peer.write(request("GET", "/v1/ws", headers=headers))
        answer = await peer.answer()
        assert answer.status == status, answer
        assert answer.json["code"]
        if status == 426:
            assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("query", ["device=", "device=a/b", "a=1&a=2", "channels=%ff"])
async def test_a_bad_address(server: Server, query: str) -> None:
    with pytest.raises(AssertionError, match="400"):
        async with server.socket(f"/v1/ws?{query}", token=server.token()):
            pass


async def test_a_subprotocol_that_is_no_ascii(server: Server) -> None:
    async with server.peer() as peer:
        head = request("GET", "/v1/ws", headers={**UPGRADE, "Sec-WebSocket-Protocol": "PROTOCOL"})
        await peer.write(head.replace(b"PROTOCOL", "bearer.ä€".encode()))
        assert (await peer.answer()).status == 101
        assert b"4001" in await peer.read_until(b"}")


@pytest.mark.parametrize("behind", [b"\x81\x80\0\0\0\0", request("GET", "/healthz")])
async def test_what_is_sent_before_the_upgrade_is_answered(server: Server, behind: bytes) -> None:
    async with server.peer() as peer:
        path = f"/v1/ws?token={server.token()}"
        await peer.write(request("GET", path, headers=UPGRADE) + behind)
        answer = await peer.answer()
        assert (answer.status, answer.code) == (400, "bad_request")
        assert await peer.is_closed()


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("pushd.v1, bearer.{}", "pushd.v1"),
        ("bearer.{},pushd.v1", "pushd.v1"),
        ("bearer.{}", None),
        ("other, pushd.v1 , bearer.{}", "pushd.v1"),
    ],
)
async def test_only_our_subprotocol_is_answered(
    server: Server, offered: str, answered: str | None
) -> None:
    offer = offered.format(server.token())
    async with server.peer() as peer:
        await peer.write(
            request("GET", "/v1/ws", headers={**UPGRADE, "Sec-WebSocket-Protocol": offer})
        )
        answer = await peer.answer()
        assert answer.status == 101
        assert answer.headers.get("sec-websocket-protocol") == answered
        assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert b'"type":"hello"' in await peer.read_until(b"}}")
