"""Section 5, ends: close codes, who comes again, heartbeats, and upgrades that do not happen."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from pushd.core.frames import bye_json
from tests.conformance.api import KEY, Api
from tests.support.app import Socket, running_server
from tests.support.websocket import CLOSE, PING, Closed


async def hello_of(socket: Socket) -> dict[str, Any]:
    return await socket.expect("hello")


async def closed(socket: Socket) -> tuple[dict[str, Any], int]:
    """The bye, and the code of the close that follows it at once."""
    bye = await socket.expect("bye")
    with pytest.raises(Closed) as end:
        await socket.message()
    assert end.value.code == bye["code"]
    return bye, end.value.code


async def close_code(socket: Socket) -> int:
    """Of the close that comes next, with a bye before it or without."""
    try:
        assert (await socket.message())["type"] == "bye"
        await socket.message()
    except Closed as end:
        return end.code
    raise AssertionError("something came after the bye")


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
        async with server.socket(token=pinned) as first:
            await hello_of(first)
            async with server.socket(token=pinned) as second:
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


# Every code that a server may close with: whether a client comes again as it is.
AGAIN = {
    **dict.fromkeys((1001, 1008, 1009, 1011, 1012, 1013, 4008, 4029), True),
    **dict.fromkeys((1000, 4001, 4003, 4009), False),
}


@pytest.mark.parametrize("code", AGAIN)
def test_who_comes_again(code: int) -> None:
    """Said in each bye, so that no client needs this table."""
    bye = json.loads(bye_json(code, "why", 250))
    assert bye == {
        "type": "bye",
        "code": code,
        "reason": "why",
        "reconnect": AGAIN[code],
        "retry_after_ms": 250,
    }


@pytest.mark.parametrize(("query", "again"), [("", False), ("?reconnect=true&reason=later", True)])
async def test_who_is_kicked(api: Api, query: str, again: bool) -> None:
    token = api.server.token("alice")
    async with api.socket(token=token) as first, api.socket(token=token) as second:
        session = (await hello_of(first))["session"]
        await hello_of(second)
        path = f"/v1/sessions/{session}{query}"
        assert (await api.ask("DELETE", path, token=KEY)).status == 204
        bye, _ = await closed(first)
        assert (bye["code"], bye["reconnect"]) == (4009, again)
        assert bye["reason"] == ("later" if again else "kicked")
        await second.send({"type": "ping"})
        await second.expect("pong")


async def test_nothing_comes_after_the_bye(api: Api) -> None:
    """Not even the hint of a message that was committed in the same moment."""
    hub = api.server.hub
    async with api.socket("/v1/ws?channels=news", token=api.server.token("alice")) as socket:
        await hello_of(socket)
        (session,) = hub.sessions.of_user("alice")

        def committed(advances: list[Any]) -> None:
            session.bye(4009, "kicked")
            hub.on_advance(advances)

        hub.log.on_advance = committed
        await api.publish("news", 1)
        assert (await socket.expect("bye"))["code"] == 4009
        opcode, payload = await socket.frame()
        assert (opcode, payload[:2]) == (CLOSE, (4009).to_bytes(2, "big"))
        await socket.send_frame(CLOSE, payload[:2])
        assert await socket.read_to_end() == b""


async def test_twenty_sessions_of_one_user(api: Api) -> None:
    token = api.server.token("alice")
    async with AsyncExitStack() as stack:
        for _ in range(20):
            socket = await stack.enter_async_context(api.server.socket(token=token))
            await hello_of(socket)
        socket = await stack.enter_async_context(api.socket(token=token))
        bye, _ = await closed(socket)
        assert (bye["code"], bye["reconnect"]) == (1013, True)
        bob = await stack.enter_async_context(api.socket(token=api.server.token("bob")))
        await hello_of(bob)


@pytest.mark.parametrize(
    ("text", "good"),
    [(b" " * 65_536, True), (b" " * 65_537, False), ("é".encode() * 32_769, False)],
    ids=["64 KiB", "more bytes", "more bytes than characters"],
)
async def test_the_size_of_a_frame(api: Api, text: bytes, good: bool) -> None:
    async with api.socket(token=KEY) as socket:
        await hello_of(socket)
        await socket.send_frame(1, text)
        if good:
            assert (await socket.expect("error"))["code"] == "bad_request"
            return
        assert await close_code(socket) == 1009


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/v1/ws", {}, 101),
        ("/v1/ws?device=phone", {}, 101),
        ("/v1/ws?device=a%20b", {}, 400),
        ("/v1/ws?device=a&device=a", {}, 400),
        ("/v1/ws", {"Sec-WebSocket-Version": "12"}, 426),
        ("/v1/ws", {"Sec-WebSocket-Key": "short"}, 400),
        ("/v1/elsewhere", {}, 400),
    ],
)
async def test_what_is_no_upgrade(
    api: Api, target: str, headers: dict[str, str], status: int
) -> None:
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with api.line() as line:
        answer = await line.ask("GET", target, headers={**upgrade, **headers})
        assert answer.status == status
    assert status == 101 or answer.code == "bad_request", "a problem, as everywhere"
    assert status != 426 or answer.headers["sec-websocket-version"] == "13"


async def test_silence_is_asked_after_and_then_ended(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, heartbeat_interval=0.1, heartbeat_timeout=3.9) as server,
        server.socket(token=KEY) as answers,
        server.socket(token=KEY) as silent_one,
    ):
        await hello_of(answers)
        await hello_of(silent_one)
        for _ in range(2):  # for longer than silence is borne
            opcode, payload = await answers.frame()
            assert opcode == PING
            await answers.send_frame(10, payload)
        opcode, _ = await silent_one.frame()
        assert opcode == PING
        bye, _ = await closed(silent_one)
        assert (bye["code"], bye["reconnect"]) == (4008, True)
