"""Section 3, bodies: their forms and sizes, and what is stored of them."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pushd.log.store import Store
from tests.conformance.api import KEY, Answer, Api
from tests.support.app import until
from tests.support.http import request

NEWS = "/v1/channels/news/messages"


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
            go.wait(60)
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
