"""A classic fault: users who are online count as offline, or the other way round."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pushd.happenings import UserOffline
from pushd.settings import Namespace
from tests.support.app import KEY, Server, running_server, until
from tests.support.events import listening
from tests.support.http import request
from tests.support.sessions import session

Opening = Callable[[Server, str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def a_socket(server: Server, device: str) -> AsyncIterator[None]:
    async with session(server, target=f"/v1/ws?device={device}"):
        yield


@asynccontextmanager
async def a_stream(server: Server, device: str) -> AsyncIterator[None]:
    async with listening(server, f"device={device}", token=server.token()) as events:
        await events.expect("hello")
        yield


@asynccontextmanager
async def a_poller(server: Server, device: str) -> AsyncIterator[None]:
    body = {"cursors": {"quiet": "head"}, "wait": 60, "device": device}
    async with server.peer() as peer:
        held = server.hub.counters.polls_held
        await peer.write(request("POST", "/v1/pull", token=server.token(), body=body))
        await until(lambda: server.hub.counters.polls_held > held)
        yield


WAYS: list[Opening] = [a_socket, a_stream, a_poller]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Server]:
    """Whoever has left is offline at once, and a device that polls no more almost at once."""
    async with running_server(tmp_path, presence_grace=0.0, poll_grace=0.05) as server:
        yield server


async def online(server: Server) -> tuple[bool, list[str]]:
    """As a publisher is told, and the sessions as operators see them."""
    body = {"to": {"users": ["alice"]}, "message": {"data": 1}}
    [result] = (await server.ask("POST", "/v1/publish", token=KEY, body=body)).json["results"]
    user = (await server.ask("GET", "/v1/users/alice", token=KEY)).json
    assert user["online"] is result["online"]
    return user["online"], sorted(str(each["device"]) for each in user["sessions"])


@each_way
async def test_an_old_connections_close_does_not_remove_the_newer_one(
    hasty: Server, way: Opening
) -> None:
    """The same user on the same device comes again before the server knows that the old is dead."""
    gone = heard(hasty, UserOffline)
    async with AsyncExitStack() as newer:
        async with way(hasty, "phone"):
            [old] = hasty.hub.sessions.by_id
            if way is a_stream:
                await newer.enter_async_context(way(hasty, "phone"))
            else:
                await newer.enter_async_context(a_socket(hasty, "phone"))
        await until(lambda: old not in hasty.hub.sessions.by_id)
        assert await online(hasty) == (True, ["phone"])
        assert gone == []
    await until(lambda: gone == [UserOffline("alice")])
    assert await online(hasty) == (False, [])


@each_way
@pytest.mark.parametrize("other", WAYS, ids=lambda way: way.__name__)
async def test_who_lives_elsewhere_stays_online(
    hasty: Server, way: Opening, other: Opening
) -> None:
    gone = heard(hasty, UserOffline)
    async with way(hasty, "phone"):
        async with other(hasty, "tablet"):
            assert await online(hasty) == (True, ["phone", "tablet"])
        await until(lambda: len(hasty.hub.sessions.by_id) == 1)
        assert await online(hasty) == (True, ["phone"])
        assert gone == []
    await until(lambda: gone == [UserOffline("alice")])


@each_way
async def test_a_restart_leaves_no_ghosts_online(tmp_path: Path, way: Opening) -> None:
    """However long users count as online after they have left, and however the server ends."""
    rooms = {"room": Namespace(presence=True)}
    long: Any = {"presence_grace": 3600.0, "namespaces": rooms}
    told = "$presence:room:1"
    async with running_server(tmp_path, **long) as server, way(server, "phone"):
        assert (await online(server))[0] is True
        async with session(server, "bob") as bob:
            await bob.send({"type": "subscribe", "channels": {"room:1": "0"}})
            await bob.expect("subscribed")
            await until(lambda: told in server.hub.log.heads)
            cursor = f"{server.hub.log.heads[told].epoch}.1"
    async with running_server(tmp_path, **long) as server:
        assert await online(server) == (False, [])
        assert len(server.hub.presence) == 0
        listed = await server.ask("GET", "/v1/users?online=true", token=KEY)
        assert listed.json["items"] == []
        there = await server.ask("GET", "/v1/channels/room:1/presence", token=KEY)
        assert there.json["items"] == []
        # Whoever was told that bob is there is told to ask anew.
        assert (await server.pull(told, server.token(), after=cursor)).code == "epoch_changed"


def heard(server: Server, kind: type[Any]) -> list[Any]:
    found: list[Any] = []
    server.hub.happenings.listen(kind, found.append)
    return found
