"""People on several nodes when one of them, or Redis, breaks: nobody leaves who has not left."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.cluster.bus.bus import Bus
from pushd.cluster.owner.roll import Told
from pushd.cluster.owner.rollcall import RollCall
from pushd.settings.namespaces import Namespace
from tests.support.app import KEY, Server, running_server
from tests.support.cluster import EAST, WEST, Node, running_cluster
from tests.support.nodes import CLUSTER_KEY, running_nodes
from tests.support.redis import RedisServer
from tests.support.sessions import session
from tests.support.websocket import WebSocket

pytestmark = pytest.mark.usefixtures("patient_nodes")

ROOM = {"room": Namespace(presence=True)}
IN_ROOM = "/v1/ws?channels=room:1"
PATIENCE_S = 240.0
# Of sockets that nobody reads while the test waits.
SILENT = {"heartbeat_interval": 600.0, "heartbeat_timeout": 3600.0}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[RollCall]:
    """Those of the owners that have begun. No lease runs out, and nobody is sure, before the test
    says that it is time: however busy the machine is, all that live have told of themselves."""
    made: list[RollCall] = []

    def make(bus: Bus, told: Told) -> RollCall:
        call = RollCall(bus, told)
        call.roll.settle_s = 3600.0
        made.append(call)
        return call

    monkeypatch.setattr("pushd.joining.RollCall", make)
    patient = partial(Bus, timeout_s=60.0, lease_s=3600.0, renew_s=0.5, tick_s=0.1)
    monkeypatch.setattr("pushd.joining.Bus", patient)
    return made


async def eventually(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not condition():
            await trio.sleep(0.02)


async def two_leases_pass(call: RollCall, edges: int) -> None:
    """Since Redis was (there again), in which so many edges have told of themselves."""
    roll = call.roll
    await eventually(lambda: [each.confirmed for each in roll._nodes.values()] == [True] * edges)
    roll.settles_at = -math.inf
    await eventually(lambda: roll.known)


async def told_in_room(server: Server) -> list[tuple[str, str]]:
    answer = await server.pull("$presence:room:1", after="0", limit=1000)
    return [(each["type"], each["data"]["user"]) for each in answer.json.get("messages", [])]


def users(server: Server) -> list[str]:
    return sorted(server.hub.presence.users())


# -- a node is killed


@asynccontextmanager
async def connected(node: Node, user: str) -> AsyncIterator[WebSocket]:
    """In the room."""
    async with await WebSocket.open(node.address) as socket:
        await socket.upgrade(IN_ROOM, token=node.token(user, subscribe=("*",)))
        assert (await socket.message())["type"] == "hello"
        yield socket


async def get(node: Node, path: str) -> Any:
    async with await node.http() as http:
        answer = await http.get(path)
        assert answer.status == 200, answer
        return answer.json()


async def seen(node: Node) -> dict[str, tuple[bool, int]]:
    """Of each user: online, and with how many sessions."""
    items = (await get(node, "/v1/users"))["items"]
    return {each["user"]: (each["online"], each["sessions"]) for each in items}


async def test_a_user_of_two_nodes_stays_when_one_is_killed(tmp_path: Path) -> None:
    """Really killed: its sessions go with its lease, and who was only there leaves."""
    rules = tmp_path / "rules.toml"
    rules.write_text("[namespaces.room]\npresence = true\n", "utf-8")
    silent = {name: f"{seconds:.0f}s" for name, seconds in SILENT.items()}
    async with (
        running_cluster(tmp_path, config=str(rules), **silent) as cluster,
        AsyncExitStack() as stack,
    ):
        east, west, owner = cluster.nodes[EAST], cluster.nodes[WEST], cluster.owner
        for node, user in ((east, "alice"), (west, "alice"), (east, "bob"), (west, "carol")):
            await stack.enter_async_context(connected(node, user))
        everybody = {"alice": (True, 2), "bob": (True, 1), "carol": (True, 1)}
        with trio.fail_after(PATIENCE_S):
            while await seen(west) != everybody:
                await trio.sleep(0.05)
            # Since the start nobody was sure.
            while "state" in (await get(west, "/v1/users"))["items"][0]:
                await trio.sleep(0.05)
        before = (await get(west, "/v1/channels/room:1/presence"))["cursor"]
        await east.kill()
        lease = f"pushd:sessions:{EAST}"
        assert -1 != await cluster.redis.run("PTTL", lease) <= 15_000
        await cluster.redis.run("PEXPIRE", lease, 50)  # which is when it would end
        with trio.fail_after(PATIENCE_S):
            while (found := await seen(owner)).get("bob", (False, 0))[0]:
                assert found["alice"][0]
                assert found["carol"] == (True, 1)
                await trio.sleep(0.05)
        assert found["alice"] == (True, 1)
        path = f"/v1/channels/$presence:room:1/messages?after={before}&wait=60"
        told = (await get(west, path))["messages"]
        assert [(each["type"], each["data"]["user"]) for each in told] == [("leave", "bob")]
        [left] = (await get(west, "/v1/sessions?user=alice"))["items"]
        assert left["node"] == WEST


# -- Redis, and the owner


async def test_without_redis_nobody_leaves(tmp_path: Path, calls: list[RollCall]) -> None:
    """And once it is there again, and everybody has had the time to say so, those do who have."""
    async with (
        running_nodes(tmp_path, edges=2, namespaces=ROOM, **SILENT) as nodes,
        AsyncExitStack() as more,
    ):
        owner, (first, second) = nodes.owner, nodes.edges
        assert owner.hub.presence.state == "unknown"
        [call] = calls
        await two_leases_pass(call, 2)
        assert owner.hub.presence.state == "known"
        await more.enter_async_context(session(first, "alice", IN_ROOM))
        async with session(second, "bob", IN_ROOM):
            await eventually(lambda: _room(owner) == {"alice", "bob"})
            await nodes.redis.kill()
            await eventually(lambda: owner.hub.presence.state == "unknown")
        await more.enter_async_context(session(second, "carol", IN_ROOM))
        await more.enter_async_context(session(owner, "dora", IN_ROOM))
        answer = await second.ask("GET", "/v1/users?online=true", token=KEY)
        listed = {each["user"]: each["state"] for each in answer.json["items"]}
        assert listed == dict.fromkeys(("alice", "bob", "dora"), "unknown")
        await nodes.redis.start()
        await eventually(lambda: "carol" in users(owner))
        assert users(owner) == ["alice", "bob", "carol", "dora"]
        await two_leases_pass(call, 2)
        await eventually(lambda: _room(owner) == {"alice", "carol", "dora"})
        await eventually(lambda: users(owner) == ["alice", "carol", "dora"])
        # Alice has never left; presence keeps a minute of what was told, which this takes less of.
        assert [what for what in await told_in_room(owner) if what[1] == "alice"] in (
            [("join", "alice")],
            [],
        )


def _room(server: Server) -> set[str]:
    """As the channel of the room says."""
    room = server.hub.announcer.rooms.get("room:1")
    return (
        set()
        if room is None
        else {str(each, "utf-8").split('"')[3] for each in room.page("", 100)[0]}
    )


async def test_the_owner_begins_anew(tmp_path: Path, calls: list[RollCall]) -> None:
    """Sessions of edges live on, with what was sent to them; they are there again as the new
    owner hears of them."""
    async with RedisServer(tmp_path / "redis") as redis, trio.open_nursery() as owners:
        common: dict[str, Any] = {
            "redis": redis.url,
            "cluster_key": CLUSTER_KEY,
            "cluster_sync": 0.1,
            "namespaces": ROOM,
            **SILENT,
        }
        begin = partial(owners.start, _run, tmp_path / "owner", {"node_id": "owner", **common})
        owner, stop = await begin()
        async with (
            running_server(
                tmp_path / "edge", node_id="edge", edge=True, errors_expected=True, **common
            ) as edge,
            session(edge, "alice", IN_ROOM) as alice,
        ):
            [mine] = edge.hub.sessions.of_user("alice")
            channel = f"session:{mine.id}"
            await eventually(lambda: mine.id in owner.hub.sessions.by_id)
            await owner.publish(channel, "before")
            await owner.publish("session:nobodys", "may be of one that is not known yet")
            assert list((await alice.expect("subscribed"))["heads"]) == [channel]
            assert not owner.hub.access.sight.known
            await stop()
            owner, _ = await begin()
            assert {channel, "session:nobodys"} <= owner.hub.log.heads.keys()
            await eventually(lambda: mine.id in owner.hub.sessions.by_id)
            await eventually(lambda: _room(owner) == {"alice"})
            assert owner.hub.presence.state == "unknown"
            assert "session:nobodys" in owner.hub.log.heads
            await two_leases_pass(calls[-1], 1)
            assert owner.hub.presence.state == "known"
            await eventually(lambda: "session:nobodys" not in owner.hub.log.heads)
            await owner.publish(channel, "after")
            while (await alice.expect("hint"))["seq"] < 2:
                pass
            pulled = await edge.pull(channel, edge.token("alice"), after="0")
            assert [each["data"] for each in pulled.json["messages"]] == ["before", "after"]
            assert users(owner) == ["alice"]
            kicked = await owner.ask("DELETE", "/v1/users/alice/sessions", token=KEY)
            assert kicked.json == {"kicked": 1}
            assert (await alice.expect("bye"))["code"] == 4009
            await eventually(lambda: channel not in owner.hub.log.heads)
        owners.cancel_scope.cancel()


async def _run(
    home: Path,
    settings: dict[str, Any],
    task_status: trio.TaskStatus[tuple[Server, Callable[[], Awaitable[None]]]],
) -> None:
    """A node that can be cut off while the test goes on."""
    ended = trio.Event()
    with trio.CancelScope() as scope:

        async def stop() -> None:
            scope.cancel()
            await ended.wait()

        async with running_server(home, **settings) as server:
            task_status.started((server, stop))
            await trio.sleep_forever()
    ended.set()
