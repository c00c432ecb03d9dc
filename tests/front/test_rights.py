"""Who may do what over HTTP: identities × routes × channels, decided in one table."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pushd.settings.namespaces import Namespace
from pushd.settings.tables import ApiKeyTable
from tests.support.app import KEY, Server, running_server
from tests.support.http import Answer


def key(name: str, *scopes: str, patterns: tuple[str, ...] = ()) -> ApiKeyTable:
    digest = hashlib.sha256(f"key-{name}".encode()).hexdigest()
    return ApiKeyTable(name, digest, scopes, patterns)


KEYS = (
    key("publisher", "publish"),
    key("reader", "read"),
    key("admin", "admin"),
    key("rooms", "publish", "read", patterns=("room:*",)),
    key("inboxes", "publish", "read", patterns=("user:*", "all")),
)
CHANNELS: tuple[str, ...] = (
    "room:1",
    "news",
    "lobby:1",
    "user:alice",
    "user:alice:orders",
    "user:bob",
    "all",
)
CHANNELS += ("group:x", "$control")

# The channels that each may read, and publish to.
MAY: dict[str, tuple[set[str], set[str]]] = {
    "key-publisher": (set(), {*CHANNELS} - {"$control"}),
    "key-reader": ({*CHANNELS} - {"$control"}, set()),
    "key-admin": ({"$control"}, set()),
    "key-rooms": ({"room:1"}, {"room:1"}),
    "key-inboxes": (
        {"user:alice", "user:alice:orders", "user:bob", "all"},
        {"user:alice", "user:alice:orders", "user:bob", "all"},
    ),
    "alice": ({"lobby:1", "user:alice", "user:alice:orders", "all"}, set()),
    "alice of rooms": (
        {"room:1", "lobby:1", "user:alice", "user:alice:orders", "all"},
        {"room:1"},
    ),
    "alice of everything": (
        {"room:1", "news", "lobby:1", "user:alice", "user:alice:orders", "all"},
        {"room:1", "news", "lobby:1"},
    ),
    "alice who writes to people": (
        {"lobby:1", "user:alice", "user:alice:orders", "all"},
        {"user:alice", "user:alice:orders", "user:bob", "all", "group:x"},
    ),
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    spaces = {"lobby": Namespace(public=True)}
    async with running_server(tmp_path, keys=KEYS, namespaces=spaces) as running:
        yield running


def credential(server: Server, who: str) -> str:
    if who.startswith("key-"):
        return who
    _, _, rights = who.partition(" ")
    members: dict[str, Any] = {
        "": {"subscribe": [], "publish": []},
        "of rooms": {"subscribe": ["room:*"], "publish": ["room:*"]},
        "of everything": {"subscribe": ["*"], "publish": ["*"]},
        "who writes to people": {"subscribe": [], "publish": ["user:*", "all", "group:*"]},
    }
    return server.token("alice", **members[rights])


def verdict(answer: Answer) -> str:
    return "ok" if answer.status in (200, 201) else answer.code


@pytest.mark.parametrize("who", MAY)
async def test_each_channel_and_route(server: Server, who: str) -> None:
    token = credential(server, who)
    reads, publishes = MAY[who]
    async with server.peer() as peer:
        for channel in CHANNELS:
            path = f"/v1/channels/{channel.replace('$', '%24')}/messages"
            wanted = "ok" if channel in reads else "forbidden"
            answer = await peer.ask("GET", f"{path}?after=0", token=token)
            assert verdict(answer) == wanted, channel
            body = {"cursors": {channel: "0"}}
            entry = (await peer.ask("POST", "/v1/pull", token=token, body=body)).json["channels"]
            assert entry[channel].get("error", {}).get("code", "ok") == wanted, channel
            acked = await peer.ask("POST", "/v1/ack", token=token, body=body)
            assert (acked.status == 204) == (wanted == "ok"), channel
    for channel in CHANNELS:
        path = f"/v1/channels/{channel.replace('$', '%24')}/messages"
        wanted = "ok" if channel in publishes else "forbidden"
        async with server.peer() as peer:
            answer = await peer.ask("POST", path, token=token, body={"data": 1})
            assert verdict(answer) == wanted, channel
            to = {"to": {"channels": [channel]}, "message": {"data": 2}}
            answer = await peer.ask("POST", "/v1/publish", token=token, body=to)
            assert verdict(answer) == wanted, channel
    assert set(server.hub.log.heads) == publishes, "nothing else was stored"


async def test_channels_of_no_live_session_are_for_nobody(server: Server) -> None:
    for token in (KEY, credential(server, "alice of everything")):
        assert verdict(await server.pull("session:s1", token, after=0)) == "forbidden"
    answer = await server.ask(
        "POST", "/v1/channels/session:s1/messages", token=KEY, body={"data": 1}
    )
    assert answer.status == 404


ROUTES = [
    ("GET", "/v1/channels/lobby:1/messages?after=0"),
    ("POST", "/v1/channels/lobby:1/messages"),
    ("POST", "/v1/publish"),
    ("POST", "/v1/pull"),
    ("POST", "/v1/ack"),
    ("GET", "/v1/stats"),
    ("GET", "/v1/channels"),
]
NOBODY = {
    "none": None,
    "empty": "",
    "bearer only": "Bearer",
    "basic": "Basic YWxpY2U6YQ==",
    "unknown key": "Bearer key-nobody",
    "part of a key": f"Bearer {KEY[:-1]}",
    "more than a key": f"Bearer {KEY}x",
    "no jwt": "Bearer a.b.c",
    "two": f"Bearer {KEY} {KEY}",
}


@pytest.mark.parametrize("name", NOBODY)
async def test_nobody_may_do_anything(server: Server, name: str) -> None:
    value = NOBODY[name]
    headers = {} if value is None else {"Authorization": value}
    for method, path in ROUTES:
        answer = await server.ask(method, path, headers=headers, body={"data": 1})
        assert (answer.status, answer.code) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert KEY not in answer.body.decode()
    assert server.hub.log.heads == {}


async def test_a_token_in_the_address_is_none(server: Server) -> None:
    path = f"/v1/channels/lobby:1/messages?after=0&token={KEY}"
    assert (await server.ask("GET", path)).status == 401


async def test_an_expired_token_says_so(server: Server) -> None:
    token = server.token("alice", ttl_s=-1)
    for method, path in ROUTES[:5]:
        answer = await server.ask(method, path, token=token, body={"data": 1})
        assert (answer.status, answer.code) == (401, "token_expired"), path


async def test_another_token_on_the_same_connection_is_another_identity(server: Server) -> None:
    path = "/v1/channels/user:alice/messages?after=0"
    alice, bob = server.token("alice"), server.token("bob")
    async with server.peer() as peer:
        for token, status in [(alice, 200), (alice, 200), (bob, 403), (alice, 200), (bob, 403)]:
            assert (await peer.ask("GET", path, token=token)).status == status
        assert (await peer.ask("GET", path)).status == 401
        assert (await peer.ask("GET", path, token="wrong")).status == 401
        assert (await peer.ask("GET", path, token=alice)).status == 200
