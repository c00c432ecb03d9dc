"""Section 5: hints over a WebSocket. Only numbers are pushed; slow sessions cost one number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from tests.conformance.api import KEY, Api
from tests.support.app import Socket, running_server, until


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
        "unread": None,
    }
    assert (heads["all"]["epoch"], heads["all"]["unread"]) == ("none", 0)
    assert heads["user:alice:orders"]["unread"] == 1
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

    patient = {"outgoing_buffer": 4096, "write_timeout": 300.0}
    async with running_server(tmp_path, tune=small, **patient) as server:
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


async def test_a_service_follows_what_it_asks_for(api: Api) -> None:
    await api.publish("all", 1)
    async with api.socket("/v1/ws?channels=news,$control", token=KEY) as socket:
        hello = await hello_of(socket)
    assert (hello["user"], hello["device"]) == (None, None)
    assert set(hello["heads"]) == {"news", "$control"}, "this key has every scope"


async def test_a_session_follows_128_channels_its_own_included(api: Api) -> None:
    await api.publish("user:alice:orders", 1)
    names = [f"c{number}" for number in range(126)]
    target = f"/v1/ws?channels={','.join(names)}"
    async with api.socket(target, token=api.server.token("alice")) as socket:
        hello = await hello_of(socket)
        assert len(hello["heads"]) == 128
        assert hello["denied"] == [{"channel": "c125", "code": "too_large"}]
        await socket.send({"type": "subscribe", "channels": {"more": "0", "c1": "0"}})
        subscribed = await socket.expect("subscribed")
        assert set(subscribed["heads"]) == {"c1"}
        assert subscribed["denied"] == [{"channel": "more", "code": "too_large"}]
        await socket.send({"type": "unsubscribe", "channels": ["c2"]})
        await socket.expect("unsubscribed")
        await socket.send({"type": "subscribe", "channels": {"more": "0"}})
        assert set((await socket.expect("subscribed"))["heads"]) == {"more"}


async def test_more_inboxes_than_a_session_follows(api: Api) -> None:
    """Hello says that there are more; half of the session is left for what is asked for."""
    lines = b"".join(b'{"channel":"user:alice:%d","data":1}\n' % number for number in range(130))
    kind = {"Content-Type": "application/x-ndjson"}
    await api.ask("POST", "/v1/publish", token=KEY, body=lines, headers=kind)
    asked = [f"c{number}" for number in range(64)]
    target = f"/v1/ws?channels={','.join(asked)}"
    async with api.socket(target, token=api.server.token("alice")) as socket:
        hello = await hello_of(socket)
    assert (hello["more"], hello["denied"]) == (True, [])
    assert {"all", "user:alice", "user:alice:0", *asked} <= set(hello["heads"])
    assert len(hello["heads"]) == 128


async def test_a_new_inbox_is_followed_unasked(api: Api) -> None:
    token = api.server.token("alice")
    async with api.socket(token=token) as socket, api.socket(token=token) as other:
        for each in (socket, other):
            await hello_of(each)
        at = await api.publish("user:alice:orders", 1)
        await api.publish("user:bob:orders", 1)
        for each in (socket, other):
            subscribed = await each.expect("subscribed")
            assert subscribed["denied"] == []
            head = subscribed["heads"]["user:alice:orders"]
            assert (head["epoch"], head["head"]) == (at["epoch"], 1)
            await silent(each)
        await api.publish("user:alice:orders", 2)
        for each in (socket, other):
            hint = await each.expect("hint")
            assert (hint["channel"], hint["seq"]) == ("user:alice:orders", 2)


async def test_only_pulls_and_acks_move_a_cursor(api: Api) -> None:
    """Neither a hint does, nor the cursor of a subscribe, nor a read mark."""
    token = api.server.token("alice", device="phone")
    async with api.socket("/v1/ws?channels=news", token=token) as socket:
        await hello_of(socket)
        at = await api.publish("news", 1)
        await socket.expect("hint")
        cursor = f"{at['epoch']}.1"
        await socket.send({"type": "subscribe", "channels": {"news": cursor}})
        head = (await socket.expect("subscribed"))["heads"]["news"]
        assert (head["delivered"], head["read"]) == (None, None)
        await socket.send({"type": "read", "channel": "news", "cursor": cursor})
        await silent(socket)
    for delivered in (None, cursor):
        async with api.socket("/v1/ws?channels=news", token=token) as socket:
            head = (await hello_of(socket))["heads"]["news"]
            assert (head["delivered"], head["read"]) == (delivered, cursor)
        await api.pull("news", token, after=cursor)
