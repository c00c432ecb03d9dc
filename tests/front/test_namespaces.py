"""The rules of namespaces over real sockets: who may publish, what is kept for whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pushd.settings import Namespace
from tests.support.app import KEY, Server, running_server, until

SPACES = {
    "lobby": Namespace(public=True, publish="users"),
    "orders": Namespace(publish="services"),
    "typing": Namespace(public=True, ephemeral=True),
    "few": Namespace(retention={"messages": 3}),
    "short": Namespace(retention={"age_s": 0.1}),
    "small": Namespace(retention={"bytes": 1000}),
    "user": Namespace(retention={"messages": 2}),
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(
        tmp_path, namespaces=SPACES, retention_interval=0.02, retention_messages=20
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("channel", "patterns", "may"),
    [
        ("lobby:1", [], True),
        ("lobby", [], True),
        ("lobbyists", [], False),
        ("orders:1", ["orders:*", "*"], False),
        ("orders:1", [], False),
        ("rooms:1", ["rooms:*"], True),
        ("rooms:1", [], False),
        ("typing:1", [], False),
    ],
)
async def test_who_may_publish(
    server: Server, channel: str, patterns: list[str], may: bool
) -> None:
    """By each of the ways; services are bound by their own scopes alone."""
    token = server.token(publish=patterns)
    path = f"/v1/channels/{channel}/messages"
    answer = await server.ask("POST", path, token=token, body={"data": 1})
    assert answer.status == (201 if may else 403)
    body = {"to": {"channels": [channel]}, "message": {"data": 1}}
    answer = await server.ask("POST", "/v1/publish", token=token, body=body)
    assert answer.status == (200 if may else 403)
    async with server.socket(token=token) as socket:
        await socket.expect("hello")
        await socket.send({"type": "publish", "id": "1", **body})
        await socket.expect("published" if may else "error")
    assert (await server.ask("POST", path, token=KEY, body={"data": 1})).status == 201


@pytest.mark.parametrize(
    ("channel", "kept"),
    [("few:a", 3), ("user:alice", 2), ("news", 20), ("all", 20)],
)
async def test_so_many_are_kept(server: Server, channel: str, kept: int) -> None:
    for number in range(1, 26):
        stored = await server.publish(channel, number)
    head = server.hub.log.heads[channel]
    await until(lambda: head.first == 26 - kept)
    answer = await server.pull(channel, after=f"{stored['epoch']}.{25 - kept}")
    assert [m["data"] for m in answer.json["messages"]] == list(range(26 - kept, 26))
    answer = await server.pull(channel, after=f"{stored['epoch']}.{24 - kept}")
    assert (answer.status, answer.code) == (410, "expired")


async def test_what_is_too_old_goes(server: Server) -> None:
    for channel in ("short:a", "short:b", "news"):
        await server.publish(channel, 1)
    heads = server.hub.log.heads
    await until(lambda: heads["short:a"].first == heads["short:b"].first == 2)
    assert heads["news"].first == 1
    assert (await server.pull("short:a", after=0)).json["messages"] == []


async def test_so_much_is_kept(server: Server) -> None:
    for _ in range(8):
        await server.publish("small", "x" * 200)
    head = server.hub.log.heads["small"]
    await until(lambda: head.first > 4)
    answer = await server.pull("small", after=0)
    assert 1 <= len(answer.json["messages"]) <= 4


async def test_ephemeral_messages_are_for_those_who_are_there(server: Server) -> None:
    """First contact is from now on; whom the retention left behind goes on without a reset."""
    token = server.token()
    log = server.hub.log
    assert log.retention("typing:1").age_s == 60
    await server.publish("typing:1", "before")
    first = await server.pull("typing:1", token=token)
    assert first.json["messages"] == []
    for number in range(1, 30):
        await server.publish("typing:1", number)
    await until(lambda: log.heads["typing:1"].first == 11)
    answer = await server.pull("typing:1", token=token, after=first.json["next"])
    assert [m["seq"] for m in answer.json["messages"]] == list(range(11, 31))
    assert answer.json["first"] == 11, "who cares sees that the first has moved past it"
