"""Revocations over HTTP: they hold at once, are listed, and can be taken back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import KEY, Server, running_server
from tests.support.sessions import session
from tests.web.keys import KEYS

PATH = "/v1/revocations"
DAY_MS = 86_400_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, keys=KEYS) as running:
        yield running


async def revoke(server: Server, **members: Any) -> Any:
    answer = await server.ask("POST", PATH, token="admin-key", body=members)
    assert answer.status == 201, answer
    return answer.json


async def listed(server: Server, query: str = "") -> Any:
    return (await server.ask("GET", PATH + query, token=KEY)).json


async def pull_status(server: Server, token: str) -> int:
    return (await server.pull("news", token, after=0)).status


async def test_a_user_is_revoked_and_let_in_again(server: Server) -> None:
    token, other = server.token("alice"), server.token("bob")
    async with session(server) as socket:
        before = time.time() * 1000
        item = await revoke(server, user="alice")
        assert item["user"] == "alice"
        assert before - 1000 <= item["at"] <= time.time() * 1000 + 1000
        assert abs(item["until"] - before - 30 * DAY_MS) < 60_000
        assert (await socket.expect("bye"))["code"] == 4001
    assert await pull_status(server, token) == 401
    assert await pull_status(server, other) == 200
    assert await listed(server) == {"items": [item], "next": None}
    answer = await server.ask("DELETE", f"{PATH}?user=alice", token="admin-key")
    assert (answer.status, answer.body) == (204, b"")
    assert await pull_status(server, token) == 200
    assert await listed(server) == {"items": [], "next": None}
    again = await server.ask("DELETE", f"{PATH}?user=alice", token=KEY)
    assert (again.status, again.code) == (404, "not_found")


async def test_sessions_are_ended_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when somebody looks through them of his own accord."""
    monkeypatch.setattr("pushd.enforcer.LOOK_S", 1e9)
    async with running_server(tmp_path, keys=KEYS) as server, session(server) as socket:
        await revoke(server, user="alice")
        assert (await socket.expect("bye"))["code"] == 4001


async def test_pages_of_revocations(server: Server) -> None:
    until = int(time.time() * 1000) + DAY_MS
    await revoke(server, jti="token:1", until=until)
    await revoke(server, user="bob", until=until)
    await revoke(server, user="alice", until=until)
    assert await revoke(server, user="alice", until=until + 5000)
    page = await listed(server, "?limit=2")
    assert [item.get("jti") or item["user"] for item in page["items"]] == ["token:1", "alice"]
    assert page["items"][1]["until"] == until + 5000
    page = await listed(server, f"?limit=2&next={page['next']}")
    assert ([item["user"] for item in page["items"]], page["next"]) == (["bob"], None)
    gone = await server.ask("DELETE", f"{PATH}?jti=token:1", token=KEY)
    assert gone.status == 204
    assert [item["user"] for item in (await listed(server))["items"]] == ["alice", "bob"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": None},
        {"user": "alice", "jti": "t"},
        {"user": "a b"},
        {"user": ""},
        {"jti": ""},
        {"jti": "x" * 513},
        {"user": "alice", "until": 1795248025},  # seconds, as in a token's exp
        {"user": "alice", "until": 2**53},
        {"user": "alice", "until": int(time.time() * 1000) + 3651 * DAY_MS},
        {"user": "alice", "until": "2030"},
        {"user": "alice", "reason": "left"},
    ],
    ids=lambda body: ",".join(body) or "nothing",
)
async def test_what_cannot_be_revoked(server: Server, body: Any) -> None:
    answer = await server.ask("POST", PATH, token=KEY, body=body)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert await listed(server) == {"items": [], "next": None}


@pytest.mark.parametrize("query", ["", "?user=alice&jti=t", "?jti="])
async def test_a_revocation_is_named_by_one_thing(server: Server, query: str) -> None:
    answer = await server.ask("DELETE", PATH + query, token=KEY)
    assert (answer.status, answer.code) == (400, "bad_request")
