"""Channels for administrators: looking into them, trimming, deleting, redacting, receipts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.log.support import written
from tests.support.app import KEY, Server, running_server
from tests.support.http import Answer
from tests.support.sessions import epoch, session
from tests.web.keys import KEYS


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, keys=KEYS) as running:
        yield running


async def fill(server: Server, channel: str = "news", count: int = 5) -> None:
    for number in range(1, count + 1):
        await server.publish(channel, number)


async def trim(server: Server, before: int, channel: str = "news", token: str = KEY) -> Answer:
    path = f"/v1/channels/{channel}/trim"
    return await server.ask("POST", path, token=token, body={"before": before})


async def test_one_channel(server: Server) -> None:
    await fill(server, "room:1", 3)
    async with session(server, target="/v1/ws?channels=room:1"):
        answer = await server.ask("GET", "/v1/channels/room:1", token="rooms-key")
    assert answer.status == 200
    channel = answer.json
    assert channel.pop("bytes") > 0
    assert channel.pop("at") > 1_700_000_000_000
    assert channel == {
        "channel": "room:1",
        "epoch": epoch(server, "room:1"),
        "first": 1,
        "head": 3,
        "messages": 3,
        "followers": 1,
        "slowest": None,
        "held": 0,
        "rules": {
            "public": False,
            "ephemeral": False,
            "publish": "granted",
            "retention_age_s": 604800.0,
            "retention_messages": 100000,
            "retention_bytes": None,
            "hold_age_s": None,
            "hold_messages": None,
            "hold_bytes": None,
        },
    }


@pytest.mark.usefixtures("looks_are_quick")
async def test_the_slowest_device_of_a_channel(server: Server) -> None:
    """Of those that pull: who acks more rises, and what was trimmed meanwhile is gone."""
    await fill(server)

    async def slowest() -> Any:
        await written(server.hub.log)
        return (await server.ask("GET", "/v1/channels/news", token="reader-key")).json["slowest"]

    async def pull(user: str, seq: int, device: str) -> None:
        after = f"{epoch(server)}.{seq}"
        token = server.token(user)
        answer = await server.pull("news", after=after, token=token, device=device)
        assert answer.status == 200

    assert await slowest() is None
    await pull("bob", 4, "phone")
    await pull("alice", 2, "tablet")
    found = await slowest()
    assert abs(found.pop("last_seen") - time.time() * 1000) < 60_000
    assert found == {
        "user": "alice",
        "device": "tablet",
        "cursor": f"{epoch(server)}.2",
        "behind": 3,
        "gone": 0,
    }
    await trim(server, 5)
    assert (await slowest())["gone"] == 2
    await pull("alice", 5, "tablet")
    assert (await slowest())["user"] == "bob"


@pytest.mark.parametrize(
    ("before", "first"), [(0, 1), (1, 1), (2, 2), (3, 3), (5, 5), (6, 6)], ids=str
)
async def test_trim(server: Server, before: int, first: int) -> None:
    await fill(server)
    answer = await trim(server, before)
    at = {"channel": "news", "epoch": epoch(server), "first": first, "head": 5}
    assert (answer.status, answer.json) == (200, at)
    pulled = (await server.pull("news", after=0)).json
    assert (pulled["first"], pulled["head"]) == (first, 5)
    assert [message["data"] for message in pulled["messages"]] == list(range(first, 6))
    if first > 2:
        late = await server.pull("news", after=f"{epoch(server)}.1")
        assert (late.status, late.code) == (410, "expired")
    assert (await trim(server, 1)).json["first"] == first, "what is gone stays gone"


@pytest.mark.parametrize("before", [7, 2**53 - 1, 2**53, -1, 1.5, "3", None, True])
async def test_trims_that_are_refused(server: Server, before: Any) -> None:
    await fill(server)
    answer = await trim(server, before)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert server.hub.log.heads["news"].first == 1


async def test_a_channel_is_deleted_and_lives_again(server: Server) -> None:
    await fill(server)
    before = epoch(server)
    answer = await server.ask("DELETE", "/v1/channels/news", token="admin-key")
    assert (answer.status, answer.body) == (204, b"")
    for method in ("GET", "DELETE"):
        gone = await server.ask(method, "/v1/channels/news", token=KEY)
        assert (gone.status, gone.code) == (404, "not_found")
    stored = await server.publish("news", "anew")
    assert (stored["seq"], stored["epoch"] > before) == (1, True)
    reset = await server.pull("news", after=f"{before}.5")
    assert (reset.status, reset.code) == (410, "epoch_changed")


async def test_a_message_is_redacted(server: Server) -> None:
    await server.publish("news", {"secret": 1}, id="m1", sender="alice")
    await server.publish("news", 2)
    answer = await server.ask("DELETE", "/v1/channels/news/messages/1", token="admin-key")
    assert (answer.status, answer.body) == (204, b"")
    first, second = (await server.pull("news", after=0)).json["messages"]
    assert (first["data"], first["type"], first["id"]) == (None, "redacted", "m1")
    assert (first["sender"], first["seq"], second["data"]) == ("alice", 1, 2)
    for seq, status in [("3", 404), ("0", 400), ("x", 400), ("-1", 400)]:
        missing = await server.ask("DELETE", f"/v1/channels/news/messages/{seq}", token=KEY)
        assert missing.status == status, seq


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/channels/{}"),
        ("DELETE", "/v1/channels/{}"),
        ("POST", "/v1/channels/{}/trim"),
        ("DELETE", "/v1/channels/{}/messages/1"),
        ("GET", "/v1/channels/{}/receipts"),
    ],
)
async def test_limited_keys_reach_what_they_cover(server: Server, method: str, path: str) -> None:
    """Elsewhere the answer does not tell whether there is such a channel."""
    for channel in ("news", "room:1", "user:alice"):
        await server.publish(channel, 1)
    body: Any = {"before": 1} if method == "POST" else b""
    for token, channel, status in [
        ("rooms-key", "news", 403),
        ("rooms-key", "nothing", 403),
        ("rooms-key", "user:alice", 403),
        ("rooms-key", "$control", 403),
        ("alice-key", "room:1", 403),
        ("rooms-key", "room:2", 404),
        ("rooms-key", "room:1", 200),
    ]:
        answer = await server.ask(method, path.format(channel), token=token, body=body)
        assert answer.status in ({200, 204} if status == 200 else {status}), (token, channel)
        if channel.startswith("$"):
            assert "needs a key with scope admin and no patterns" in answer.json["detail"]
    assert set(server.hub.log.heads) >= {"news", "user:alice"}
    assert server.hub.log.heads["news"].redactions == 0


async def test_receipts(server: Server) -> None:
    await fill(server)
    name = epoch(server)
    for user, device, seq in [
        ("alice", "phone", 5),
        ("alice", "desk", 2),
        ("bob", "phone", 3),
        ("carol", "phone", 1),
    ]:
        token = server.token(user, device=device)
        body = {"cursors": {"news": f"{name}.{seq}"}}
        assert (await server.ask("POST", "/v1/ack", token=token, body=body)).status == 204
    token = server.token("bob")
    body = {"cursor": f"{name}.4"}
    await server.ask("POST", "/v1/channels/news/read", token=token, body=body)

    async def receipts(query: str) -> Any:
        answer = await server.ask("GET", f"/v1/channels/news/receipts{query}", token="reader-key")
        assert answer.status == 200
        return answer.json

    assert await receipts("?seq=3") == {
        "channel": "news",
        "epoch": name,
        "seq": 3,
        "items": [
            {"user": "alice", "delivered": {"phone": f"{name}.5"}, "read": None},
            {"user": "bob", "delivered": {"phone": f"{name}.3"}, "read": f"{name}.4"},
        ],
        "next": None,
    }
    assert [item["user"] for item in (await receipts(""))["items"]] == ["alice"]
    page = await receipts("?seq=1&limit=2")
    assert ([item["user"] for item in page["items"]], page["next"]) == (["alice", "bob"], "bob")
    page = await receipts("?seq=1&limit=2&next=bob")
    assert ([item["user"] for item in page["items"]], page["next"]) == (["carol"], None)
    beyond = await server.ask("GET", "/v1/channels/news/receipts?seq=6", token=KEY)
    assert (beyond.status, beyond.code) == (404, "not_found")
