"""Hints: after hello, rising, conflated for the slow, to those who may and while they may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.app import Server, Socket, failures, running_server, until
from tests.support.http import ConnectionLost, patience
from tests.support.sessions import stuff
from tests.support.websocket import Closed


async def hint(socket: Socket) -> tuple[str, int]:
    message = await socket.expect("hint")
    assert set(message) == {"type", "channel", "epoch", "seq"}
    return message["channel"], message["seq"]


async def test_a_publish_is_hinted_and_can_be_pulled(server: Server) -> None:
    token = server.token("alice")
    async with server.socket("/v1/ws?channels=news", token=token) as socket:
        await socket.expect("hello")
        for number in range(1, 6):
            stored = await server.publish("news", number)
            message = await socket.expect("hint")
            epoch, seq = stored["epoch"], stored["seq"]
            assert message == {"type": "hint", "channel": "news", "epoch": epoch, "seq": seq}
            pulled = await server.pull("news", token, after=f"{epoch}.{seq - 1}")
            assert [each["data"] for each in pulled.json["messages"]] == [number]


async def test_own_channels_need_no_asking(server: Server) -> None:
    async with server.socket(token=server.token("alice")) as socket:
        await socket.expect("hello")
        for channel in ("user:alice", "all", "user:bob", "news", "user:alice"):
            await server.publish(channel, 1)
        told = [await hint(socket) for _ in range(3)]
        assert told == [("user:alice", 1), ("all", 1), ("user:alice", 2)]


async def test_an_inbox_that_comes_into_being(server: Server) -> None:
    async with server.socket(token=server.token("alice")) as socket:
        await socket.expect("hello")
        await server.publish("user:alice:orders", 1)
        subscribed = await socket.expect("subscribed")
        assert subscribed["heads"]["user:alice:orders"]["head"] == 1
        await server.publish("user:alice:orders", 2)
        assert await hint(socket) == ("user:alice:orders", 2)


async def test_hello_comes_before_all_hints(server: Server) -> None:
    """However many publishes go on while sessions open."""
    token = server.token("alice", subscribe=["*"])

    async def publish(rounds: int) -> None:
        for number in range(rounds):
            await server.publish("news", number)

    async def follow() -> None:
        async with server.socket("/v1/ws?channels=news", token=token) as socket:
            hello = await socket.expect("hello")
            seq = hello["heads"]["news"]["head"]
            while seq < 60:
                _, newer = await hint(socket)
                assert newer > seq
                seq = newer

    with patience():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, 60)
            for _ in range(8):
                nursery.start_soon(follow)


async def test_a_hint_is_on_disk(tmp_path: Path) -> None:
    """Whoever was hinted finds the message in the log of the next server."""
    async with (
        running_server(tmp_path) as server,
        server.socket("/v1/ws?channels=news", token=server.token()) as socket,
    ):
        await socket.expect("hello")
        await server.publish("news", 1)
        _, seq = await hint(socket)
    async with running_server(tmp_path) as server:
        assert server.hub.log.heads["news"].seq >= seq


async def test_a_slow_session_gets_the_newest_and_little_else(server: Server) -> None:
    token = server.token("alice")
    async with server.socket("/v1/ws?channels=a,b", token=token) as socket:
        await socket.expect("hello")
        slow = await stuff(server, socket)
        tail, sent = slow.out.tail_bytes, server.hub.counters.hints_sent
        for number in range(1, 501):
            for channel in "ab":
                server.hub.fanout.advance(channel, ("zzzzzzzzz", number))
            await trio.lowlevel.checkpoint()
        assert slow.out.tail_bytes <= tail, "not a byte for a hint"
        assert server.hub.counters.hints_sent == sent
        assert server.hub.counters.hints_conflated > 0
        assert len(slow.pending) == 2
        hints: list[tuple[str, int]] = []
        while len(hints) < 2:
            message = await socket.message()
            if message["type"] == "hint":
                hints.append((message["channel"], message["seq"]))
        assert sorted(hints) == [("a", 500), ("b", 500)]


async def test_followers_of_a_large_channel_are_asked_to_spread(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"jitter_subscribers": 3, "jitter_pulls_per_second": 10}
    async with running_server(tmp_path, **limits) as server, trio.open_nursery() as nursery:
        told: list[dict[str, Any]] = []

        async def follow() -> None:
            async with server.socket("/v1/ws?channels=news", token=server.token()) as socket:
                await socket.expect("hello")
                told.append(await socket.expect("hint"))

        for _ in range(4):
            nursery.start_soon(follow)
        await until(lambda: len(server.hub.sessions.by_id) == 4)
        await until(lambda: all(each.greeted for each in server.hub.sessions.by_id.values()))
        await server.publish("news", 1)
        await until(lambda: len(told) == 4)
        assert {each["jitter_ms"] for each in told} == {400}


async def test_fifty_sessions_each_learn_of_each(server: Server) -> None:
    got: list[list[tuple[str, int]]] = []

    async def follow(number: int) -> None:
        token = server.token(f"user{number}")
        async with server.socket("/v1/ws?channels=news", token=token) as socket:
            await socket.expect("hello")
            got.append([await hint(socket), await hint(socket)])
            await socket.leave()

    with patience():
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(follow, number)
            await until(lambda: len(server.hub.sessions.by_id) == 50)
            await until(lambda: all(each.greeted for each in server.hub.sessions.by_id.values()))
            assert len(server.hub.sessions.by_user) == 50
            await server.publish("news", 1)
            await until(lambda: server.hub.counters.hints_sent >= 50)
            for number in range(50):
                await server.publish(f"user:user{number}", 1)
    own = sorted(each[1][0] for each in got)
    assert own == sorted(f"user:user{number}" for number in range(50))
    assert all(each[0] == ("news", 1) for each in got)
    await until(lambda: not server.hub.sessions.by_id)
    await until(lambda: not server.hub.fanout.topics)
    await until(lambda: not server.hub.connections)


async def test_one_session_that_fails_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, *_: object) -> None:
        raise RuntimeError("a bug")

    async with running_server(tmp_path, errors_expected=True) as server:
        token = server.token("alice")
        async with server.socket(token=token) as good, server.socket(token=token) as bad:
            await good.expect("hello")
            await bad.expect("hello")
            monkeypatch.setattr("pushd.ws.session.WebSocketSession._handle", broken)
            await bad.send({"type": "ping"})
            with pytest.raises((Closed, ConnectionLost)):
                await bad.message()
            monkeypatch.undo()
            await until(lambda: len(server.hub.sessions.by_id) == 1)
            await good.send({"type": "ping"})
            await good.expect("pong")
            await server.publish("all", 1)
            assert await hint(good) == ("all", 1)
    assert [each["event"] for each in failures(server.log)] == ["websocket failed"]
