"""``POST /v1/channels/{channel}/messages``: what is stored, what is answered, what is refused."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.support.app import KEY, Server
from tests.support.http import Answer, ConnectionLost, patience, request

NEWS = "/v1/channels/news/messages"
PLAIN = {"Content-Type": "text/plain"}


async def stored(server: Server, channel: str = "news") -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = (await server.pull(channel, after=0)).json["messages"]
    return messages


async def publish(server: Server, body: object, **members: Any) -> Answer:
    return await server.ask("POST", NEWS, token=members.pop("token", KEY), body=body, **members)


async def test_the_answer_and_what_was_stored(server: Server) -> None:
    before = int(time.time() * 1000)
    answer = await publish(server, {"data": {"text": "hello"}})
    assert answer.status == 201
    result = answer.json
    epoch = result["epoch"]
    assert result == {
        "channel": "news",
        "epoch": epoch,
        "seq": 1,
        "id": f"{epoch}.1",
        "at": result["at"],
    }
    assert before <= result["at"] <= int(time.time() * 1000)
    assert await stored(server) == [
        {
            "seq": 1,
            "id": f"{epoch}.1",
            "type": "message",
            "at": result["at"],
            "data": {"text": "hello"},
        }
    ]


async def test_every_member_is_kept(server: Server) -> None:
    body = {"data": None, "type": "note", "id": "n1", "sender": "älice"}
    answer = await publish(server, body)
    [message] = await stored(server)
    assert answer.json["id"] == "n1"
    assert {name: message[name] for name in body} == body


async def test_data_is_kept_byte_for_byte(server: Server) -> None:
    raw = b'{"b" : 1.50, "a":"\\u00e9\xc3\xa9", "big":9007199254740991}'
    await publish(server, b'{"data": ' + raw + b" }")
    assert b'"data":' + raw + b"}" in (await server.pull("news", after=0)).body


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b'{"data":1}', 1),
        ("Application/JSON; charset=utf-8", b'{"data":1}', 1),
        ("application/vnd.example+json", b'{"data":1}', 1),
        ("text/plain", b"hi", "hi"),
        ("text/plain; charset=utf-8", 'grüß "dich"\n'.encode(), 'grüß "dich"\n'),
        ("text/plain", b'{"data":1}', '{"data":1}'),
        ("text/plain", b"", ""),
        ("application/x-www-form-urlencoded", b"a=1&b=%20", "a=1&b=%20"),  # curl -d
    ],
)
async def test_forms_of_a_body(
    server: Server, content_type: str, body: bytes, data: object
) -> None:
    answer = await publish(server, body, headers={"Content-Type": content_type})
    assert answer.status == 201
    assert [message["data"] for message in await stored(server)] == [data]


async def test_without_a_type_it_is_json(server: Server) -> None:
    assert (await publish(server, b'{"data":1}')).status == 201
    assert (await publish(server, b"hi")).status == 400


@pytest.mark.parametrize("name", ["a", "room:1", "Ünïcode", "日本", "a%b", "a b"[::2], "~", "a.b"])
async def test_names_in_the_path(server: Server, name: str) -> None:
    path = f"/v1/channels/{quote(name, safe='')}/messages"
    answer = await server.ask("POST", path, token=KEY, body={"data": 1})
    assert answer.json["channel"] == name
    assert list(server.hub.log.heads) == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("", "..", ".", "%2e%2e", "%00", "a%0d%0ab", "a*", "a%3Fb", "a%2Fb", "a/b", "a%20b"),
        *("a%2Cb", "%ff", "%c0%af", "e%CC%81", "user:", "user:a:b:c", "group:", "a%E2%80%8Bb"),
        "x" * 256,
    ],
)
async def test_no_names(server: Server, name: str) -> None:
    for method, after in [("POST", ""), ("GET", "?after=0")]:
        path = f"/v1/channels/{name}/messages{after}"
        answer = await server.ask(method, path, token=KEY, body={"data": 1})
        assert (answer.status, answer.code) == (400, "bad_request"), answer.json
    assert server.hub.log.heads == {}


BAD: dict[str, tuple[bytes | object, dict[str, str], int]] = {
    "empty": (b"", {}, 400),
    "no data": ({}, {}, 400),
    "a list": ([1], {}, 400),
    "a string": ("hi", {}, 400),
    "trailing": (b'{"data":1}x', {}, 400),
    "cut off": (b'{"data":', {}, 400),
    "twice": (b'{"data":1,"data":2}', {}, 400),
    "nan": (b'{"data":NaN}', {}, 400),
    "infinite": (b'{"data":1e999}', {}, 400),
    "2^53": (b'{"data":9007199254740992}', {}, 400),
    "lone surrogate": (b'{"data":"\\ud800"}', {}, 400),
    "no utf-8": (b'{"data":"\xff"}', {}, 400),
    "bom": (b'\xef\xbb\xbf{"data":1}', {}, 400),
    "utf-16": ('{"data":1}'.encode("utf-16"), {}, 400),
    "too deep": (b'{"data":' + b"[" * 33 + b"]" * 33 + b"}", {}, 400),
    "far too deep": (b'{"data":' + b"[" * 30_000, {}, 400),
    "id is a number": ({"data": 1, "id": 1}, {}, 400),
    "id is empty": ({"data": 1, "id": ""}, {}, 400),
    "id is long": ({"data": 1, "id": "x" * 129}, {}, 400),
    "id is long in bytes": ({"data": 1, "id": "ü" * 65}, {}, 400),
    "type is empty": ({"data": 1, "type": ""}, {}, 400),
    "type is long": ({"data": 1, "type": "x" * 65}, {}, 400),
    "type is null": ({"data": 1, "type": None}, {}, 400),
    "sender is no user": ({"data": 1, "sender": "a:b"}, {}, 400),
    "text is no utf-8": (b"\xff", PLAIN, 400),
    "an image": (b"GIF89a", {"Content-Type": "image/gif"}, 400),
    "form data": (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 400),
    "data beyond its limit": ({"data": "x" * 65_535}, {}, 413),
    "text beyond its limit": (b"\x01" * 20_000, PLAIN, 413),  # six bytes each as JSON
}


@pytest.mark.parametrize("name", BAD)
async def test_a_refused_message_is_not_stored(server: Server, name: str) -> None:
    body, headers, status = BAD[name]
    async with server.peer() as peer:
        answer = await peer.ask("POST", NEWS, token=KEY, body=body, headers=headers)
        assert answer.status == status, answer.json
        assert answer.code == ("bad_request" if status == 400 else "too_large")
        assert (await peer.ask("GET", "/healthz")).status == 200, "the connection lives on"
    assert server.hub.log.heads == {}


async def test_the_same_id_again_is_the_same_answer(server: Server) -> None:
    body = {"data": [1, 2], "id": "m1", "type": "note"}
    first = await publish(server, body)
    again = await publish(server, body)
    assert (first.status, again.status) == (201, 200)
    assert again.json == {**first.json, "duplicate": True}
    elsewhere = await server.publish("other", [1, 2], id="m1", type="note")
    assert elsewhere["seq"] == 1, "ids belong to their channel"
    assert len(await stored(server)) == 1


@pytest.mark.parametrize("change", [{"data": 2}, {"type": "other"}, {"sender": "bob"}])
async def test_the_same_id_for_something_else(server: Server, change: dict[str, Any]) -> None:
    body = {"data": 1, "id": "m1", "type": "note", "sender": "alice"}
    await publish(server, body)
    answer = await publish(server, {**body, **change})
    assert (answer.status, answer.code) == (409, "conflict")
    assert (await publish(server, body)).status == 200
    assert len(await stored(server)) == 1


async def test_ids_belong_to_their_publisher(server: Server) -> None:
    alice, bob = (server.token(user, publish=["*"]) for user in ("alice", "bob"))
    seqs = []
    for token in (KEY, alice, bob, alice, KEY):
        answer = await publish(server, {"data": 1, "id": "m1"}, token=token)
        seqs.append((answer.status, answer.json["seq"]))
    assert seqs == [(201, 1), (201, 2), (201, 3), (200, 2), (200, 1)]


async def test_the_sender_of_a_users_message_is_the_user(server: Server) -> None:
    token = server.token("alice", publish=["*"])
    assert (await publish(server, {"data": 1}, token=token)).status == 201
    assert (await publish(server, {"data": 2, "sender": "alice"}, token=token)).status == 201
    refused = await publish(server, {"data": 3, "sender": "bob"}, token=token)
    assert (refused.status, refused.code) == (403, "forbidden")
    assert [message["sender"] for message in await stored(server)] == ["alice", "alice"]


async def test_order_of_one_connection_is_the_order_of_seqs(server: Server) -> None:
    async with server.peer() as peer:
        count = 200
        await peer.write(
            b"".join(request("POST", NEWS, token=KEY, body={"data": at}) for at in range(count))
        )
        seqs = [(await peer.answer()).json["seq"] for _ in range(count)]
    assert seqs == list(range(1, count + 1))
    data = (await server.pull("news", after=0, limit=1000)).json["messages"]
    assert [message["data"] for message in data] == list(range(count))


async def test_many_at_once_are_each_stored_once(server: Server) -> None:
    seqs: list[int] = []

    async def one(number: int) -> None:
        seqs.append((await server.publish("news", number))["seq"])

    with patience():
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
    assert sorted(seqs) == list(range(1, 51))
    assert sorted(message["data"] for message in await stored(server)) == list(range(50))


async def test_a_publisher_that_leaves_at_once_has_published(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(request("POST", NEWS, token=KEY, body={"data": 1, "id": "m1"}))
    with patience():
        while not server.hub.log.heads:
            await trio.lowlevel.checkpoint()
    assert (await publish(server, {"data": 1, "id": "m1"})).json["duplicate"] is True
    with pytest.raises(ConnectionLost):
        await peer.answer()
