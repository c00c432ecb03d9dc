"""Cell by cell: who came by the connect hook may do what the same grants in a JWT allow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.app import Server
from tests.support.logins import Logins, logins, person, serving
from tests.test_authorization import CALLERS, ROUTES, Route, ask_route, settings

ALICE = {"subscribe": ["news"], "publish": ["news", "user:alice"]}
# As the table's callers of these names, only that the application says so.
ASKED = {"bob": "opaque-bob", "alice": "opaque-alice", "expired": "opaque-expired"}
COOKIE = {
    "Cookie": "login=alice",
    "Origin": "http://localhost",
    "Content-Type": "application/json",
}


@pytest.fixture
async def known() -> AsyncIterator[Logins]:
    async with logins() as made:
        made.people = {
            "opaque-alice": person("alice", **ALICE),
            "opaque-bob": person("bob", subscribe=[], publish=[]),
            "opaque-expired": person("alice", expires=1, **ALICE),
            COOKIE["Cookie"]: person("alice", **ALICE),
        }
        yield made


@pytest.fixture
async def server(tmp_path: Path, known: Logins) -> AsyncIterator[Server]:
    async with serving(tmp_path, known, **settings()) as it:
        yield it


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_a_route(server: Server, route: Route) -> None:
    cells = dict(zip(CALLERS, map(int, route.cells.split()), strict=True))
    wanted = {name: cells[name] for name in ASKED} | {"nobody": cells["nobody"]}
    wanted["cookie"] = cells["alice"]
    found = {}
    for name in wanted:
        headers = COOKIE if name == "cookie" else {}
        answer = await ask_route(server, route, ASKED.get(name), headers)
        if answer.status == 401:
            assert answer.code == ("token_expired" if name == "expired" else "unauthorized")
        found[name] = answer.status
    assert found == wanted
