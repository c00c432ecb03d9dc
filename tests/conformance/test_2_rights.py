"""Section 2: who may do what. The whole table of routes and callers is tests/test_authorization."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from pushd.settings import Namespace
from tests.conformance.api import KEY, SECRET, Api, serving

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


async def test_topics_of_public_namespaces_are_for_all(tmp_path: Path, kept: bool) -> None:
    async with serving(tmp_path, kept, namespaces={"open": Namespace(public=True)}) as api:
        assert (await api.pull("open", forged(), after=0)).status == 200
        assert (await api.pull("open:door", forged(), after=0)).status == 200
        assert (await api.pull("opening", forged(), after=0)).status == 403
        assert (await api.pull("open")).status == 200
        assert (await api.ask("GET", "/v1/channels/open/messages")).code == "unauthorized"


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
        ("user*", "user:bob", False, False),
        ("all*", "all", False, False),
        ("user:*", "user:bob:orders", False, True),
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
    async with api.socket() as socket:
        await socket.send({"type": "ping"})
        await socket.send({"type": "auth", "token": token})
        assert (await socket.expect("bye"))["code"] == 4001, "the token must come first"
    async with api.socket(f"/v1/ws?token={KEY}") as socket:
        assert (await socket.expect("bye"))["code"] == 4001


async def test_what_subscribe_covers_is_not_published_and_the_other_way_round(api: Api) -> None:
    reads, writes = forged(pushd={"subscribe": ["news"]}), forged(pushd={"publish": ["news"]})
    for token, statuses in ((reads, (200, 403)), (writes, (403, 201)), (forged(), (403, 403))):
        read = await api.pull("news", token, after=0)
        sent = await api.ask("POST", NEWS, token=token, body={"data": 1})
        assert (read.status, sent.status) == statuses


async def test_whom_a_namespace_lets_publish(tmp_path: Path, kept: bool) -> None:
    namespaces = {rule: Namespace(publish=rule) for rule in ("granted", "users", "services")}
    granted = forged(pushd={"publish": ["*"]})
    async with serving(tmp_path, kept, namespaces=namespaces) as api:
        for channel, statuses in {
            "granted:1": (403, 201, 201),
            "users:1": (201, 201, 201),
            "services:1": (403, 403, 201),
            "user:alice": (403, 403, 201),
        }.items():
            path = f"/v1/channels/{channel}/messages"
            for token, status in zip((forged(), granted, KEY), statuses, strict=True):
                answer = await api.ask("POST", path, token=token, body={"data": 1})
                assert answer.status == status, channel


async def test_each_request_is_of_its_own_caller(api: Api) -> None:
    """Also on one connection, and where the one before was allowed the same."""
    reader, nobody, bob = forged(pushd={"subscribe": ["news"]}), forged(), forged(sub="bob")
    for _ in range(2):
        for token, channel, status in (
            (KEY, "news", 200),
            (nobody, "news", 403),
            (reader, "news", 200),
            (bob, "news", 403),
            (reader, "user:alice", 200),
            (bob, "user:alice", 403),
            (bob, "user:bob", 200),
            (reader, "user:bob", 403),
            (reader, "news", 200),
            (None, "news", 401),
        ):
            path = f"/v1/channels/{channel}/messages?after=0"
            assert (await api.ask("GET", path, token=token)).status == status, channel


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("pushd.v1, bearer.TOKEN", "pushd.v1"),
        ("bearer.TOKEN, pushd.v1", "pushd.v1"),
        ("bearer.TOKEN", None),
        ("pushd.v2, bearer.TOKEN", None),
        (None, None),
    ],
)
async def test_the_subprotocol_is_answered_and_never_the_token(
    api: Api, offered: str | None, answered: str | None
) -> None:
    headers = dict(UPGRADE)
    if offered is not None:
        headers["Sec-WebSocket-Protocol"] = offered.replace("TOKEN", forged())
    async with api.line() as line:
        answer = await line.ask("GET", "/v1/ws", headers=headers)
    assert answer.status == 101
    assert answer.headers.get("sec-websocket-protocol") == answered


async def test_one_list_of_origins_for_pages_and_sockets(tmp_path: Path, kept: bool) -> None:
    listed, other = "https://app.example", "https://app.example.evil"
    async with serving(tmp_path, kept, origins=(listed,)) as api:
        for path in (NEWS, "/v1/pull", "/v1/sessions/x"):
            good = await api.ask("OPTIONS", path, headers={"Origin": listed})
            assert good.status == 204
            assert good.headers["access-control-max-age"] == "7200"
            assert good.headers["access-control-allow-origin"] == listed
            allowed = good.headers["access-control-allow-headers"].split(", ")
            assert {"Authorization", "Content-Type"} <= set(allowed)
            allowed = good.headers["access-control-allow-methods"].split(", ")
            assert {"GET", "POST", "PUT", "DELETE"} <= set(allowed)
            assert (await api.ask("OPTIONS", path, headers={"Origin": other})).status == 403
        answer = await api.ask("GET", NEWS, token=KEY, headers={"Origin": listed})
        assert answer.headers["access-control-allow-origin"] == listed
        for headers in ({"Origin": other}, {"Origin": listed.upper()}, {}):
            answer = await api.ask("GET", NEWS, token=KEY, headers=headers)
            assert answer.status == 200
            assert "access-control-allow-origin" not in answer.headers
        # A page of the server's own host, and a listed one.
        for origin in (listed, "http://localhost"):
            async with api.socket(token=KEY, header=f"Origin: {origin}\r\n") as socket:
                await socket.expect("hello")
            async with api.stream(headers={"Origin": origin}) as events:
                await events.expect("hello")
        for origin in (other, "http://localhost.evil"):
            headers = {**UPGRADE, "Origin": origin}
            assert (await api.ask("GET", "/v1/ws", token=KEY, headers=headers)).status == 403
            headers = {"Origin": origin}
            assert (await api.ask("GET", "/v1/events", token=KEY, headers=headers)).status == 403
