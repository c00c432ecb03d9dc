"""Section 3: publishing. 2xx is on disk, 4xx stored nothing, anything else: ask again by id."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.log.idclock import IdClock
from pushd.settings import ApiKeyTable
from tests.conformance.api import KEY, Answer, Api, serving

NEWS = "/v1/channels/news/messages"


async def post(api: Api, body: Any, token: str = KEY, path: str = NEWS, **members: Any) -> Answer:
    return await api.ask("POST", path, token=token, body=body, **members)


async def stored(api: Api, channel: str = "news") -> list[Any]:
    """What a client pulls: the only proof that something was stored, or was not."""
    answer = await api.pull(channel, after=0, limit=1000)
    return [message["data"] for message in answer.json["messages"]]


async def test_the_answer_names_the_position_and_the_message_is_there(api: Api) -> None:
    first = await post(api, {"data": {"text": "hi"}, "type": "t", "id": "a", "sender": "bob"})
    assert first.status == 201
    assert set(first.json) == {"channel", "epoch", "seq", "id", "at"}
    assert (first.json["channel"], first.json["seq"], first.json["id"]) == ("news", 1, "a")
    second = await post(api, {"data": None})
    assert second.json["seq"] == 2
    assert second.json["epoch"] == first.json["epoch"]
    assert second.json["at"] >= first.json["at"]
    messages = (await api.pull("news", after=0)).json["messages"]
    assert messages[0] == {
        "seq": 1,
        "id": "a",
        "type": "t",
        "sender": "bob",
        "at": first.json["at"],
        "data": {"text": "hi"},
    }
    assert "sender" not in messages[1], "a service without a sender"
    assert (messages[1]["type"], messages[1]["data"]) == ("message", None)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
async def test_a_text_body_is_a_string(api: Api, kind: str) -> None:
    answer = await post(api, 'say "hi" ☂'.encode(), headers={"Content-Type": kind})
    assert answer.status == 201
    assert await stored(api) == ['say "hi" ☂']


async def test_an_id_stores_at_most_once(api: Api) -> None:
    first = await post(api, {"data": 1, "id": "x"})
    again = await post(api, {"data": 1, "id": "x"})
    assert again.status == 200
    assert again.json == {**first.json, "duplicate": True}
    for other in ({"data": 2}, {"data": 1, "type": "u"}, {"data": 1, "sender": "bob"}):
        assert (await post(api, {**other, "id": "x"})).code == "conflict"
    assert await stored(api) == [1]


async def test_ids_count_per_channel_and_publisher(api: Api) -> None:
    alice = api.server.token("alice", publish=["*"])
    bob = api.server.token("bob", publish=["*"])
    for path in (NEWS, "/v1/channels/other/messages"):
        for token in (KEY, alice, bob):
            assert (await post(api, {"data": 1, "id": "x"}, token, path)).status == 201
    assert await stored(api) == [1, 1, 1]


async def test_all_services_share_their_ids(tmp_path: Path, kept: bool) -> None:
    digest = hashlib.sha256(b"the-key-of-another-service").hexdigest()
    table = ApiKeyTable("other", digest, ("publish",))
    async with serving(tmp_path, kept, keys=(table,)) as api:
        first = await post(api, {"data": 1, "id": "x"})
        again = await post(api, {"data": 1, "id": "x"}, "the-key-of-another-service")
        assert again.json == {**first.json, "duplicate": True}
        other = await post(api, {"data": 2, "id": "x"}, "the-key-of-another-service")
        assert other.code == "conflict"


async def test_an_id_is_known_for_a_day(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    now, hours = IdClock.now_ms, [0.0]
    monkeypatch.setattr(IdClock, "now_ms", lambda self: now(self) + int(hours[0] * 3_600_000))
    assert (await post(api, {"data": 1, "id": "x"})).status == 201
    hours[0] = 23.9
    assert (await post(api, {"data": 1, "id": "x"})).status == 200
    hours[0] = 24.1
    assert (await post(api, {"data": 2, "id": "x"})).status == 201
    assert await stored(api) == [1, 2]


@pytest.mark.parametrize(("size", "status"), [(128, 201), (129, 400), (0, 400)])
async def test_the_length_of_an_id(api: Api, size: int, status: int) -> None:
    assert (await post(api, {"data": 1, "id": "i" * size})).status == status


async def test_the_sender_of_a_users_message_is_the_user(api: Api) -> None:
    alice = api.server.token("alice", publish=["news"])
    assert (await post(api, {"data": 1}, alice)).status == 201
    assert (await post(api, {"data": 2, "sender": "bob"}, alice)).code == "forbidden"
    (message,) = (await api.pull("news", after=0)).json["messages"]
    assert message["sender"] == "alice"


DEEP = b"[" * 33 + b"]" * 33


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        DEEP,
        b"NaN",
        b"1e999",
        b'{"a":1,"a":2}',
        b"",
        b"1 2",
    ],
    ids=repr,
)
async def test_what_not_every_client_could_read_is_not_stored(api: Api, data: bytes) -> None:
    answer = await post(
        api, b'{"data":' + data + b"}", headers={"Content-Type": "application/json"}
    )
    assert answer.code == "bad_request"
    assert await stored(api) == []


async def test_the_bytes_of_the_body_are_kept(api: Api) -> None:
    data = b'{ "b" : 1.50, "a":"\\u00e9\\/" , "deep":' + b"[" * 31 + b"]" * 31 + b"}"
    body = b'{"data":' + data + b"}"
    assert (await post(api, body, headers={"Content-Type": "application/json"})).status == 201
    answer = await api.pull("news", after=0)
    assert b'"data":' + data + b"}" in answer.body


async def test_to_many_in_one_transaction(api: Api) -> None:
    to = {"channels": ["news", "news"], "users": ["bob", "carl"], "groups": ["g"], "all": True}
    answer = await post(api, {"to": to, "message": {"data": 1}}, path="/v1/publish")
    results = answer.json["results"]
    assert [each["channel"] for each in results] == [
        "news",
        "user:bob",
        "user:carl",
        "group:g",
        "all",
    ]
    for each in results:
        assert {"epoch", "seq", "at"} <= set(each)
        assert await stored(api, each["channel"]) == [1]
    async with api.socket(token=api.server.token("bob")) as socket:
        await socket.expect("hello")
        answer = await post(
            api, {"to": {"users": ["bob", "carl"]}, "message": {"data": 2}}, path="/v1/publish"
        )
    assert [each["online"] for each in answer.json["results"]] == [True, False]


async def test_one_target_that_is_not_permitted_and_none_is_stored(api: Api) -> None:
    alice = api.server.token("alice", publish=["news"])
    to = {"channels": ["news", "secret"]}
    answer = await post(api, {"to": to, "message": {"data": 1}}, alice, "/v1/publish")
    assert answer.code == "forbidden"
    assert await stored(api) == []


@pytest.mark.parametrize(("count", "status"), [(10_000, 200), (10_001, 413), (0, 400)])
async def test_how_many_targets(api: Api, count: int, status: int) -> None:
    to = {"channels": [f"c{number}" for number in range(count)]}
    answer = await post(api, {"to": to, "message": {"data": 1}}, path="/v1/publish")
    assert answer.status == status
    if status == 200:
        assert len(answer.json["results"]) == count


async def test_lines_are_acked_each_by_its_own_result(api: Api) -> None:
    lines = [
        {"channel": "news", "data": 1, "id": "a"},
        {"channel": "news", "data": 1, "id": "a"},
        {"channel": "news", "data": 2, "id": "a"},
        {"channel": "$control", "data": 1},
        {"channel": "other", "data": 3},
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines) + b"\nno json\n"
    kind = {"Content-Type": "application/x-ndjson"}
    answer = await post(api, body, path="/v1/publish", headers=kind)
    assert answer.status == 200
    results = [json.loads(line) for line in answer.body.splitlines()]
    assert [each["line"] for each in results] == [1, 2, 3, 4, 5, 6]
    assert [each.get("code") for each in results] == [
        None,
        None,
        "conflict",
        "forbidden",
        None,
        "bad_request",
    ]
    assert results[1]["duplicate"] is True
    assert await stored(api) == [1]
    assert await stored(api, "other") == [3]


async def test_a_full_disk_refuses_and_pulls_go_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.publish("news", 1)
    monkeypatch.setattr("pushd.log.space.FreeSpace.is_low", lambda _: True)
    refused = await post(api, {"data": 2})
    assert (refused.status, refused.code) == (507, "storage_full")
    assert await stored(api) == [1]
    monkeypatch.undo()
    assert (await post(api, {"data": 2})).status == 201


async def test_a_full_backlog_says_when_to_come_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.publish("other", 1)
    monkeypatch.setattr(api.server.hub.log, "_backlog", 16 * 1024 * 1024)
    answer = await post(api, {"data": 1})
    assert (answer.status, answer.code) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    monkeypatch.setattr(api.server.hub.log, "_backlog", 0)
    assert (await post(api, {"data": 1})).status == 201


async def test_whoever_retries_after_a_lost_answer_stores_once(api: Api) -> None:
    async with api.line() as line:
        body = b'{"data":1,"id":"lost"}'
        await line.write(
            f"POST {NEWS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        # The answer is never read.
    with trio.fail_after(60):
        answer = await post(api, {"data": 1, "id": "lost"})
    assert answer.status in (200, 201)
    assert await stored(api) == [1]
