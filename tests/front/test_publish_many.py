"""``POST /v1/publish``: one message to many targets, stored in all of them or in none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.app import KEY, Server, running_server, until
from tests.support.events import listening
from tests.support.groups import change
from tests.support.http import Answer

DEEP = b"[" * 32 + b"]" * 32


async def publish(server: Server, to: object, token: str = KEY, **message: Any) -> Answer:
    body = {"to": to, "message": {"data": 1, **message}}
    return await server.ask("POST", "/v1/publish", token=token, body=body)


async def test_targets_of_every_kind_each_once(server: Server) -> None:
    to = {
        "channels": ["news", "user:alice:orders", "news", "group:x"],
        "users": ["alice", "bob"],
        "groups": ["x"],
        "all": True,
    }
    answer = await publish(server, to)
    assert answer.status == 200
    results = answer.json["results"]
    named = [result["channel"] for result in results]
    assert named == ["news", "user:alice:orders", "group:x", "user:alice", "user:bob", "all"]
    assert all(result["seq"] == 1 and result["epoch"] for result in results)
    assert set(server.hub.log.heads) == set(named)


async def test_each_result_says_whether_somebody_is_there(server: Server) -> None:
    to = {
        "users": ["alice", "bob"],
        "channels": ["user:alice:orders", "user:bob:orders", "news", "later", "polled", "nobody"],
        "all": True,
    }

    async def online() -> list[str]:
        results = (await publish(server, to)).json["results"]
        assert all(isinstance(result["online"], bool) for result in results)
        return [result["channel"] for result in results if result["online"]]

    async def poll() -> None:
        await server.pull("polled", after="head", wait=60)

    assert await online() == []
    async with server.socket("/v1/ws?channels=news", token=server.token("alice")) as socket:
        session = (await socket.expect("hello"))["session"]
        assert await online() == ["user:alice:orders", "news", "user:alice", "all"]
        assert (await publish(server, {"sessions": [session]})).json["results"][0]["online"] is True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll)
            await until(lambda: server.hub.pulls.held)
            assert "polled" in await online()
        # The frame says the same, and an event stream counts as well.
        async with listening(server, "channels=later", token=server.token("bob")) as stream:
            await stream.expect("hello")
            async with server.socket(token=KEY) as service:
                await service.expect("hello")
                frame = {"type": "publish", "to": {**to, "all": False}, "message": {"data": 1}}
                await service.send(frame)
                results = (await service.expect("published"))["results"]
                assert [result["online"] for result in results] == [
                    *(True, True, True, True, False, False, True, True)
                ]
    await until(lambda: not server.hub.sessions.by_id)
    assert await online() == []


async def test_a_group_is_online_as_soon_as_a_member_is(server: Server) -> None:
    await change(server, "staff", add=["alice", "bob"])
    await change(server, "board", add=["carl"])

    async def online() -> list[bool]:
        results = (await publish(server, {"groups": ["staff", "board", "nobody"]})).json["results"]
        return [result["online"] for result in results]

    assert await online() == [False, False, False]
    async with server.socket(token=server.token("bob")) as socket:
        await socket.expect("hello")
        assert await online() == [True, False, False]
        await change(server, "staff", remove=["bob"])
        assert await online() == [False, False, False], "alice is not there"
        # One who follows it without being a member: a service.
        async with server.socket("/v1/ws?channels=group:board", token=KEY) as service:
            await service.expect("hello")
            assert await online() == [False, False, False]


async def test_the_same_id_again_in_all_and_in_some(server: Server) -> None:
    first = (await publish(server, {"channels": ["a", "b"]}, id="m1")).json["results"]
    again = (await publish(server, {"channels": ["a", "b"]}, id="m1")).json["results"]
    assert again == [{**result, "duplicate": True} for result in first]
    more = (await publish(server, {"channels": ["b", "c"]}, id="m1")).json["results"]
    assert [result.get("duplicate", False) for result in more] == [True, False]
    assert [server.hub.log.heads[name].seq for name in "abc"] == [1, 1, 1]


async def test_a_conflict_in_one_channel_stores_in_none(server: Server) -> None:
    await server.publish("b", "other", id="m1")
    answer = await publish(server, {"channels": ["a", "b", "c"]}, id="m1")
    assert (answer.status, answer.code) == (409, "conflict")
    assert list(server.hub.log.heads) == ["b"]


async def test_one_forbidden_target_stores_in_none(server: Server) -> None:
    token = server.token("alice", publish=["room:*"])
    answer = await publish(server, {"channels": ["room:1", "news", "room:2"]}, token)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert "news" in answer.json["detail"]
    assert server.hub.log.heads == {}


BAD: list[tuple[object, int]] = [
    ({}, 400),
    ({"channels": []}, 400),
    ({"all": False}, 400),
    ({"channels": "news"}, 400),
    ({"channels": [""]}, 400),
    ({"channels": ["a", "b/c"]}, 400),
    ({"channels": ["$control"]}, 403),
    ({"users": ["a:b"]}, 400),
    ({"users": [""]}, 400),
    ({"users": [1]}, 400),
    ({"groups": [""]}, 400),
    ({"all": 1}, 400),
    ({"everybody": True}, 400),
    ({"sessions": [""]}, 400),
    ({"sessions": "s1"}, 400),
    ({"sessions": ["s1"]}, 404),
    ({"users": ["alice"], "sessions": ["s1"]}, 404),
    ("news", 400),
    (None, 400),
]


@pytest.mark.parametrize(("to", "status"), BAD, ids=lambda value: str(value)[:30])
async def test_no_targets(server: Server, to: object, status: int) -> None:
    answer = await publish(server, to)
    assert answer.status == status, answer.json
    assert answer.code == {400: "bad_request", 403: "forbidden", 404: "not_found"}[status]
    assert server.hub.log.heads == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"to":{"all":true}}',
        b'{"message":{"data":1}}',
        b'{"to":{"all":true},"message":{}}',
        b'{"to":{"all":true},"message":{"data":NaN}}',
        b'{"to":{"all":true},"message":{"data":1},"wait":{"ms":1}}',
        b'{"to":{"all":true},"message":{"data":[' + DEEP + b"]}}",
    ],
)
async def test_other_bodies(server: Server, body: bytes) -> None:
    answer = await server.ask("POST", "/v1/publish", token=KEY, body=body)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert server.hub.log.heads == {}


async def test_the_same_depth_is_accepted_on_every_route(server: Server) -> None:
    message = b'{"data":' + DEEP + b',"channel":"c"}'
    one = await server.ask("POST", "/v1/channels/a/messages", token=KEY, body=message)
    body = b'{"to":{"channels":["b"]},"message":%b}' % message
    many = await server.ask("POST", "/v1/publish", token=KEY, body=body)
    lines = {"Content-Type": "application/x-ndjson"}
    line = await server.ask("POST", "/v1/publish", token=KEY, body=message, headers=lines)
    assert [one.status, many.status, line.status] == [201, 200, 200]
    assert set(server.hub.log.heads) == {"a", "b", "c"}


async def test_as_many_targets_as_allowed_and_one_more(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_targets=20) as server:
        names = [f"room:{number}" for number in range(21)]
        refused = await publish(server, {"channels": names})
        assert (refused.status, refused.code) == (413, "too_large")
        assert server.hub.log.heads == {}
        answer = await publish(server, {"channels": names[:20]})
        assert len(answer.json["results"]) == 20
        assert len(server.hub.log.heads) == 20


async def test_a_full_backlog_says_when_to_come_again(tmp_path: Path) -> None:
    async with running_server(tmp_path, publish_backlog=65_536) as server:
        names = [f"room:{number}" for number in range(100)]
        answer = await publish(server, {"channels": names}, data="x" * 1000)
        assert (answer.status, answer.code) == (413, "too_large"), "it would never fit"
        assert server.hub.log.heads == {}
