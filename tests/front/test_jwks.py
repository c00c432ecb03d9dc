"""Client tokens of an identity provider whose keys change, over real sockets on both sides."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd import keysource
from pushd.errors import BadSetting
from pushd.settings.jwt_tables import JwtTable
from tests.support.app import SECRET, Server, running_server, until
from tests.support.events import listening
from tests.support.http import patience, request
from tests.support.jwks import AUD, ISS, Provider, key_set, ok, provider, token
from tests.support.websocket import Closed

ALGS = ("EdDSA",)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who fetches waits until the test has the provider answer."""
    monkeypatch.setattr("pushd.fetch.FETCH_S", 600.0)


@asynccontextmanager
async def serving(
    data: Path, host: Provider, *more: JwtTable, **given: Any
) -> AsyncIterator[Server]:
    """A server that trusts this provider."""
    table = JwtTable("", "", None, AUD, ISS, ALGS, None, host.url)
    async with running_server(data, jwt=(table, *more), **given) as server:
        yield server


async def status(server: Server, credential: str) -> int:
    return (await server.pull("news", credential, after=0)).status


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What unknown kids are counted by; add to it."""
    now = [1000.0]
    monkeypatch.setattr(keysource.time, "monotonic", lambda: now[0])
    return now


async def test_tokens_of_the_provider(tmp_path: Path) -> None:
    async with provider() as host, serving(tmp_path, host) as server:
        assert host.asked == 1  # before it was ready
        assert await status(server, token("one")) == 200
        assert await status(server, server.token()) == 200  # PUSHD_JWT_SECRET still is one
        for bad in [
            token("one", iss="https://other.example.com"),
            token("one", iss=None),
            token("one", aud="other"),
            token("one", aud=[AUD]),
            token("one", exp=1),
        ]:
            assert await status(server, bad) == 401
        assert host.asked == 1


async def test_a_new_key_is_fetched_when_it_is_first_seen(
    tmp_path: Path, clock: list[float]
) -> None:
    async with provider() as host, serving(tmp_path, host) as server:
        host.publish("one", "two")
        host.go = trio.Event()
        for _ in range(3):  # while it is fetched: come again
            answer = await server.pull("news", token("two"), after=0)
            assert (answer.status, answer.code) == (503, "not_ready")
            assert answer.headers["retry-after"] == "1"
        async with server.socket(token=token("two")) as socket:
            bye = await socket.expect("bye")
            assert (bye["code"], bye["reconnect"]) == (1013, True)
        async with listening(server, token=token("two")) as stream:  # no status: it would give up
            event = await stream.expect("bye")
            assert (event.data["code"], event.data["reason"]) == (1013, "not_ready")
            assert 1000 <= (event.retry_ms or 0) <= 2000
        assert await status(server, token("one")) == 200
        host.go.set()
        [source] = server.hub.key_sources.current
        await until(lambda: len(source.keys) == 2)
        assert await status(server, token("two")) == 200
        assert host.asked == 2
        # One that nobody has: refused, and no more is asked for within ten seconds.
        clock[0] += 9
        for _ in range(5):
            assert await status(server, token("three")) == 401
        assert host.asked == 2
        clock[0] += 2
        assert await status(server, token("three")) == 503
        await until(lambda: host.asked == 3 and not source._loading)
        assert await status(server, token("three")) == 401


async def test_made_up_kids_and_algorithms_cannot_make_it_ask(
    tmp_path: Path, clock: list[float]
) -> None:
    async with provider() as host, serving(tmp_path, host) as server:
        clock[0] += 100
        for bad in (server.token() + "x", "a.b.c", "x" * 100, server.token()[:-3] + "AAA"):
            assert await status(server, bad) == 401
        # Of an algorithm that the provider's keys cannot be of: it need not be asked.
        for alg in ("HS256", "RS256", "none"):
            header = base64.urlsafe_b64encode(b'{"alg":"%b","kid":"made-up"}' % alg.encode())
            _, body, tail = token("one").split(".")
            assert await status(server, f"{header.decode().rstrip('=')}.{body}.{tail}") == 401
        assert host.asked == 1


async def test_what_a_lost_key_vouched_for_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions, held polls, and what a kept-alive connection and the cache remember."""
    monkeypatch.setattr("pushd.enforcer.LOOK_S", 1e9)  # at once, not only when it looks by itself
    async with provider() as host, serving(tmp_path, host) as server:
        host.publish("one", "two")
        [source] = server.hub.key_sources.current
        assert await source.load()
        one, two = token("one"), token("two", "bob")
        async with (
            server.socket(token=one) as alice,
            server.socket(token=two) as bob,
            server.peer() as kept,
            server.peer() as held,
        ):
            await alice.expect("hello")
            await bob.expect("hello")
            path = "/v1/channels/news/messages?after=0"
            assert (await kept.ask("GET", path, token=one)).status == 200
            await held.write(request("GET", f"{path}&wait=60", token=one))
            await until(lambda: len(server.hub.pulls.held) == 1)
            host.publish("two")
            source.wake()
            bye = await alice.expect("bye")
            assert (bye["code"], bye["reason"]) == (4001, "revoked")
            with pytest.raises(Closed), patience():
                await alice.message()
            with patience():
                assert (await held.answer()).status == 401
            assert (await kept.ask("GET", path, token=one)).status in (401, 503)
            await bob.send({"type": "ping"})
            await bob.expect("pong")
        assert await status(server, two) == 200


async def test_a_provider_that_fails_keeps_everybody_in(tmp_path: Path) -> None:
    async with provider() as host, serving(tmp_path, host) as server:
        [source] = server.hub.key_sources.current
        async with server.socket(token=token("one")) as socket:
            await socket.expect("hello")
            for host.answer in (b"", ok(b"<html>"), ok(b'{"keys":[]}')):
                assert not await source.load()
            await socket.send({"type": "ping"})
            await socket.expect("pong")
            assert await status(server, token("one", "carol")) == 200
        told = [each for each in server.log if each["event"] == "keys not refreshed"]
        assert len(told) == 3


async def test_a_provider_that_is_down_at_the_start(tmp_path: Path) -> None:
    """The server starts; its tokens are told to come again, not that they are wrong."""
    async with provider() as host:
        host.answer = b""
        async with serving(tmp_path, host) as server:
            assert await status(server, token("one")) == 503
            assert await status(server, server.token()) == 200
            host.publish("one")
            [source] = server.hub.key_sources.current
            source.wake()
            await until(lambda: source.keys)
            assert await status(server, token("one")) == 200


async def test_two_providers_and_a_file(tmp_path: Path) -> None:
    """Each speaks for its own issuer, whatever the kids are."""
    (tmp_path / "jwks.json").write_bytes(key_set("file"))
    file = JwtTable("", "", None, None, "file", ALGS, tmp_path / "jwks.json", None)
    async with provider() as host, provider() as other:
        theirs = JwtTable("", "", None, None, "other", ALGS, None, other.url)
        async with serving(tmp_path, host, theirs, file) as server:
            assert await status(server, token("one")) == 200
            assert await status(server, token("one", iss="other")) == 200
            assert await status(server, token("file", iss="file")) == 200
            assert await status(server, token("file", iss="other")) == 401
            assert await status(server, token("one", iss="file")) == 401
            # The sets have an algorithm; a token of another one makes nobody ask.
            assert (host.asked, other.asked) == (1, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"{", "no JWKS"), (b'{"keys":[]}', "no usable key")],
)
async def test_a_bad_file_refuses_the_start(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_bytes(content)
    table = JwtTable("", "", None, None, None, ALGS, path, None)
    with pytest.RaisesGroup(pytest.RaisesExc(BadSetting, match=reason), flatten_subgroups=True):
        async with running_server(tmp_path, jwt=(table,)):
            pass


async def test_the_log_tells_neither_tokens_nor_keys(tmp_path: Path) -> None:
    async with provider() as host, serving(tmp_path, host) as server:
        for kid in ("one", "unknown"):
            await status(server, token(kid))
        [source] = server.hub.key_sources.current
        host.publish("two")
        await source.load()
        text = str(server.log)
    assert "eyJ" not in text
    assert SECRET not in text
