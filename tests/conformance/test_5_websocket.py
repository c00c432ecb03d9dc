"""Section 5: hints over a WebSocket. Only numbers are pushed; slow sessions cost one number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conformance.api import KEY, Api
from tests.support.app import Socket, running_server, until
from tests.support.websocket import PING, Closed


async def hello_of(socket: Socket) -> dict[str, Any]:
    return await socket.expect("hello")


async def silent(socket: Socket) -> None:
    """Nothing came before the answer to this."""
    await socket.send({"type": "ping"})
    await socket.expect("pong")


async def test_hello_comes_first_with_all_heads(api: Api) -> None:
    token = api.server.token("alice", device="phone", subscribe=["news"])
    at = await api.publish("news", 1)
    await api.publish("user:alice", 1)
    await api.publish("user:alice:orders", 1)
    await api.pull("news", token, after=f"{at['epoch']}.1")
    target = "/v1/ws?channels=news,secret,user:bob,quiet%3F"
    async with api.socket(target, token=token) as socket:
        hello = await hello_of(socket)
    heads = hello.pop("heads")
    assert set(heads) == {"all", "user:alice", "user:alice:orders", "news"}
    assert heads["news"] == {
        "epoch": at["epoch"],
        "first": 1,
        "head": 1,
        "delivered": f"{at['epoch']}.1",
        "read": None,
    }
    assert heads["all"]["epoch"] == "none"
    assert hello.pop("session")
    assert hello.pop("node") == api.server.hub.node_id
    assert hello == {
        "type": "hello",
        "user": "alice",
        "device": "phone",
        "denied": [
            {"channel": "secret", "code": "forbidden"},
            {"channel": "user:bob", "code": "forbidden"},
            {"channel": "quiet?", "code": "bad_request"},
        ],
        "more": False,
        "heartbeat_s": 25.0,
        "pull": {"interval_s": 20.0, "jitter_ms": 0},
    }


async def test_a_hint_names_the_newest_number_and_nothing_else(api: Api) -> None:
    async with api.socket("/v1/ws?channels=news", token=KEY) as socket:
        await hello_of(socket)
        for number in range(1, 4):
            at = await api.publish("news", {"secret": "content"})
            hint = await socket.expect("hint")
            assert hint == {
                "type": "hint",
                "channel": "news",
                "epoch": at["epoch"],
                "seq": number,
            }


async def test_hints_never_fall_and_end_at_the_head(api: Api) -> None:
    async with api.socket("/v1/ws?channels=a,b", token=KEY) as socket:
        await hello_of(socket)
        lines = b"".join(b'{"channel":"%c","data":1}\n' % b"ab"[n % 2] for n in range(2000))
        kind = {"Content-Type": "application/x-ndjson"}
        answer = await api.ask("POST", "/v1/publish", token=KEY, body=lines, headers=kind)
        assert answer.status == 200
        seen = {"a": 0, "b": 0}
        count = 0
        while set(seen.values()) != {1000}:
            hint = await socket.expect("hint")
            assert hint["seq"] > seen[hint["channel"]]
            seen[hint["channel"]] = hint["seq"]
            count += 1
        assert count < 2000, "merged, not queued"


async def test_who_does_not_read_costs_a_number_and_gets_the_newest(tmp_path: Path) -> None:
    import socket as sockets

    def small(listener: Any) -> None:
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 2048)

    async with running_server(tmp_path, tune=small, outgoing_buffer=4096) as server:
        names = [f"{'c' * 100}{number}" for number in range(100)]
        async with server.socket(token=KEY) as socket:
            await hello_of(socket)
            await socket.send({"type": "subscribe", "channels": dict.fromkeys(names, "0")})
            await socket.expect("subscribed")
            # Nothing is read from here on.
            for _ in range(30):
                to = {"to": {"channels": names}, "message": {"data": 1}}
                answer = await server.ask("POST", "/v1/publish", token=KEY, body=to)
                assert answer.status == 200
            (session,) = server.hub.sessions.by_id.values()
            await until(lambda: session.pending)
            assert session.out.tail_bytes < 8192
            seen: dict[str, int] = {}
            while len(seen) < 100 or set(seen.values()) != {30}:
                hint = await socket.expect("hint")
                seen[hint["channel"]] = hint["seq"]


async def test_an_up_to_date_client_pulls_nothing_and_misses_nothing(api: Api) -> None:
    """What is published between the hello's heads and the first hint is hinted."""
    for number in range(20):
        async with api.server.socket("/v1/ws?channels=news", token=KEY) as socket:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(api.server.publish, "news", number)
                head = (await hello_of(socket))["heads"]["news"]["head"]
                while head < number + 1:
                    head = (await socket.expect("hint"))["seq"]
            await silent(socket)


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


async def test_members_that_are_not_known_are_ignored(api: Api) -> None:
    async with api.socket(token=KEY) as socket:
        await hello_of(socket)
        await socket.send({"type": "ping", "since": "tomorrow"})
        await socket.expect("pong")


async def closed(socket: Socket) -> tuple[dict[str, Any], int]:
    """The bye, and the code of the close that follows it at once."""
    bye = await socket.expect("bye")
    with pytest.raises(Closed) as end:
        await socket.message()
    assert end.value.code == bye["code"]
    return bye, end.value.code


async def test_how_sessions_end(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_connections_per_user=1, auth_timeout=0.2) as server:
        async with server.socket(token="no.such.token") as socket:
            bye, _ = await closed(socket)
            assert (bye["code"], bye["reconnect"]) == (4001, False)
        async with server.socket() as socket:
            assert (await closed(socket))[1] == 4001, "no token in time"
        pinned = server.token("alice", device="phone")
        async with server.socket("/v1/ws?device=tablet", token=pinned) as socket:
            bye, _ = await closed(socket)
            assert (bye["code"], bye["reconnect"]) == (4003, False)
        async with server.socket(token=pinned) as first, server.socket(token=pinned) as second:
            await hello_of(first)
            bye, _ = await closed(second)
            assert (bye["code"], bye["reconnect"]) == (1013, True)
            assert bye["retry_after_ms"] > 0
            await first.send_frame(1, b" " * (64 * 1024 + 1))
            with pytest.raises(Closed) as end:
                await first.message()
            assert end.value.code == 1009
        async with server.socket(token=KEY) as socket:
            await hello_of(socket)
            server.stopper.asked.set()
            bye, _ = await closed(socket)
            assert (bye["code"], bye["reconnect"]) == (1012, True)


async def test_silence_is_asked_after_and_then_ended(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, heartbeat_interval=0.1, heartbeat_timeout=0.5) as server,
        server.socket(token=KEY) as answers,
        server.socket(token=KEY) as silent_one,
    ):
        await hello_of(answers)
        await hello_of(silent_one)
        for _ in range(4):
            opcode, payload = await answers.frame()
            assert opcode == PING
            await answers.send_frame(10, payload)
        opcode, _ = await silent_one.frame()
        assert opcode == PING
        bye, _ = await closed(silent_one)
        assert (bye["code"], bye["reconnect"]) == (4008, True)


async def test_a_large_channel_spreads_its_pulls(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, jitter_subscribers=2, jitter_pulls_per_second=100) as server,
        server.socket("/v1/ws?channels=news", token=KEY) as one,
        server.socket("/v1/ws?channels=news", token=KEY) as two,
    ):
        for socket in (one, two):
            await hello_of(socket)
        await server.publish("news", 1)
        for socket in (one, two):
            assert (await socket.expect("hint"))["jitter_ms"] == 20
