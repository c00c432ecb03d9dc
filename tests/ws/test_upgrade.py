"""The upgrade itself: which requests become a WebSocket. Bad ones are in ``tests/hostile``."""

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
