"""Keys exchanged under a running node: who is told, what is fetched, and what stays.

The signal itself and bad files: ``tests/e2e/test_reload.py``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest

from pushd.reload import Reloader
from pushd.settings.jwt_tables import JwtTable
from tests.support.app import SECRET, Server, running_server, until
from tests.support.jwks import AUD, ISS, Provider, provider, token

ALGS = ("EdDSA",)
OTHER = "another-secret-of-the-application-0123456789"
PATH = "/v1/channels/news/messages?after=0"


@pytest.fixture(autouse=True)
def looks_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushd.enforcer.LOOK_S", 1e9)
    monkeypatch.setattr("pushd.fetch.FETCH_S", 600.0)


@pytest.fixture
async def host() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


def table(host: Provider, iss: str = ISS) -> JwtTable:
    return JwtTable("", "", None, AUD, iss, ALGS, None, host.url)


async def reload(server: Server, **given: Any) -> None:
    """As SIGHUP does it, once the settings are these."""
    settings = replace(server.hub.settings, **given)
    await Reloader(server.hub, lambda: settings)._reload()


async def test_who_came_by_a_key_that_went_is_put_out_at_once(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        await reload(server, jwt_secret=OTHER)
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reason"]) == (4001, "revoked")


async def test_a_connection_goes_on_that_another_entry_vouches_for(tmp_path: Path) -> None:
    """The same secret by other rules: tokens that keep to them are as good as before."""
    now = int(time.time())
    claims = {"sub": "alice", "exp": now + 3600, "aud": AUD, "pushd": {"subscribe": ["*"]}}
    good = jwt.encode(claims, SECRET, "HS256")
    async with running_server(tmp_path) as server, server.peer() as peer:
        assert (await peer.ask("GET", PATH, token=good)).status == 200
        for aud, status in ((AUD, 200), ("nobody", 401), (None, 200)):
            await reload(server, jwt_secret=OTHER, jwt=(JwtTable("HS256", SECRET, aud=aud),))
            assert (await peer.ask("GET", PATH, token=good)).status == status


async def test_a_known_address_is_fetched_anew_and_only_that_once(
    tmp_path: Path, host: Provider
) -> None:
    """Its keys stay in use until the new ones are there, and if none come."""
    async with running_server(tmp_path, jwt=(table(host),)) as server:
        [source] = server.hub.key_sources.current
        assert host.asked == 1
        host.answer = b""
        await reload(server, jwks_refresh=77.0)
        await until(lambda: host.asked == 2 and not source._loading)
        assert server.hub.key_sources.current == (source,)
        assert source.refresh_s == 77.0
        assert (await server.pull("news", token("one"), after=0)).status == 200
        host.publish("two")
        await reload(server)
        await until(lambda: len(source.keys) == 1 and source.keys[0].key.kid == "two")
        assert host.asked == 3


async def test_a_new_address_is_kept_fresh_and_one_that_went_is_not(
    tmp_path: Path, host: Provider
) -> None:
    async with provider() as other, running_server(tmp_path, jwt=(table(host),)) as server:
        [old] = server.hub.key_sources.current
        await reload(server, jwt=(table(other, "other"),))
        [new] = server.hub.key_sources.current
        assert (host.asked, other.asked) == (1, 1)
        for source in (old, new):
            source.wake()
        await until(lambda: other.asked == 2)
        assert host.asked == 1
        assert (await server.pull("news", token("one", iss="other"), after=0)).status == 200
        assert (await server.pull("news", token("one"), after=0)).status == 401
