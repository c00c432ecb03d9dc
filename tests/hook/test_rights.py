"""Cell by cell: who came by the connect hook may do what the same grants in a JWT allow."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pushd.settings import ApiKeyTable, Namespace
from tests.support.app import Server
from tests.support.logins import Logins, logins, person, serving
from tests.test_authorization import CALLERS, LIMITED, ROUTES, SCOPES, Route, token

ALICE = {"subscribe": ["news"], "publish": ["news", "user:alice"]}
# As the table's callers of these names, only that the application says so.
ASKED = {"bob": "opaque-bob", "alice": "opaque-alice", "expired": "opaque-expired"}


@pytest.fixture
async def known() -> AsyncIterator[Logins]:
    async with logins() as made:
        made.people = {
            "opaque-alice": person("alice", **ALICE),
            "opaque-bob": person("bob", subscribe=[], publish=[]),
            "opaque-expired": person("alice", expires=1, **ALICE),
            "login=alice": person("alice", **ALICE),
        }
        yield made


@pytest.fixture
async def server(tmp_path: Path, known: Logins) -> AsyncIterator[Server]:
    limited = ApiKeyTable("one", hashlib.sha256(LIMITED.encode()).hexdigest(), SCOPES, ("news",))
    open_ = {"open": Namespace(public=True)}
    async with serving(tmp_path, known, keys=(limited,), namespaces=open_) as it:
        yield it


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_a_route(server: Server, route: Route) -> None:
    cells = dict(zip(CALLERS, map(int, route.cells.split()), strict=True))
    wanted = {name: cells[name] for name in ASKED} | {"nobody": cells["nobody"]}
    wanted["cookie"] = cells["alice"]
    found = {}
    for name in wanted:
        stored = await server.publish("news", 1)
        await server.publish("user:alice", 1)
        headers = dict(route.headers)
        if name == "cookie":
            headers |= {"Cookie": "login=alice", "Origin": "http://localhost"}
            headers["Content-Type"] = "application/json"
        async with server.socket(token=token("carl")) as socket:
            session = (await socket.expect("hello"))["session"]
            path = route.path.format(session=session, seq=stored["seq"])
            answer = await server.ask(
                route.method, path, token=ASKED.get(name), body=route.body, headers=headers
            )
        if answer.status == 401:
            assert answer.code == ("token_expired" if name == "expired" else "unauthorized")
        found[name] = answer.status
    assert found == wanted
