"""Publishing until the outcome is known, against an HTTP server in memory; the clock jumps."""

from __future__ import annotations

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from pushd.client import BadAnswer, Client, Unreachable
from pushd.errors import (
    BadRequest,
    Conflict,
    Expired,
    Forbidden,
    Overloaded,
    PushdError,
    StorageFull,
    TooLarge,
)
from tests.client.stores import URL, Store, client_of, problem


class Reading(msgspec.Struct):
    value: float


async def test_what_is_sent() -> None:
    store = Store()
    async with client_of(store) as client:
        done = await client.publish("#ubuntu", {"text": "hi"}, type="chat", id="i1", sender="bob")
    request = store.requests[0][1]
    assert request.url.raw_path == b"/base/v1/channels/%23ubuntu/messages"
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["Content-Type"] == "application/json"
    assert store.bodies() == [{"type": "chat", "sender": "bob", "data": {"text": "hi"}, "id": "i1"}]
    assert (done.seq, done.id, done.duplicate) == (1, "i1", False)


@pytest.mark.parametrize(
    "data",
    [float("nan"), {"a": [1, float("inf")]}, (None, -float("inf")), Reading(float("nan"))],
)
async def test_nothing_is_sent_as_another_value(data: object) -> None:
    """NaN has no JSON: it would be stored as null, and nobody would know."""
    store = Store()
    async with client_of(store) as client:
        with pytest.raises(BadRequest, match="NaN"):
            await client.publish("a", data)
        with pytest.raises(BadRequest, match="NaN"):
            await anext(client.publish_lines([("a", {"data": data})]))
        assert store.requests == []
        await client.publish("a", {"none": None, "float": 1.5})


@pytest.mark.parametrize("kind", ["channels", "users", "groups"])
async def test_a_name_is_not_taken_for_a_list_of_letters(kind: str) -> None:
    store = Store()
    async with client_of(store) as client:
        with pytest.raises(BadRequest, match=r"\['bob'\]"):
            await client.publish_to("x", **{kind: "bob"})  # type: ignore[arg-type]
    assert store.requests == []


@pytest.mark.parametrize("channel", ["user:alice", "日本", "a b", "50%", "x&y=z#", "a;b+c"])
async def test_any_name_arrives_as_it_is(channel: str) -> None:
    store = Store()
    async with client_of(store) as client:
        await client.publish(channel, None)
    assert [name for name, _ in store.messages] == [channel]
    assert b"?" not in store.requests[0][1].url.raw_path


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.ReadError("reset"),
        httpx.ConnectError("refused"),
        problem(500, "internal"),
        problem(503, "not_ready"),
        problem(429, "rate_limited"),
        problem(408, "bad_request"),
        httpx.Response(502, text="<html>bad gateway"),
        httpx.Response(504),
    ],
    ids=str,
)
async def test_doubt_is_ended_with_the_same_id(
    autojump_clock: MockClock, trouble: httpx.Response | Exception
) -> None:
    store = Store(trouble, trouble)
    async with client_of(store) as client:
        done = await client.publish("a", 1)
    sent = {body["id"] for body in store.bodies()}
    assert len(store.requests) == 3
    assert sent == {done.id}
    assert len(store.messages) == 1
    assert len(done.id) >= 16


async def test_doubt_about_many_is_ended_with_the_same_id(autojump_clock: MockClock) -> None:
    store = Store(
        problem(500, "internal"), httpx.Response(504), httpx.Response(200, text='{"results":[]}')
    )
    async with client_of(store) as client:
        assert await client.publish_to(1, channels=["a"], everybody=True) == []
    first, *others = store.bodies()
    assert others == [first, first]
    assert len(first["message"]["id"]) >= 16


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(400, "bad_request"), BadRequest),
        (problem(403, "forbidden"), Forbidden),
        (problem(409, "conflict"), Conflict),
        (problem(413, "too_large"), TooLarge),
        (problem(507, "storage_full"), StorageFull),
        (problem(418, "teapot"), PushdError),
        (httpx.Response(403, text="no"), Forbidden),
        (httpx.Response(302, headers={"Location": "/x"}), BadAnswer),
        (httpx.Response(200, text="welcome to the hotel"), BadAnswer),
        (httpx.Response(201, json={"seq": "1"}), BadAnswer),
    ],
)
async def test_a_definite_no_is_raised_at_once(
    answer: httpx.Response, kind: type[PushdError]
) -> None:
    store = Store(answer)
    async with client_of(store) as client:
        with pytest.raises(kind) as raised:
            await client.publish("a", 1)
    assert len(store.requests) == 1
    assert raised.value.detail
    assert "secret" not in str(raised.value)


async def test_retry_after_is_obeyed(autojump_clock: MockClock) -> None:
    store = Store(problem(503, "overloaded", retry_after=7))
    async with client_of(store) as client:
        await client.publish("a", 1)
    (first, _), (second, _) = store.requests
    assert 7 <= second - first <= 7.25


async def test_gives_up_with_the_last_reason(autojump_clock: MockClock) -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    waits: list[float] = []
    async with client_of(
        never, give_up_s=60, on_retry=lambda error, delay: waits.append(delay)
    ) as client:
        began = trio.current_time()
        with pytest.raises(Unreachable, match=r"No server answers at http://127\.0\.0\.1:1"):
            await client.publish("a", 1)
    assert trio.current_time() - began == pytest.approx(60)
    assert len(waits) > 5
    assert max(waits) <= 10


async def test_a_wait_longer_than_patience_is_not_begun(autojump_clock: MockClock) -> None:
    store = Store(problem(503, "overloaded", retry_after=100))
    async with client_of(store, give_up_s=60) as client:
        with pytest.raises(Overloaded):
            await client.publish("a", 1)
    assert trio.current_time() == 0


async def test_pull_parses_messages_and_raises_resets() -> None:
    page = {
        "channel": "a", "epoch": "000000aaa", "first": 1, "head": 2, "next": "000000aaa.1",
        "more": True, "future": 1,
        "messages": [{"seq": 1, "id": "x", "type": "message", "at": 5, "data": [1], "new": 2}],
    }  # fmt: skip
    reset = problem(410, "expired", epoch="000000aaa", first=5, head=9, skipped=3, resume="c.4")
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        return httpx.Response(200, json=page) if len(asked) == 1 else reset

    async with Client(URL, "k", device="d 1", transport=httpx.MockTransport(handler)) as client:
        pulled = await client.pull("a", after="0", limit=1, wait=2.5)
        assert (pulled.next, pulled.more, pulled.messages[0].data) == ("000000aaa.1", True, [1])
        assert asked == [{"after": "0", "limit": "1", "wait": "2.5", "device": "d 1"}]
        with pytest.raises(Expired) as raised:
            await client.pull("a")
    assert raised.value.extra["resume"] == "c.4"
    assert raised.value.extra["skipped"] == 3
    assert asked[1] == {"device": "d 1"}


async def test_channels_are_read_page_by_page() -> None:
    pages = iter([(["a", "b"], "t1"), (["c"], None)])
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        names, more = next(pages)
        items = [{"channel": name, "epoch": "e", "first": 1, "head": 3} for name in names]
        return httpx.Response(200, json={"items": items, "next": more})

    async with client_of(handler) as client:
        assert [item.channel for item in await client.channels("x:")] == ["a", "b", "c"]
    assert asked == [{"prefix": "x:"}, {"prefix": "x:", "next": "t1"}]
