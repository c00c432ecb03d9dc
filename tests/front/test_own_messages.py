"""Who writes has read: a user's own message moves the read mark, and tells the other devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pushd.settings import Namespace
from tests.support.app import KEY, Server, running_server
from tests.support.events import listening
from tests.support.http import request
from tests.support.sessions import session

MESSAGES = "/v1/channels/news/messages"
GRANTS = {
    "subscribe": ["news", "typing:*"],
    "publish": ["news", "secret", "typing:*", "all", "user:*"],
}


def token(server: Server, **members: Any) -> str:
    return server.token("alice", **{**GRANTS, **members})


async def told(server: Server, channel: str = "news") -> tuple[str | None, int | None]:
    """The read mark and what is unread, as a new session of the same user is told it."""
    async with server.socket(f"/v1/ws?channels={channel}", token=token(server)) as socket:
        head = (await socket.expect("hello"))["heads"][channel]
    return head["read"], head["unread"]


async def by_one(server: Server, **message: Any) -> str:
    body = {"data": 1, **message}
    answer = await server.ask("POST", MESSAGES, token=token(server), body=body)
    assert answer.status in (200, 201), answer
    return f"{answer.json['epoch']}.{answer.json['seq']}"


async def by_many(server: Server, **message: Any) -> str:
    body = {"to": {"channels": ["secret", "news"]}, "message": {"data": 1, **message}}
    answer = await server.ask("POST", "/v1/publish", token=token(server), body=body)
    assert answer.status == 200, answer
    return f"{answer.json['results'][1]['epoch']}.{answer.json['results'][1]['seq']}"


async def by_line(server: Server, **message: Any) -> str:
    lines = [{"channel": channel, "data": 1, **message} for channel in ("secret", "news")]
    answer = await server.ask(
        "POST",
        "/v1/publish",
        token=token(server),
        body=b"\n".join(json.dumps(line).encode() for line in lines),
        headers={"Content-Type": "application/x-ndjson"},
    )
    [_, last] = [json.loads(line) for line in answer.body.splitlines()]
    return f"{last['epoch']}.{last['seq']}"


async def by_frame(server: Server, **message: Any) -> str:
    async with session(server, **GRANTS) as socket:
        to = {"channels": ["secret", "news"]}
        await socket.send(
            {"type": "publish", "id": "1", "to": to, "message": {"data": 1, **message}}
        )
        result = (await socket.expect("published"))["results"][1]
    return f"{result['epoch']}.{result['seq']}"


@pytest.mark.parametrize("by", [by_one, by_many, by_line, by_frame])
async def test_an_own_message_is_read_and_what_came_before_it(server: Server, by: Any) -> None:
    for _ in range(3):
        await server.publish("news", 1)
    assert await told(server) == (None, None)
    cursor = await by(server, id="x")
    assert cursor.endswith(".4")
    assert await told(server) == (cursor, 0)
    await server.publish("news", 1)
    assert await told(server) == (cursor, 1)
    # A retry of what was stored already moves nothing back.
    assert await by(server, id="x") == cursor
    assert await told(server) == (cursor, 1)
    assert await by(server) != cursor
    assert (await told(server))[1] == 0


async def test_the_others_are_told_and_the_session_that_wrote_is_not(server: Server) -> None:
    news = request("POST", "/v1/pull", token=token(server, device="d2"), body={"mine": True})
    async with (
        session(server, **GRANTS) as writer,
        session(server, **GRANTS) as other,
        session(server, "bob") as bob,
        listening(server, token=token(server)) as stream,
        server.peer() as poller,
    ):
        await stream.expect("hello")
        await poller.write(news)
        assert (await poller.answer()).json["notices"] == []
        frame = {"type": "publish", "id": "1", "to": {"channels": ["news"]}, "message": {"data": 1}}
        await writer.send(frame)
        [result] = (await writer.expect("published"))["results"]
        cursor = f"{result['epoch']}.{result['seq']}"
        read = {"type": "read", "channel": "news", "cursor": cursor}
        assert await other.expect("read") == read
        assert (await stream.expect("read")).data == read
        await poller.write(news)
        assert (await poller.answer()).json["notices"] == [read]
        # Over HTTP nobody knows which session it was: all are told.
        cursor = await by_one(server)
        for socket in (writer, other):
            assert (await socket.expect("read"))["cursor"] == cursor
        # A retry tells nobody.
        await writer.send({**frame, "message": {"data": 2, "id": "x"}})
        await writer.expect("published")
        await other.expect("read")
        await writer.send({**frame, "message": {"data": 2, "id": "x"}})
        assert (await writer.expect("published"))["results"][0]["duplicate"] is True
        for socket in (writer, other, bob):
            await socket.send({"type": "ping"})
            await socket.expect("pong")


async def test_where_no_mark_is_moved(tmp_path: Path) -> None:
    ephemeral = {"typing": Namespace(ephemeral=True)}
    async with running_server(tmp_path, namespaces=ephemeral) as server:
        channels = ["secret", "user:bob", "typing:1", "news", "user:alice"]
        body = {"to": {"channels": channels, "all": True}, "message": {"data": 1}}
        answer = await server.ask("POST", "/v1/publish", token=token(server), body=body)
        assert answer.status == 200, answer
        # Refused: nothing was stored.
        for path, message in [("news", {"data": 1, "sender": "bob"}), ("other", {"data": 1})]:
            path = f"/v1/channels/{path}/messages"
            answer = await server.ask("POST", path, token=token(server), body=message)
            assert answer.status == 403
        # What a service says in her name she has not read.
        await server.publish("news", 1, sender="alice")
        answer = await server.ask("GET", "/v1/users/alice", token=KEY)
        read = {each["channel"]: each["unread"] for each in answer.json["channels"] if each["read"]}
        assert read == {"news": 1, "user:alice": 0, "all": 0}
