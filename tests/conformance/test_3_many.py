"""Section 3, many: one message to many targets, many messages line by line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.api import KEY, Answer, Api

NEWS = "/v1/channels/news/messages"
MIB = 1024 * 1024


async def post(api: Api, body: Any, path: str = "/v1/publish", kind: str | None = None) -> Answer:
    headers = {} if kind is None else {"Content-Type": kind}
    return await api.ask("POST", path, token=KEY, body=body, headers=headers)


async def stored(api: Api, channel: str = "news") -> list[Any]:
    answer = await api.pull(channel, after=0, limit=1000)
    return [message["data"] for message in answer.json["messages"]]


MANY = {"to": {"channels": ["news"]}, "message": {"data": 1}}


@pytest.mark.parametrize(
    "body",
    [
        {**MANY, "wait": {"delivered_to": "alice", "seconds": 5}},
        {**MANY, "session": "x"},
        {**MANY, "to": {"channels": ["news"], "user": "bob"}},
        {**MANY, "to": {"channels": ["news", "a b"]}},
        {**MANY, "to": {"channels": ["news"], "users": ["a:b"]}},
        {**MANY, "to": {}},
        {"to": {"channels": ["news"]}},
        {"message": {"data": 1}},
    ],
    ids=str,
)
async def test_a_publish_to_many_is_understood_whole_or_refused(api: Api, body: Any) -> None:
    assert (await post(api, body)).code == "bad_request"
    assert await stored(api) == []


async def test_a_conflict_in_one_channel_stores_nothing_in_the_others(api: Api) -> None:
    await api.publish("second", 1, id="x")
    body = {"to": {"channels": ["news", "second"]}, "message": {"data": 2, "id": "x"}}
    assert (await post(api, body)).code == "conflict"
    assert (await stored(api), await stored(api, "second")) == ([], [1])
    body["message"] = {"data": 1, "id": "x"}
    results = (await post(api, body)).json["results"]
    assert [each.get("duplicate", False) for each in results] == [False, True]
    assert (await stored(api), await stored(api, "second")) == ([1], [1])


async def test_targets_count_once_however_they_are_named(api: Api) -> None:
    to = {"channels": ["user:bob", "all", "news"], "users": ["bob", "bob"], "all": True}
    results = (await post(api, {**MANY, "to": to})).json["results"]
    assert [each["channel"] for each in results] == ["user:bob", "all", "news"]
    assert [each["online"] for each in results] == [False, False, False]


async def test_one_session_of_a_user(api: Api) -> None:
    token = api.server.token("alice")
    async with api.socket(token=token) as socket:
        session = (await socket.expect("hello"))["session"]
        body = {"to": {"sessions": [session]}, "message": {"data": "here"}}
        [result] = (await post(api, body)).json["results"]
        channel = f"session:{session}"
        assert (result["channel"], result["seq"], result["online"]) == (channel, 1, True)
        told = await socket.expect("subscribed")
        assert told["heads"][channel]["head"] == 1
        pulled = await api.pull(channel, token)
        assert [each["data"] for each in pulled.json["messages"]] == ["here"]
        assert (await api.pull(channel)).code == "forbidden"
        gone = {"to": {"sessions": [session, "gone"]}, "message": {"data": "nowhere"}}
        assert (await post(api, gone)).code == "not_found"
        assert (await api.pull(channel, token, last=10)).json["head"] == 1


async def test_an_answer_that_waits_until_it_is_delivered(api: Api) -> None:
    """Before and after the device has it; and for somebody who cannot have it."""
    body = {"to": {"users": ["alice"]}, "message": {"data": 1, "id": "m"}}
    wait = {"delivered_to": "alice", "ms": 1}
    assert (await post(api, {**body, "wait": wait})).json["delivered"] is False
    token = api.server.token("alice", device="phone")
    cursor = (await api.pull("user:alice", token, after=0)).json["next"]
    acked = await api.ask("POST", "/v1/ack", token=token, body={"cursors": {"user:alice": cursor}})
    assert acked.status == 204
    answer = await post(api, {**body, "wait": {"delivered_to": "alice", "ms": 60_000}})
    assert answer.json["delivered"] is True
    assert answer.json["results"][0]["duplicate"] is True
    for_bob = {**body, "wait": {"delivered_to": "bob"}}
    assert (await post(api, for_bob)).code == "bad_request"


@pytest.mark.parametrize(("size", "status"), [(MIB, 200), (MIB + 1, 413)])
async def test_the_size_of_a_publish_to_many(api: Api, size: int, status: int) -> None:
    body = json.dumps(MANY).encode()
    answer = await post(api, body.ljust(size), kind="application/json")
    assert answer.status == status
    assert await stored(api) == ([1] if status == 200 else [])


async def test_what_all_targets_have_together_fits_into_the_backlog(api: Api) -> None:
    to = {"channels": [f"c{number}" for number in range(300)]}
    body = {"to": to, "message": {"data": "x" * 60_000}}
    assert (await post(api, body)).code == "too_large"
    assert await stored(api, "c0") == []


LINES = "application/x-ndjson"
LINE = b'{"channel":"news","data":1}\n'


async def test_each_line_has_its_number_and_its_result(api: Api) -> None:
    large = b'{"channel":"news","data":"%b"}\n' % (b"x" * 65_536)
    padded = b'{"channel":"news","data":1,"unknown":"%b"}\n' % (b"x" * 65_536)
    body = b"\n" + LINE + b" \n" + large + b"{}\n" + LINE + padded.strip()
    answer = await post(api, body, kind=LINES)
    assert answer.status == 200
    assert answer.headers["content-type"] == LINES
    assert answer.body.endswith(b"\n")
    results = [json.loads(line) for line in answer.body.splitlines()]
    told = [(each["line"], each.get("code"), each.get("seq")) for each in results]
    refused = [(4, "too_large", None), (5, "bad_request", None)]
    assert told == [(2, None, 1), *refused, (6, None, 2), (7, "too_large", None)]
    assert set(results[0]) == {"line", "channel", "epoch", "seq", "id", "at", "online"}
    assert {"line", "code", "status", "detail", "cure"} <= set(results[1])
    assert await stored(api) == [1, 1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (LINE.ljust(8 * MIB), 200),
        (LINE.ljust(8 * MIB + 1), 413),
        (LINE.ljust(10_000 + len(LINE) - 1, b"\n"), 200),
        (LINE.ljust(10_001 + len(LINE) - 1, b"\n"), 413),
    ],
    ids=["8 MiB", "more", "10,000 lines", "one more"],
)
async def test_how_much_may_come_line_by_line(api: Api, body: bytes, status: int) -> None:
    answer = await post(api, body, kind=LINES)
    assert answer.status == status
    assert await stored(api) == ([1] if status == 200 else [])


async def test_how_many_channels_a_user_may_begin(api: Api) -> None:
    token = api.server.token("alice", publish=["*"])
    to = {"channels": [f"c{number}" for number in range(100)]}
    first = await api.ask("POST", "/v1/publish", token=token, body={**MANY, "to": to})
    assert first.status == 200
    refused = await api.ask("POST", NEWS, token=token, body={"data": 1})
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert await stored(api) == []
    again = await api.ask("POST", "/v1/channels/c7/messages", token=token, body={"data": 1})
    assert again.status == 201, "what exists can be published to on"
    assert (await post(api, {"data": 1}, NEWS)).status == 201, "services may begin any number"
