"""Section 5, frames of the client: what each does, and that none of them closes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import KEY, Api
from tests.support.app import Socket
from tests.support.websocket import TEXT


async def hello_of(socket: Socket) -> dict[str, Any]:
    return await socket.expect("hello")


async def silent(socket: Socket) -> None:
    """Nothing came before the answer to this."""
    await socket.send({"type": "ping"})
    await socket.expect("pong")


async def test_subscribe_and_unsubscribe(api: Api) -> None:
    token = api.server.token("alice", subscribe=["news", "sport"])
    at = await api.publish("news", 1)
    async with api.socket(token=token) as socket:
        await hello_of(socket)
        cursors = {"news": f"{at['epoch']}.1", "sport": "0", "secret": "0"}
        await socket.send({"type": "subscribe", "channels": cursors})
        subscribed = await socket.expect("subscribed")
        assert set(subscribed["heads"]) == {"news", "sport"}
        assert "reset" not in subscribed["heads"]["news"]
        assert subscribed["denied"] == [{"channel": "secret", "code": "forbidden"}]
        await api.publish("sport", 1)
        assert (await socket.expect("hint"))["channel"] == "sport"
        await socket.send({"type": "unsubscribe", "channels": ["sport", "never"]})
        assert (await socket.expect("unsubscribed"))["channels"] == ["sport"]
        await api.publish("sport", 2)
        await api.publish("news", 2)
        assert (await socket.expect("hint"))["channel"] == "news"


async def test_acks_and_read_marks(api: Api) -> None:
    token = api.server.token("alice", device="phone")
    at = await api.publish("news", 1)
    await api.publish("news", 2)
    one, two = f"{at['epoch']}.1", f"{at['epoch']}.2"
    async with api.socket(token=token) as socket, api.socket(token=token) as other:
        await hello_of(socket)
        await hello_of(other)
        await socket.send({"type": "ack", "cursors": {"news": two}})
        await socket.send({"type": "ack", "cursors": {"news": one}})
        await socket.send({"type": "read", "channel": "news", "cursor": one})
        told = await other.expect("read")
        assert (told["channel"], told["cursor"]) == ("news", one)
        await silent(socket)
        await socket.send({"type": "ack", "cursors": {"news": "0mhx3f9ab.1"}})
        assert (await socket.expect("error"))["code"] == "epoch_changed"
    async with api.socket("/v1/ws?channels=news", token=token) as socket:
        head = (await hello_of(socket))["heads"]["news"]
        assert (head["delivered"], head["read"]) == (two, one), "apart, and only rising"


async def test_each_bad_cursor_of_an_ack_is_told(api: Api) -> None:
    token = api.server.token("alice", device="phone", subscribe=["news", "sport"])
    at = await api.publish("news", 1)
    await api.publish("sport", 1)
    async with api.socket(token=token) as socket:
        await hello_of(socket)
        cursors = {"secret": "0", "sport": "41", "news": f"{at['epoch']}.1"}
        await socket.send({"type": "ack", "cursors": cursors})
        told = [await socket.expect("error"), await socket.expect("error")]
        found = [(each["channel"], each["code"]) for each in told]
        assert found == [("secret", "forbidden"), ("sport", "bad_request")]
        await silent(socket)
        await socket.send({"type": "subscribe", "channels": {"news": "0"}})
        head = (await socket.expect("subscribed"))["heads"]["news"]
        assert head["delivered"] == f"{at['epoch']}.1", "the good one is recorded"


async def test_who_has_read_is_told_nothing(api: Api) -> None:
    """Not even where two sessions are of one device: only the others are told."""
    token = api.server.token("alice", device="phone")
    at = await api.publish("news", 1)
    async with api.socket(token=token) as socket, api.socket(token=token) as other:
        await hello_of(socket)
        await hello_of(other)
        frame = {"type": "read", "channel": "news", "cursor": f"{at['epoch']}.1"}
        await socket.send(frame)
        assert await other.expect("read") == frame
        await silent(socket)
        # A mark only rises, and so does what is told of it.
        await api.publish("news", 2)
        await socket.send({**frame, "cursor": f"{at['epoch']}.2"})
        assert (await other.expect("read"))["cursor"] == f"{at['epoch']}.2"
        await socket.send(frame)
        await socket.send({"type": "subscribe", "channels": {"news": "0"}})
        head = (await socket.expect("subscribed"))["heads"]["news"]
        assert head["read"] == f"{at['epoch']}.2"
        await silent(other)


async def test_publishing_over_the_socket(api: Api) -> None:
    token = api.server.token("alice", publish=["news"])
    async with api.socket(token=token) as socket:
        await hello_of(socket)
        frame = {
            "type": "publish",
            "id": "p1",
            "to": {"channels": ["news"]},
            "message": {"data": 7},
        }
        await socket.send(frame)
        published = await socket.expect("published")
        assert published["id"] == "p1"
        assert [each["seq"] for each in published["results"]] == [1]
        await socket.send(frame)
        again = await socket.expect("published")
        assert again["results"][0]["duplicate"] is True
        await socket.send({**frame, "id": "p2", "to": {"channels": ["secret"]}})
        error = await socket.expect("error")
        assert (error["id"], error["code"]) == ("p2", "forbidden")
    (message,) = (await api.pull("news", after=0)).json["messages"]
    assert (message["data"], message["id"], message["sender"]) == (7, "p1", "alice")


async def test_the_id_of_a_published_message(api: Api) -> None:
    """That of the frame, unless the message has one."""
    async with api.socket(token=KEY) as socket:
        await hello_of(socket)
        frame = {"type": "publish", "to": {"channels": ["news"]}}
        for id_, message in (("f1", {"data": 1}), ("f2", {"data": 2, "id": "m2"})):
            await socket.send({**frame, "id": id_, "message": message})
            published = await socket.expect("published")
            assert published["id"] == id_
            assert published["results"][0]["id"] == message.get("id", id_)
        await socket.send({**frame, "message": {"data": 3}})
        assert (await socket.expect("published"))["id"] is None


@pytest.mark.parametrize(
    "data", [b"9007199254740992", b'{"a":1,"a":2}', b"[" * 33 + b"]" * 33, b'"\\ud800"']
)
async def test_what_is_published_over_the_socket_is_checked_alike(api: Api, data: bytes) -> None:
    async with api.socket(token=KEY) as socket:
        await hello_of(socket)
        start = b'{"type":"publish","id":"p","to":{"channels":["news"]},"message":{"data":'
        await socket.send_frame(TEXT, start + data + b"}}")
        assert (await socket.expect("error"))["code"] == "bad_request"
    assert (await api.pull("news", after=0)).json["messages"] == []


async def test_calls_are_answered_only_when_they_have_an_id(api: Api) -> None:
    async with api.socket(token=api.server.token("alice")) as socket:
        await hello_of(socket)
        await socket.send({"type": "call", "name": "X", "data": 1})
        await socket.send({"type": "call", "id": "c1", "name": "X", "data": 1})
        error = await socket.expect("error")
        assert (error["id"], error["code"]) == ("c1", "no_handler")


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"type":"unheard"}', b'{"type":"subscribe"}', b'"x"', b"{}"]
)
async def test_a_frame_that_is_not_understood_gets_an_error(api: Api, text: bytes) -> None:
    async with api.socket(token=KEY) as socket:
        await hello_of(socket)
        await socket.send_frame(1, text)
        assert (await socket.expect("error"))["code"] == "bad_request"
        await silent(socket)


async def test_frames_are_text(api: Api) -> None:
    async with api.socket(token=KEY) as socket:
        await hello_of(socket)
        await socket.send_frame(2, b'{"type":"ping"}')
        assert (await socket.expect("error"))["code"] == "bad_request"
        await silent(socket)


async def test_members_that_are_not_known_are_ignored(api: Api) -> None:
    async with api.socket(token=KEY) as socket:
        await hello_of(socket)
        await socket.send({"type": "ping", "since": "tomorrow"})
        await socket.expect("pong")
