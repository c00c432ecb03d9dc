"""Section 3, bodies: their forms and sizes, and what is stored of them."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from pushd.log.store import Store
from tests.conformance.api import KEY, Answer, Api
from tests.support.app import until
from tests.support.http import request

NEWS = "/v1/channels/news/messages"
MIB = 1024 * 1024


async def post(api: Api, body: Any, path: str = NEWS, kind: str | None = None) -> Answer:
    headers = {} if kind is None else {"Content-Type": kind}
    return await api.ask("POST", path, token=KEY, body=body, headers=headers)


async def stored(api: Api, channel: str = "news") -> list[Any]:
    answer = await api.pull(channel, after=0, limit=1000)
    return [message["data"] for message in answer.json["messages"]]


async def test_nobody_hears_of_it_before_it_is_on_disk(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, reached, go = Store.write, threading.Event(), threading.Event()

    def slow(self: Store, rows: Any) -> Any:
        if rows.messages:
            reached.set()
            go.wait(10)
        return write(self, rows)

    assert await stored(api) == []
    async with api.socket("/v1/ws?channels=news", token=KEY) as socket, api.line() as line:
        await socket.expect("hello")
        monkeypatch.setattr(Store, "write", slow)
        try:
            await line.write(request("POST", NEWS, token=KEY, body={"data": 1}))
            await until(reached.is_set)
            assert await stored(api) == []
            await socket.send({"type": "ping"})
            await socket.expect("pong")
        finally:
            go.set()
        assert (await line.answer()).status == 201
        assert (await socket.expect("hint"))["seq"] == 1
    assert await stored(api) == [1]


async def test_times_are_of_the_server_and_never_fall(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await api.publish("news", 1)
    assert abs(first["at"] - time.time() * 1000) < 60_000
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000_000)
    second = await api.publish("news", 2)
    monkeypatch.undo()
    assert second["at"] >= first["at"]
    messages = (await api.pull("news", after=0)).json["messages"]
    assert [message["at"] for message in messages] == [first["at"], second["at"]]


@pytest.mark.parametrize(
    ("kind", "body", "data"),
    [
        (None, b'{"data":[1]}', [1]),
        ("application/json", b'{"data":[1]}', [1]),
        ("Application/JSON; charset=utf-8", b'{"data":[1]}', [1]),
        ("application/vnd.shop+json", b'{"data":[1]}', [1]),
        ("text/plain", b'{"data":[1]}', '{"data":[1]}'),
        ("text/plain; charset=utf-8", b"", ""),
        ("application/x-www-form-urlencoded", b"a=1&b", "a=1&b"),
        ("text/plain", b"\xff", None),
        ("image/png", b'{"data":[1]}', None),
        ("application/x-ndjson", b'{"data":[1]}', None),
    ],
)
async def test_what_kind_of_body(api: Api, kind: str | None, body: bytes, data: Any) -> None:
    answer = await post(api, body, kind=kind)
    assert (answer.status, await stored(api)) == ((400, []) if data is None else (201, [data]))


@pytest.mark.parametrize(
    ("member", "good", "bad"),
    [
        ("id", "é" * 64, "é" * 65),
        ("id", "i", ""),
        ("type", "t" * 64, "t" * 65),
        ("type", "ü" * 32, "ü" * 33),
        ("type", "t", ""),
        ("sender", "s" * 200, "s" * 201),
        ("sender", "bob", "a b"),
        ("sender", "bob", "a:b"),
    ],
)
async def test_members_have_a_size_in_bytes(api: Api, member: str, good: str, bad: str) -> None:
    assert (await post(api, {"data": 1, member: bad})).code == "bad_request"
    assert (await post(api, {"data": 2, member: good})).status == 201
    (message,) = (await api.pull("news", after=0)).json["messages"]
    assert (message["data"], message[member]) == (2, good)


async def test_an_id_that_was_left_out_is_the_position(api: Api) -> None:
    at = await api.publish("news", 1)
    assert at["id"] == f"{at['epoch']}.1"
    (message,) = (await api.pull("news", after=0)).json["messages"]
    assert message["id"] == at["id"]


async def test_members_that_are_not_known_are_ignored(api: Api) -> None:
    assert (await post(api, {"data": 1, "colour": "red"})).status == 201
    assert (await post(api, {"to": {}, "message": {"data": 1}})).code == "bad_request", "no data"


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (b'{"data":9007199254740991}', True),
        (b'{"data":-9007199254740991}', True),
        (b'{"data":9007199254740992}', False),
        (b'{"data":[-9007199254740992]}', False),
        (b'{"data":{"x":9007199254740992}}', False),
        (b'{"data":{"__proto__":1}}', False),
        (b'{"data":1,"data":2}', False),
        (b'\xef\xbb\xbf{"data":1}', False),
        (b'{"data":1} ', True),
        (b'{"data":1} x', False),
        (b'"data"', False),
        (b'{"data":"%b"}' % (b"x" * 65_534), True),
        (b'{"data":"%b"}' % (b"x" * 65_535), None),
        (b'{"data":1}%b' % (b" " * 70_000), None),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else None,
)
async def test_what_may_be_in_a_body(api: Api, body: bytes, good: bool | None) -> None:
    """None: it is too large."""
    answer = await post(api, body, kind="application/json")
    if good:
        assert answer.status == 201
        return
    assert answer.code == ("too_large" if good is None else "bad_request")
    assert await stored(api) == []


MANY = {"to": {"channels": ["news"]}, "message": {"data": 1}}


@pytest.mark.parametrize(
    "body",
    [
        {**MANY, "wait": {"delivered_to": "alice", "ms": 5000}},
        {**MANY, "session": "x"},
        {**MANY, "to": {"channels": ["news"], "sessions": ["x"]}},
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
    assert (await post(api, body, "/v1/publish")).code == "bad_request"
    assert await stored(api) == []


async def test_a_conflict_in_one_channel_stores_nothing_in_the_others(api: Api) -> None:
    await api.publish("second", 1, id="x")
    body = {"to": {"channels": ["news", "second"]}, "message": {"data": 2, "id": "x"}}
    assert (await post(api, body, "/v1/publish")).code == "conflict"
    assert (await stored(api), await stored(api, "second")) == ([], [1])
    body["message"] = {"data": 1, "id": "x"}
    results = (await post(api, body, "/v1/publish")).json["results"]
    assert [each.get("duplicate", False) for each in results] == [False, True]
    assert (await stored(api), await stored(api, "second")) == ([1], [1])


async def test_targets_count_once_however_they_are_named(api: Api) -> None:
    to = {"channels": ["user:bob", "all", "news"], "users": ["bob", "bob"], "all": True}
    results = (await post(api, {**MANY, "to": to}, "/v1/publish")).json["results"]
    assert [each["channel"] for each in results] == ["user:bob", "all", "news"]
    assert [each.get("online") for each in results] == [False, None, None], "only users are"


@pytest.mark.parametrize(("size", "status"), [(MIB, 200), (MIB + 1, 413)])
async def test_the_size_of_a_publish_to_many(api: Api, size: int, status: int) -> None:
    body = json.dumps(MANY).encode()
    answer = await post(api, body.ljust(size), "/v1/publish", "application/json")
    assert answer.status == status
    assert await stored(api) == ([1] if status == 200 else [])


async def test_what_all_targets_have_together_fits_into_the_backlog(api: Api) -> None:
    to = {"channels": [f"c{number}" for number in range(300)]}
    body = {"to": to, "message": {"data": "x" * 60_000}}
    assert (await post(api, body, "/v1/publish")).code == "too_large"
    assert await stored(api, "c0") == []


LINES = "application/x-ndjson"
LINE = b'{"channel":"news","data":1}\n'


async def test_each_line_has_its_number_and_its_result(api: Api) -> None:
    large = b'{"channel":"news","data":"%b"}\n' % (b"x" * 65_536)
    padded = b'{"channel":"news","data":1,"unknown":"%b"}\n' % (b"x" * 65_536)
    body = b"\n" + LINE + b" \n" + large + b"{}\n" + LINE + padded.strip()
    answer = await post(api, body, "/v1/publish", LINES)
    assert answer.status == 200
    assert answer.headers["content-type"] == LINES
    assert answer.body.endswith(b"\n")
    results = [json.loads(line) for line in answer.body.splitlines()]
    told = [(each["line"], each.get("code"), each.get("seq")) for each in results]
    refused = [(4, "too_large", None), (5, "bad_request", None)]
    assert told == [(2, None, 1), *refused, (6, None, 2), (7, "too_large", None)]
    assert set(results[0]) == {"line", "channel", "epoch", "seq", "id", "at"}
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
    answer = await post(api, body, "/v1/publish", LINES)
    assert answer.status == status
    assert await stored(api) == ([1] if status == 200 else [])
