"""What each frame of a client does, and that a wrong one is answered and closes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.app import Server, running_server
from tests.support.sessions import ask, epoch, refusal, session

# -- subscribe, unsubscribe ---------------------------------------------------------------------


async def test_subscribing_tells_the_heads_and_brings_hints(server: Server) -> None:
    await server.publish("news", 1)
    async with session(server, subscribe=["news", "new"]) as socket:
        channels = {"news": f"{epoch(server)}.1", "secret": "0", "new": "0", "user:bob": "0"}
        answer = await ask(socket, "subscribe", channels=channels)
        assert answer["type"] == "subscribed"
        news = answer["heads"]["news"]
        assert (news["epoch"], news["first"], news["head"]) == (epoch(server), 1, 1)
        assert set(answer["heads"]) == {"news", "new"}
        denied = {entry["channel"]: entry["code"] for entry in answer["denied"]}
        assert denied == {"secret": "forbidden", "user:bob": "forbidden"}
        for channel in ("secret", "user:bob", "news", "new"):
            await server.publish(channel, 1)
        hints = [await socket.expect("hint") for _ in range(2)]
        assert [(each["channel"], each["seq"]) for each in hints] == [("news", 2), ("new", 1)]


async def test_subscribing_judges_the_cursors(server: Server) -> None:
    await server.publish("news", 1)
    async with session(server) as socket:
        answer = await ask(socket, "subscribe", channels={"news": "000000001.1", "b": "7"})
        heads = answer["heads"]
        assert heads["news"]["reset"]["code"] == "epoch_changed"
        assert heads["news"]["reset"]["resume"] == f"{epoch(server)}.0"
        assert heads["b"]["error"]["code"] == "bad_request"


async def test_unsubscribing_ends_hints(server: Server) -> None:
    async with session(server, target="/v1/ws?channels=a,b") as socket:
        answer = await ask(socket, "unsubscribe", channels=["a", "nothing", "a"])
        assert answer == {"type": "unsubscribed", "channels": ["a"]}
        await server.publish("a", 1)
        await server.publish("b", 1)
        assert (await socket.expect("hint"))["channel"] == "b"
        await ask(socket, "subscribe", channels={"a": "0"})
        await server.publish("a", 2)
        assert (await socket.expect("hint"))["channel"] == "a"


async def test_channels_of_a_session_are_limited_however_they_are_asked_for(
    tmp_path: Path,
) -> None:
    async with (
        running_server(tmp_path, max_channels_per_session=5) as server,
        session(server, target="/v1/ws?channels=a") as socket,  # and all, and the inbox
    ):
        for names in ("bcd", "efg"):  # both before any answer
            await socket.send({"type": "subscribe", "channels": dict.fromkeys(names, "0")})
        answers = [await socket.expect("subscribed") for _ in range(2)]
        assert [name for answer in answers for name in answer["heads"]] == ["b", "c"]
        denied = [entry["code"] for answer in answers for entry in answer["denied"]]
        assert denied == ["too_large"] * 4
        [live] = server.hub.sessions.by_id.values()
        assert len(live.subscriptions) == 5
        too_many = dict.fromkeys("abcdef", "0")
        assert await refusal(socket, "subscribe", channels=too_many) == "too_large"
        await server.publish("user:alice:bills", 1)  # an inbox is followed if there is room
        assert (await ask(socket, "ping"))["type"] == "pong"
        assert len(live.subscriptions) == 5


# -- ack, read ----------------------------------------------------------------------------------


async def test_an_ack_is_recorded_and_has_no_answer(server: Server) -> None:
    for number in range(5):
        await server.publish("news", number)
    cursor = f"{epoch(server)}.3"
    async with session(server, device="d1") as socket:
        await socket.send({"type": "ack", "cursors": {"news": cursor}})
        assert (await ask(socket, "ping"))["type"] == "pong"
        codes = {}
        for bad in ("000000001.1", f"{epoch(server)}.9", "head", "3"):
            codes[bad] = await refusal(socket, "ack", cursors={"news": bad})
        assert list(codes.values()) == ["epoch_changed", "cursor_ahead"] + ["bad_request"] * 2
        many = {f"c{number}": "0" for number in range(129)}
        assert await refusal(socket, "ack", cursors=many) == "too_large"
    token = server.token("alice", device="d1")
    assert len((await server.pull("news", token)).json["messages"]) == 2


async def test_reading_is_told_to_the_users_other_sessions(server: Server) -> None:
    await server.publish("user:alice", 1)
    cursor = f"{epoch(server, 'user:alice')}.1"
    async with session(server) as one, session(server) as two, session(server, "bob") as other:
        await one.send({"type": "read", "channel": "user:alice", "cursor": cursor})
        told = await two.expect("read")
        assert told == {"type": "read", "channel": "user:alice", "cursor": cursor}
        for socket in (one, other):
            assert (await ask(socket, "ping"))["type"] == "pong", "nothing else was told"
        bad = {"channel": "user:alice", "cursor": "head"}
        assert await refusal(one, "read", **bad) == "bad_request"
        assert await refusal(one, "read", **{**bad, "channel": "user:bob"}) == "forbidden"
        assert (await ask(two, "ping"))["type"] == "pong"


# -- publish --------------------------------------------------------------------------------------


async def test_publishing(server: Server) -> None:
    async with session(server, publish=["room:*"], target="/v1/ws?channels=room:1") as socket:
        frame = {"id": "p1", "to": {"channels": ["room:1"]}, "message": {"data": {"x": 1}}}
        await socket.send({"type": "publish", **frame})
        answers = {message["type"]: message for message in [await socket.message() for _ in "ab"]}
        [result] = answers["published"]["results"]
        assert answers["published"]["id"] == "p1"
        assert (result["channel"], result["seq"], result["id"]) == ("room:1", 1, "p1")
        assert answers["hint"]["seq"] == 1
        again = await ask(socket, "publish", **frame)
        assert again["results"] == [{**result, "duplicate": True}]
        frame["message"] = {"data": 2}
        assert await refusal(socket, "publish", **frame) == "conflict"
    [message] = (await server.pull("room:1", after=0)).json["messages"]
    assert (message["data"], message["sender"]) == ({"x": 1}, "alice")


async def test_publishing_to_many_is_all_or_nothing(server: Server) -> None:
    async with session(server, publish=["room:*"]) as socket:
        to = {"channels": ["room:1", "news"]}
        answer = await ask(socket, "publish", id="p1", to=to, message={"data": 1})
        assert (answer["type"], answer["code"], answer["id"]) == ("error", "forbidden", "p1")
        assert server.hub.log.heads == {}
        to = {"channels": ["room:1", "room:2", "room:1"]}
        answer = await ask(socket, "publish", id="p2", to=to, message={"data": 1})
        assert [result["channel"] for result in answer["results"]] == ["room:1", "room:2"]


BAD_PUBLISHES: list[tuple[str, str]] = [
    ('"to":{},"message":{"data":1}', "bad_request"),
    ('"to":{"channels":["a/b"]},"message":{"data":1}', "bad_request"),
    ('"to":{"channels":["r"]},"message":{"data":1,"sender":"bob"}', "forbidden"),
    ('"to":{"channels":["r"]},"message":{"data":1e999}', "bad_request"),
    ('"to":{"channels":["r"]},"message":{"data":9007199254740992}', "bad_request"),
    ('"to":{"channels":["r"]},"message":{"data":{"a":1,"a":2}}', "bad_request"),
    ('"to":{"channels":["r"]},"message":{"data":' + "[" * 33 + "]" * 33 + "}", "bad_request"),
    ('"to":{"channels":["user:bob"]},"message":{"data":1}', "forbidden"),
    ('"to":{"users":["bob"]},"message":{"data":1}', "forbidden"),
    ('"to":{"all":true},"message":{"data":1}', "forbidden"),
]


@pytest.mark.parametrize(("members", "code"), BAD_PUBLISHES)
async def test_a_refused_publish_names_its_id(server: Server, members: str, code: str) -> None:
    async with session(server, publish=["*"]) as socket:
        await socket.send_frame(1, b'{"type":"publish","id":"p1",%b}' % members.encode())
        answer = await socket.expect("error")
        assert (answer["code"], answer["id"]) == (code, "p1")
    assert server.hub.log.heads == {}
