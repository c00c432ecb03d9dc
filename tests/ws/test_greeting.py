"""From the upgrade to hello: tokens wherever they may stand, origins, and what hello says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.app import KEY, Server, Socket, running_server, until
from tests.support.sessions import ask
from tests.support.websocket import Closed


async def refused(socket: Socket, code: int, reason: str) -> dict[str, Any]:
    """A bye, then the close frame of the same code."""
    bye = await socket.expect("bye")
    assert (bye["code"], bye["reason"]) == (code, reason)
    with pytest.raises(Closed) as closed:
        await socket.message()
    assert closed.value.code == code
    return bye


# -- the token ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["header", "subprotocol", "address", "first frame"])
async def test_a_token_wherever_it_may_stand(server: Server, where: str) -> None:
    token = server.token("alice", device="d1")
    target, header = "/v1/ws", ""
    if where == "header":
        header = f"Authorization: Bearer {token}\r\n"
    elif where == "address":
        target += f"?token={token}"
    given = token if where == "subprotocol" else None
    async with server.socket(target, token=given, header=header) as socket:
        if where == "first frame":
            await socket.send({"type": "auth", "token": token})
        hello = await socket.expect("hello")
        assert (hello["user"], hello["device"]) == ("alice", "d1")
    assert all(token not in str(entry) for entry in server.log)


@pytest.mark.parametrize("where", ["header", "subprotocol", "address", "first frame"])
@pytest.mark.parametrize("kind", ["wrong", "expired"])
async def test_a_bad_token_is_told_after_the_upgrade(server: Server, where: str, kind: str) -> None:
    """A browser shows no status of a refused upgrade to its page."""
    token = "no.real.token" if kind == "wrong" else server.token(ttl_s=-1)
    target = f"/v1/ws?token={token}" if where == "address" else "/v1/ws"
    header = f"Authorization: Bearer {token}\r\n" if where == "header" else ""
    given = token if where == "subprotocol" else None
    async with server.socket(target, token=given, header=header) as socket:
        if where == "first frame":
            await socket.send({"type": "auth", "token": token})
        reason = "unauthorized" if kind == "wrong" else "token_expired"
        bye = await refused(socket, 4001, reason)
        assert bye["reconnect"] is False
    await until(lambda: not server.hub.connections)
    assert not server.hub.sessions.by_id


@pytest.mark.parametrize(
    "first", ['{"type":"ping"}', "{", "[]", '{"type":"auth"}', '{"type":"subscribe"}']
)
async def test_another_first_frame(server: Server, first: str) -> None:
    async with server.socket() as socket:
        await socket.send_frame(1, first.encode())
        await refused(socket, 4001, "unauthorized")


async def test_no_token_in_time(tmp_path: Path) -> None:
    async with running_server(tmp_path, auth_timeout=0.05) as server, server.socket() as socket:
        await refused(socket, 4001, "unauthorized")


async def test_those_without_a_token_keep_quiet_like_others(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, max_handshakes=1) as server,
        server.socket() as first,
        server.socket() as second,
    ):
        bye = await refused(second, 1013, "overloaded")
        assert 1000 <= bye["retry_after_ms"] <= 5000
        await first.send({"type": "auth", "token": server.token()})
        await first.expect("hello")


async def test_a_key_stands_in_the_header_only(server: Server) -> None:
    async with server.socket(header=f"Authorization: Bearer {KEY}\r\n") as socket:
        hello = await socket.expect("hello")
        assert (hello["user"], hello["device"], hello["heads"]) == (None, None, {})
    async with server.socket(f"/v1/ws?token={KEY}") as socket:
        await refused(socket, 4001, "unauthorized")


async def test_a_device_of_the_token_and_of_the_address(server: Server) -> None:
    pinned, free = server.token("alice", device="d1"), server.token("alice")
    for target, token, device in [
        ("/v1/ws", pinned, "d1"),
        ("/v1/ws?device=d1", pinned, "d1"),
        ("/v1/ws?device=d2", free, "d2"),
        ("/v1/ws", free, None),
    ]:
        async with server.socket(target, token=token) as socket:
            assert (await socket.expect("hello"))["device"] == device
    async with server.socket("/v1/ws?device=d2", token=pinned) as socket:
        await refused(socket, 4003, "forbidden")


# -- hello --------------------------------------------------------------------------------------


async def test_what_hello_says(server: Server) -> None:
    token = server.token("alice", device="d1", subscribe=["news", "new"])
    for _ in range(3):
        stored = await server.publish("news", 1)
    await server.publish("user:alice:orders", 1)
    epoch = stored["epoch"]
    await server.pull("news", token, after=f"{epoch}.2")
    target = "/v1/ws?channels=news,new,secret,user:bob,a*,news"
    async with server.socket(target, token=token) as socket:
        await socket.send({"type": "read", "channel": "news", "cursor": f"{epoch}.1"})
        await socket.expect("hello")
        assert (await ask(socket, "ping"))["type"] == "pong"
    await until(lambda: not server.hub.sessions.by_id)
    async with server.socket(target, token=token) as socket:
        hello = await socket.expect("hello")
        heads = hello.pop("heads")
        assert list(heads) == ["all", "user:alice", "user:alice:orders", "news", "new"]
        news = {"epoch": epoch, "first": 1, "head": 3, "unread": 2}
        assert heads["news"] == {**news, "delivered": f"{epoch}.2", "read": f"{epoch}.1"}
        assert heads["new"]["epoch"] == "none"
        denied = [(entry["channel"], entry["code"]) for entry in hello.pop("denied")]
        assert denied == [("secret", "forbidden"), ("user:bob", "forbidden"), ("a*", "bad_request")]
        session = hello.pop("session")
        assert list(server.hub.sessions.by_id) == [session]
        settings = server.hub.settings
        assert hello == {
            "type": "hello",
            "user": "alice",
            "device": "d1",
            "node": settings.node_id,
            "more": False,
            "heartbeat_s": 25.0,
            "pull": {"interval_s": 20.0, "jitter_ms": 0},
        }


async def test_sessions_beyond_the_most_of_a_user(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_connections_per_user=2) as server:
        token = server.token("alice")
        async with server.socket(token=token) as first, server.socket(token=token) as second:
            await first.expect("hello")
            await second.expect("hello")
            async with server.socket(token=token) as third:
                bye = await refused(third, 1013, "overloaded")
                assert bye["reconnect"] is True
                assert bye["retry_after_ms"] >= 1000
            async with server.socket(token=server.token("bob")) as other:
                await other.expect("hello")
            await first.leave()
            await until(lambda: len(server.hub.sessions.of_user("alice")) == 1)
            async with server.socket(token=token) as fourth:
                await fourth.expect("hello")
