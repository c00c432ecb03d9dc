"""Many users with two sessions each: sent to by name, listed in pages, put out all at once.

How long it takes with 10,000 of them is a benchmark (``python -m benchmarks people``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd import pace
from tests.support.app import KEY, Server, Socket, running_server, until
from tests.support.groups import change
from tests.support.http import patience
from tests.support.websocket import Closed

USERS = [f"user{number:02}" for number in range(40)]
DEVICES = ("phone", "laptop")


@asynccontextmanager
async def crowd(data: Path) -> AsyncIterator[tuple[Server, dict[tuple[str, str], Socket]]]:
    """A WebSocket for each user and device."""
    # Marks would be commits of their own; and nobody here answers a ping before its turn.
    quiet: dict[str, Any] = {"write_behind": 600, "heartbeat_timeout": 600}
    async with running_server(data, **quiet) as server, AsyncExitStack() as stack:
        sockets = {}
        for device in DEVICES:
            for user in USERS:
                token = server.token(user, device=device)
                socket = await stack.enter_async_context(server.socket(token=token))
                await socket.expect("hello")
                sockets[user, device] = socket
        yield server, sockets


async def test_a_send_to_many_by_name_is_one_transaction(tmp_path: Path) -> None:
    async with crowd(tmp_path) as (server, sockets):
        named = USERS[5:35]
        before = server.hub.log.statistics()
        body = {"to": {"users": named}, "message": {"data": "hello"}}
        answer = await server.ask("POST", "/v1/publish", token=KEY, body=body)
        results = answer.json["results"]
        assert [result["channel"] for result in results] == [f"user:{user}" for user in named]
        assert all(result["online"] for result in results)
        after = server.hub.log.statistics()
        assert after.messages - before.messages == len(named)
        assert after.batch_messages.total - before.batch_messages.total == len(named)
        assert sum(after.batch_messages.counts) == sum(before.batch_messages.counts) + 1
        for (user, _), socket in sockets.items():
            if user in named:
                assert (await socket.expect("hint"))["channel"] == f"user:{user}"
            else:
                await socket.send({"type": "ping"})
                await socket.expect("pong")


@pytest.mark.parametrize("path", ["/v1/users?online=true", "/v1/sessions"])
async def test_lists_page(tmp_path: Path, path: str) -> None:
    """Everything once, in order, in pages of the size that was asked for."""
    async with crowd(tmp_path) as (server, _):
        wanted = len(USERS) if "users" in path else len(USERS) * len(DEVICES)
        found: list[Any] = []
        following: str | None = ""
        while following is not None:
            more = f"&next={following}" if following else ""
            query = "&" if "?" in path else "?"
            answer = await server.ask("GET", f"{path}{query}limit=7{more}", token=KEY)
            items, following = answer.json["items"], answer.json["next"]
            assert len(items) == 7 or following is None
            found += [(item["user"], item.get("session")) for item in items]
        assert len(set(found)) == len(found) == wanted


async def test_everybody_is_kicked_and_others_are_served_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    to_others = pace.Pace.rest

    async def rest(mine: pace.Pace) -> None:
        """After each session, and until the one who looks has had an answer, however late."""
        await to_others(mine)
        seen = len(left)
        await until(lambda: len(left) > seen or not left[-1])

    monkeypatch.setattr(pace, "TURN_S", 0.0)
    monkeypatch.setattr(pace.Pace, "rest", rest)
    async with crowd(tmp_path) as (server, sockets), server.peer() as peer:
        hub = server.hub

        async def look() -> None:
            """How many sessions there are whenever a request of somebody else is answered."""
            while not left or left[-1]:
                assert (await peer.ask("GET", "/readyz")).status == 200
                left.append(len(hub.sessions.by_id))

        async def told(socket: Socket) -> None:
            bye = await socket.expect("bye")
            assert (bye["code"], bye["reason"], bye["reconnect"]) == (4009, "rest", True)
            with pytest.raises(Closed) as closed:
                await socket.message()
            assert closed.value.code == 4009

        await change(server, "everybody", add=USERS)
        for socket in sockets.values():
            await socket.expect("subscribed")
        with patience():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                for socket in sockets.values():
                    nursery.start_soon(told, socket)
                await until(lambda: left)
                answer = await server.ask(
                    "DELETE", "/v1/groups/everybody/sessions?reason=rest&reconnect=true", token=KEY
                )
                assert answer.json == {"kicked": len(sockets)}
        assert left[0] == len(sockets)
        assert any(0 < count < len(sockets) for count in left)
        assert hub.sessions.by_id == {}
        await until(lambda: hub.connections == 1)  # the one that looks
