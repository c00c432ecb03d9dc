"""People on several real nodes: lists, presence, kicks, marks and sends, asked of any of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.cluster.bus.bus import Bus
from pushd.settings.namespaces import Namespace
from tests.support.app import KEY, Server, Socket, until
from tests.support.groups import join
from tests.support.http import Answer, request
from tests.support.nodes import Nodes, running_nodes
from tests.support.sessions import session

pytestmark = pytest.mark.usefixtures("patient_nodes")


@pytest.fixture
async def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    patient = partial(Bus, timeout_s=60.0, lease_s=3600.0, renew_s=0.5)
    monkeypatch.setattr("pushd.joining.Bus", patient)
    rooms = {"room": Namespace(presence=True)}
    async with running_nodes(tmp_path, edges=2, namespaces=rooms) as nodes:
        nodes.owner.hub.access.sight.settle(True)  # it would be, two leases after the start
        yield nodes


def everywhere(nodes: Nodes) -> list[Server]:
    return [nodes.owner, *nodes.edges]


def known(nodes: Nodes) -> dict[str, str | None]:
    """The owner's sessions: user to node, None for its own."""
    return {str(each.user): each.node for each in nodes.owner.hub.sessions.by_id.values()}


@asynccontextmanager
async def three(nodes: Nodes, *users: str, **members: Any) -> AsyncIterator[list[Socket]]:
    """A session of each user, on the owner and each edge in turn; the owner knows all of them."""
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(session(server, user, **members))
            for server, user in zip(everywhere(nodes), users, strict=True)
        ]
        await until(lambda: _known_as_they_are(nodes, len(users)))
        yield sockets


def _known_as_they_are(nodes: Nodes, count: int) -> bool:
    """The owner knows so many sessions, and of those of edges what they follow: they say so later
    than that they are there."""
    here = {
        id_: sorted(each.following)
        for server in everywhere(nodes)
        for id_, each in server.hub.sessions.by_id.items()
        if each.node is None
    }
    known = nodes.owner.hub.sessions.by_id
    return len(known) == count and here == {
        id_: sorted(each.following) for id_, each in known.items()
    }


async def get(server: Server, path: str) -> Any:
    answer = await server.ask("GET", path, token=KEY)
    assert answer.status == 200, answer
    return answer.json


async def send(server: Server, *channels: str, **body: Any) -> Any:
    body = {"to": {"channels": [*channels]}, "message": {"data": "hi"}, **body}
    answer = await server.ask("POST", "/v1/publish", token=KEY, body=body)
    assert answer.status == 200, answer
    return answer.json


# -- lists


async def test_every_node_lists_all(nodes: Nodes) -> None:
    async with three(nodes, "carol", "alice", "bob"):
        for server in everywhere(nodes):
            listed = (await get(server, "/v1/sessions"))["items"]
            places = {each["user"]: each["node"] for each in listed}
            assert places == {"carol": "owner", "alice": "edge0", "bob": "edge1"}
            [one] = (await get(server, "/v1/sessions?node=edge1"))["items"]
            assert (one["user"], one["channels"]) == ("bob", ["all", "user:bob"])
            online = (await get(server, "/v1/users?online=true"))["items"]
            assert [each["user"] for each in online] == ["alice", "bob", "carol"]
            stats = await get(server, "/v1/stats")
            assert stats["cluster"] == {"nodes": 3, "sessions": 3, "users": 3}
    await until(lambda: not nodes.owner.hub.sessions.by_id)


async def test_every_node_knows_the_nodes(nodes: Nodes) -> None:
    async with three(nodes, "carol", "alice", "bob"):
        for server in everywhere(nodes):
            found: dict[str, Any] = {}
            with trio.fail_after(120):
                while [each.get("sessions") for each in found.values()] != [1, 1, 1]:
                    items = (await get(server, "/v1/nodes"))["items"]
                    found = {each["node"]: each for each in items}
                    await trio.sleep(0.05)
            assert list(found) == ["owner", "edge0", "edge1"]
            roles = [each["role"] for each in found.values()]
            assert roles == ["owner", "edge", "edge"]
            assert all(each["redis"] == "connected" for each in found.values())
            assert found["owner"]["url"].startswith("http://127.0.0.1:")
            assert found["owner"]["stale_ms"] is None
            assert all(found[name]["stale_ms"] < 60_000 for name in ("edge0", "edge1"))


# -- presence


async def test_a_user_of_two_nodes_stays_when_one_session_ends(nodes: Nodes) -> None:
    first, second = nodes.edges
    async with session(first, "alice"):
        async with session(second, "alice"):
            await until(lambda: len(nodes.owner.hub.sessions.by_id) == 2)
        await until(lambda: len(nodes.owner.hub.sessions.by_id) == 1)
        for server in everywhere(nodes):
            [item] = (await get(server, "/v1/users?online=true"))["items"]
            assert (item["user"], item["sessions"]) == ("alice", 1)
    await until(lambda: not len(nodes.owner.hub.presence))


async def test_rooms_are_told_of_everybody(nodes: Nodes) -> None:
    """Who follows the presence channel on one node hears who comes to the topic on another."""
    first, second = nodes.edges
    target = "/v1/ws?channels=room:1"
    async with session(first, "alice", target, attributes={"name": "A"}):
        rooms = nodes.owner.hub.announcer.rooms
        await until(lambda: "room:1" in rooms and rooms["room:1"].count == 1)
        listed = await get(second, "/v1/channels/room:1/presence")
        assert [each["attributes"] for each in listed["items"]] == [{"name": "A"}]
        async with session(second, "bob", "/v1/ws?channels=$presence:room:1") as watching:
            async with session(second, "carol", target):
                await _hinted(watching, 2)
            await _hinted(watching, 3)
        token = second.token("bob")
        told = await second.pull("$presence:room:1", token, after=listed["cursor"])
        news = [(each["type"], each["data"]["user"]) for each in told.json["messages"]]
        assert news == [("join", "carol"), ("leave", "carol")]


def _follows(nodes: Nodes, user: str, channel: str) -> bool:
    sessions = nodes.owner.hub.sessions.of_user(user)
    return any(channel in each.following for each in sessions)


async def _hinted(socket: Socket, seq: int) -> None:
    """A node may be some messages behind."""
    while (hint := await socket.expect("hint"))["seq"] < seq:
        pass
    assert hint["seq"] == seq


async def test_results_say_who_is_there_on_any_node(nodes: Nodes) -> None:
    await join(nodes.owner, "staff", "alice")
    async with session(nodes.edges[0], "alice", "/v1/ws?channels=news"):
        await until(lambda: _follows(nodes, "alice", "news"))
        targets = ["user:alice", "user:bob", "news", "other", "group:staff", "all"]
        for server in everywhere(nodes):
            results = (await send(server, *targets))["results"]
            online = {each["channel"]: each["online"] for each in results}
            expected = dict.fromkeys(targets, True) | {"user:bob": False, "other": False}
            assert online == expected, server.hub.node_id
            assert all("state" not in each for each in results)
            body = b'{"channel":"user:alice","data":1}\n{"channel":"other","data":1}'
            ndjson = {"Content-Type": "application/x-ndjson"}
            lines = await server.ask("POST", "/v1/publish", token=KEY, headers=ndjson, body=body)
            found = [b'"online":true' in line for line in lines.body.splitlines()]
            assert found == [True, False]


async def test_every_node_says_when_it_is_not_known(nodes: Nodes) -> None:
    """The owner has lost Redis: what it knows of sessions may be old."""
    async with session(nodes.edges[0], "alice"):
        await until(lambda: "alice" in known(nodes))
        nodes.owner.hub.access.sight.settle(False)
        for server in everywhere(nodes):
            [result] = (await send(server, "user:alice"))["results"]
            assert (result["online"], result["state"]) == (True, "unknown")
            [item] = (await get(server, "/v1/users?online=true"))["items"]
            assert item["state"] == "unknown"


# -- ends


@pytest.mark.parametrize("what", ["sessions/{id}", "users/alice/sessions", "groups/staff/sessions"])
async def test_kicks_reach_every_node(nodes: Nodes, what: str) -> None:
    """Caller, target and owner are three nodes."""
    caller, there = nodes.edges
    await join(nodes.owner, "staff", "alice", "zoe")
    await until(lambda: there.hub.log.groups.has("staff", "alice"))
    async with session(there, "alice") as alice, session(there, "bob") as bob:
        await until(lambda: len(nodes.owner.hub.sessions.by_id) == 2)
        [seen] = there.hub.sessions.of_user("alice")
        path = f"/v1/{what.format(id=seen.id)}?reason=too%20loud&reconnect=true"
        answer = await caller.ask("DELETE", path, token=KEY)
        assert answer.status in (200, 204)
        if answer.status == 200:
            assert answer.json == {"kicked": 1}
        bye = await alice.expect("bye")
        assert (bye["code"], bye["reason"], bye["reconnect"]) == (4009, "too loud", True)
        await until(lambda: "alice" not in known(nodes))
        await bob.send({"type": "ping"})
        await bob.expect("pong")


async def test_a_user_is_kicked_wherever_and_however_connected(nodes: Nodes) -> None:
    poll = request(
        "POST",
        "/v1/pull",
        token=nodes.edges[1].token("alice", device="phone"),
        body={"mine": True, "wait": 60},
    )
    async with (
        three(nodes, "alice", "alice", "alice") as sockets,
        nodes.edges[1].peer() as poller,
    ):
        await poller.write(poll)
        await until(lambda: len(nodes.owner.hub.sessions.of_user("alice")) == 4)
        answer = await nodes.edges[0].ask("DELETE", "/v1/users/alice/sessions", token=KEY)
        assert answer.json == {"kicked": 4}
        for socket in sockets:
            assert (await socket.expect("bye"))["code"] == 4009
        [notice] = (await poller.answer()).json["notices"]
        assert (notice["type"], notice["code"]) == ("bye", 4009)
    await until(lambda: not nodes.owner.hub.sessions.by_id)


async def test_who_came_just_now_is_kicked_as_well(nodes: Nodes) -> None:
    """Before the owner has heard of the session: it is counted by nobody, yet it ends."""
    there = nodes.edges[1]
    async with session(there, "alice") as alice:
        remote = [each for each in nodes.owner.hub.sessions.of_user("alice") if each.node]
        answer = await nodes.edges[0].ask("DELETE", "/v1/users/alice/sessions", token=KEY)
        assert answer.json["kicked"] in {len(remote), 1}
        assert (await alice.expect("bye"))["code"] == 4009


async def test_who_is_revoked_is_ended_by_the_node_that_knows_the_token(nodes: Nodes) -> None:
    async with three(nodes, "alice", "alice", "bob") as sockets:
        body = {"user": "alice"}
        answer = await nodes.edges[1].ask("POST", "/v1/revocations", token=KEY, body=body)
        assert answer.status == 201
        for socket in sockets[:2]:
            assert (await socket.expect("bye"))["code"] == 4001
        await sockets[2].send({"type": "ping"})
        await sockets[2].expect("pong")


# -- read marks


async def test_a_read_mark_is_told_once_to_all_others(nodes: Nodes) -> None:
    """Wherever it is set: to sessions and pollers of all nodes, not to whom it is of."""
    await send(nodes.owner, "news", "news")
    head = nodes.owner.hub.log.heads["news"]
    cursors = [f"{head.epoch}.1"]
    for at, teller in enumerate(everywhere(nodes)):
        await send(nodes.owner, "news")
        cursors.append(f"{head.epoch}.{at + 2}")
        await _mirrored(nodes, "news", at + 2)
        async with three(nodes, "alice", "alice", "alice") as sockets:
            for socket in sockets:
                await _quiet(socket)
            [mine] = [each for each in teller.hub.sessions.of_user("alice") if each.node is None]
            await sockets[at].send({"type": "read", "channel": "news", "cursor": cursors[-1]})
            for number, socket in enumerate(sockets):
                if number != at:
                    told = await socket.expect("read")
                    assert told["cursor"] == cursors[-1]
            # A second one: nothing of the first is told again meanwhile.
            await send(nodes.owner, "user:alice")
            for socket in sockets:
                assert (await socket.expect("hint"))["channel"] == "user:alice"
            assert mine.id in teller.hub.sessions.by_id
        await until(lambda: not nodes.owner.hub.sessions.by_id)


async def _mirrored(nodes: Nodes, channel: str, seq: int) -> None:
    def is_there(server: Server) -> bool:
        head = server.hub.log.heads.get(channel)
        return head is not None and head.seq == seq

    await until(lambda: all(map(is_there, everywhere(nodes))))


async def _quiet(socket: Socket) -> None:
    """What was on its way has come."""
    await socket.send({"type": "ping"})
    await socket.expect("pong")


async def test_own_messages_are_read_on_all_nodes(nodes: Nodes) -> None:
    first, second = nodes.edges
    publish = {"publish": ["news"]}
    async with (
        session(first, "alice", **publish) as one,
        session(second, "alice", **publish) as other,
    ):
        message = {"type": "publish", "id": "1", "to": {"channels": ["news"]}}
        await one.send({**message, "message": {"data": 1}})
        published = await one.expect("published")
        [stored] = published["results"]
        told = await other.expect("read")
        assert told["cursor"] == f"{stored['epoch']}.{stored['seq']}"
        await _quiet(one)
        await _quiet(other)
    listed = await nodes.owner.ask("GET", "/v1/users/alice", token=KEY)
    [news] = [each for each in listed.json["channels"] if each["channel"] == "news"]
    assert (news["read"], news["unread"]) == (told["cursor"], 0)


async def test_a_poller_of_another_node_is_told_by_notices(nodes: Nodes) -> None:
    await send(nodes.owner, "news")
    head = nodes.owner.hub.log.heads["news"]
    cursor = f"{head.epoch}.1"
    first, second = nodes.edges
    token = second.token("alice", device="phone")
    async with second.peer() as poller:
        body = {"mine": True, "wait": 60}
        await poller.write(request("POST", "/v1/pull", token=token, body=body))
        await until(lambda: "alice" in known(nodes))
        path = "/v1/channels/news/read"
        marked = await first.ask("POST", path, token=first.token("alice"), body={"cursor": cursor})
        assert marked.status == 204
        answer: Answer = await poller.answer()
        [notice] = answer.json["notices"]
        assert (notice["type"], notice["cursor"]) == ("read", cursor)


# -- to sessions, and waiting for devices


async def test_a_session_is_sent_to_from_any_node(nodes: Nodes) -> None:
    first, second = nodes.edges
    async with session(first, "alice") as alice:
        await until(lambda: "alice" in known(nodes))
        [mine] = first.hub.sessions.of_user("alice")
        channel = f"session:{mine.id}"
        for at, server in enumerate(everywhere(nodes), 1):
            [result] = (await send(server, channel))["results"]
            assert (result["seq"], result["online"]) == (at, True)
        told = await alice.expect("subscribed")
        assert list(told["heads"]) == [channel]
        pulled = await first.pull(channel, first.token("alice"), after="0")
        assert len(pulled.json["messages"]) >= 1
        elsewhere = await second.pull(channel, second.token("alice"), after="0")
        assert [each["seq"] for each in elsewhere.json["messages"]] == [1, 2, 3]
    await until(lambda: channel not in nodes.owner.hub.log.heads)
    for server in everywhere(nodes):
        body = {"to": {"channels": [channel]}, "message": {"data": 1}}
        answer = await server.ask("POST", "/v1/publish", token=KEY, body=body)
        assert answer.code == "not_found"
    assert channel not in nodes.owner.hub.log.heads


@pytest.mark.parametrize("delivered", [True, False])
async def test_a_publish_waits_for_a_device_of_another_node(nodes: Nodes, delivered: bool) -> None:
    first, second = nodes.edges
    wait = {"delivered_to": "alice", "ms": 60_000 if delivered else 300}
    answers: list[Any] = []

    async def publish() -> None:
        answers.append(await send(second, "user:alice", wait=wait))

    async with session(first, "alice", device="d1") as alice, trio.open_nursery() as nursery:
        await until(lambda: "alice" in known(nodes))
        nursery.start_soon(publish)
        assert (await alice.expect("hint"))["channel"] == "user:alice"
        if delivered:
            token = first.token("alice", device="d1")
            pulled = await first.pull("user:alice", token, after="0")
            await alice.send({"type": "ack", "cursors": {"user:alice": pulled.json["next"]}})
    [answer] = answers
    assert answer["delivered"] is delivered
    assert answer["results"][0]["online"] is True


async def test_a_session_is_sent_to_before_the_owner_has_heard_of_it(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a call is answered that comes right after hello. Here the owner never hears of it."""
    monkeypatch.setattr("pushd.sessionchannels.VOUCHED_S", 3600.0)  # it is over when the test says
    edge, owner = nodes.edge, nodes.owner
    nodes.owner.hub.sessions.enter = lambda session: None  # type: ignore[method-assign]
    async with session(edge, "alice") as alice:
        [mine] = edge.hub.sessions.of_user("alice")
        channel = f"session:{mine.id}"
        await send(edge, channel)
        assert list((await alice.expect("subscribed"))["heads"]) == [channel]
        pulled = await edge.pull(channel, edge.token("alice"), after="0")
        assert [each["data"] for each in pulled.json["messages"]] == ["hi"]
        body = {"to": {"channels": [channel]}, "message": {"data": 1}}
        answer = await nodes.edges[1].ask("POST", "/v1/publish", token=KEY, body=body)
        assert answer.code == "not_found", "of another node's word it would be wrong"
    assert channel in owner.hub.log.heads
    [vouched] = owner.hub.session_channels._vouched.values()
    vouched.expire()  # in a while
    await until(lambda: channel not in owner.hub.log.heads)
