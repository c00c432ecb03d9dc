"""Section 2: who may do what. The whole table of routes and callers is tests/test_authorization."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.conformance.api import KEY, SECRET, Api
from tests.support.app import running_server

NEWS = "/v1/channels/news/messages"


def forged(**claims: Any) -> str:
    return jwt.encode({"sub": "alice", "exp": int(time.time()) + 60, **claims}, SECRET, "HS256")


async def test_a_service_sends_its_key_in_the_header_and_nowhere_else(api: Api) -> None:
    await api.publish("news", 1)
    assert (await api.ask("GET", NEWS)).code == "unauthorized"
    assert (await api.ask("GET", f"{NEWS}?token={KEY}")).code == "unauthorized"
    assert (await api.ask("GET", NEWS, headers={"Authorization": KEY})).code == "unauthorized"
    assert (await api.ask("GET", NEWS, token="no-key-of-ours")).code == "unauthorized"
    assert (await api.pull("news", after=0)).status == 200


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({}, None),
        ({"exp": None}, "unauthorized"),
        ({"exp": int(time.time()) - 1}, "token_expired"),
        ({"sub": None}, "unauthorized"),
        ({"sub": "a/b"}, "unauthorized"),
        ({"nbf": int(time.time()) + 3600}, "unauthorized"),
        ({"pushd": {"subscribe": "news"}}, "unauthorized"),
    ],
)
async def test_what_a_token_must_say(api: Api, claims: dict[str, Any], code: str | None) -> None:
    await api.publish("user:alice", 1)
    given = {name: value for name, value in {"sub": "alice", **claims}.items() if value is not None}
    if "exp" not in claims:
        given["exp"] = int(time.time()) + 60
    answer = await api.pull("user:alice", jwt.encode(given, SECRET, "HS256"), after=0)
    assert (answer.code if answer.status != 200 else None) == code


@pytest.mark.filterwarnings("ignore:The HMAC key")
async def test_another_algorithm_or_another_key_is_no_credential(api: Api) -> None:
    claims = {"sub": "alice", "exp": int(time.time()) + 60}
    for token in (
        jwt.encode(claims, SECRET, "HS512"),
        jwt.encode(claims, SECRET + "x", "HS256"),
        jwt.encode(claims, None, "none"),
        jwt.encode(claims, SECRET, "HS256", headers={"kid": "1"}),
    ):
        assert (await api.pull("all", token)).code == "unauthorized"


async def test_everybody_reads_what_is_theirs(api: Api) -> None:
    token = forged()
    for channel, status in {
        "user:alice": 200,
        "user:alice:orders": 200,
        "all": 200,
        "user:bob": 403,
        "user:bob:orders": 403,
        "group:staff": 403,
        "$control": 403,
        "news": 403,
        "session:x": 403,
    }.items():
        assert (await api.pull(channel, token, after=0)).status == status, channel


@pytest.mark.parametrize("kept", ["fresh", "kept alive"])
async def test_topics_of_public_namespaces_are_for_all(tmp_path: Path, kept: str) -> None:
    settings = {"namespaces": _public("open")}
    async with running_server(tmp_path, **settings) as server:
        api = Api(server, kept != "fresh")
        assert (await api.pull("open", forged(), after=0)).status == 200
        assert (await api.pull("open:door", forged(), after=0)).status == 200
        assert (await api.pull("opening", forged(), after=0)).status == 403
        assert (await api.pull("open")).status == 200
        assert (await api.ask("GET", "/v1/channels/open/messages")).code == "unauthorized"
        api.close()


def _public(name: str) -> dict[str, Any]:
    from pushd.settings import Namespace

    return {name: Namespace(public=True)}


@pytest.mark.parametrize(
    ("pattern", "channel", "reads", "publishes"),
    [
        ("news", "news", True, True),
        ("news", "news:1", False, False),
        ("news*", "news:1", True, True),
        ("*", "anything", True, True),
        ("*", "user:bob", False, False),
        ("*", "all", False, False),
        ("*", "group:g", False, False),
        ("u*", "user:bob", False, False),
        ("user:*", "user:bob", False, True),
        ("user:bob", "user:bob", False, True),
        ("group:*", "group:g", False, True),
        ("all", "all", True, True),
    ],
)
async def test_patterns_add_topics_and_open_no_inbox(
    api: Api, pattern: str, channel: str, reads: bool, publishes: bool
) -> None:
    token = forged(pushd={"subscribe": [pattern], "publish": [pattern]})
    read = await api.pull(channel, token, after=0)
    assert read.status == (200 if reads or channel == "all" else 403)
    sent = await api.ask("POST", f"/v1/channels/{channel}/messages", token=token, body={"data": 1})
    assert sent.status == (201 if publishes else 403)


async def test_the_ways_in_of_a_websocket(api: Api) -> None:
    token = forged(pushd={"subscribe": ["news"]})
    bearer = f"Authorization: Bearer {token}\r\n"
    for target, members in (
        ("/v1/ws?channels=news", {"token": token}),
        ("/v1/ws?channels=news", {"header": bearer}),
        (f"/v1/ws?channels=news&token={token}", {}),
    ):
        async with api.socket(target, **members) as socket:
            hello = await socket.expect("hello")
            assert hello["user"] == "alice"
            assert "news" in hello["heads"]
    async with api.socket("/v1/ws?channels=news") as socket:
        await socket.send({"type": "auth", "token": token})
        assert (await socket.expect("hello"))["user"] == "alice"
    async with api.socket(f"/v1/ws?token={KEY}") as socket:
        assert (await socket.expect("bye"))["code"] == 4001


async def test_a_held_poll_decides_at_its_end(api: Api) -> None:
    token = forged(exp=int(time.time()) + 2, pushd={"subscribe": ["news"]})
    head = (await api.publish("news", 1))["epoch"] + ".1"
    async with api.line() as line:
        # Waits are shortened by up to a fifth: this one ends after the token all the same.
        answer = await line.ask("GET", f"{NEWS}?after={head}&wait=3", token=token)
    assert answer.code == "token_expired"


async def test_at_its_expiry_a_session_refreshes_or_ends(api: Api) -> None:
    soon = int(time.time()) + 2
    async with (
        api.socket(token=forged(exp=soon)) as ends,
        api.socket(token=forged(exp=soon)) as stays,
    ):
        await ends.expect("hello")
        await stays.expect("hello")
        await stays.send({"type": "refresh", "token": jwt_of("bob")})
        assert (await stays.expect("error"))["code"] == "forbidden"
        await stays.send({"type": "refresh", "token": forged(exp=soon + 60)})
        assert (await stays.expect("refreshed"))["expires"] == soon + 60
        bye = await ends.expect("bye")
        assert (bye["code"], bye["reconnect"]) == (4001, False)
        await stays.send({"type": "ping"})
        await stays.expect("pong")


def jwt_of(user: str) -> str:
    return forged(sub=user)


@pytest.mark.parametrize("kept", ["fresh", "kept alive"])
async def test_one_list_of_origins_for_pages_and_sockets(tmp_path: Path, kept: str) -> None:
    listed, other = "https://app.example", "https://app.example.evil"
    async with running_server(tmp_path, origins=(listed,)) as server:
        api = Api(server, kept != "fresh")
        good = await api.ask("OPTIONS", NEWS, headers={"Origin": listed})
        assert good.status == 204
        assert good.headers["access-control-max-age"] == "7200"
        assert good.headers["access-control-allow-origin"] == listed
        assert (await api.ask("OPTIONS", NEWS, headers={"Origin": other})).status == 403
        answer = await api.ask("GET", NEWS, token=KEY, headers={"Origin": other})
        assert "access-control-allow-origin" not in answer.headers
        async with api.socket(token=KEY, header=f"Origin: {listed}\r\n") as socket:
            await socket.expect("hello")
        upgrade = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Origin": other,
        }
        assert (await server.ask("GET", "/v1/ws", token=KEY, headers=upgrade)).status == 403
        api.close()
