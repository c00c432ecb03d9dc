"""Sessions of other nodes at the owner, from records handed in: presence, rooms, lists, kicks."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pushd.cluster.bus.texts import SessionRecord
from pushd.cluster.owner.remote import RemoteSessions
from pushd.cluster.wire import Bye
from pushd.core.room import Room
from pushd.happenings import SessionClosed, SessionOpened, UserOffline, UserOnline
from pushd.settings.namespaces import Namespace
from tests.support.app import KEY, Server, running_server, until
from tests.support.events import listening
from tests.support.groups import join
from tests.support.http import Peer, request
from tests.support.sessions import session
from tests.web.keys import key


@dataclass
class Owner:
    """A node that is told of others' sessions by the test."""

    server: Server
    remote: RemoteSessions
    byes: list[Bye] = field(default_factory=list)
    heard: list[tuple[str, str | None]] = field(default_factory=list)

    async def get(self, path: str) -> Any:
        answer = await self.server.ask("GET", path, token=KEY)
        assert answer.status == 200, answer
        return answer.json

    async def kick(self, path: str) -> Any:
        answer = await self.server.ask("DELETE", path, token=KEY)
        assert answer.status in (200, 204), answer
        return answer.json if answer.status == 200 else None

    async def online(self, channel: str) -> tuple[bool, str | None]:
        """What the result of a publish says, and its state."""
        body = {"to": {"channels": [channel]}, "message": {"data": 1}}
        answer = await self.server.ask("POST", "/v1/publish", token=KEY, body=body)
        assert answer.status == 200, answer
        [result] = answer.json["results"]
        return result["online"], result.get("state")

    async def in_room(self, topic: str = "room:1") -> dict[str, Any]:
        """Who the list says is there, with the attributes, once all changes are told."""
        rooms = self.server.hub.announcer.rooms
        await until(lambda: all(_settled(each) for each in rooms.values()))
        listed = await self.get(f"/v1/channels/{topic}/presence")
        return {item["user"]: item["attributes"] for item in listed["items"]}


def _settled(room: Room) -> bool:
    """All that is to be told there is on disk."""
    told, _ = room.page("", 100)
    return sorted(room.here.values()) == sorted(told)


@asynccontextmanager
async def owning(tmp_path: Path, **given: Any) -> AsyncIterator[Owner]:
    given = {"namespaces": {"room": Namespace(presence=True)}, **given}
    async with running_server(tmp_path, **given) as server:
        byes: list[Bye] = []
        owner = Owner(server, RemoteSessions(server.hub, byes.append), byes)
        listen = server.hub.happenings.listen
        listen(SessionOpened, lambda each: owner.heard.append(("opened", each.session.node)))
        listen(SessionClosed, lambda each: owner.heard.append(("closed", each.session.node)))
        listen(UserOnline, lambda each: owner.heard.append(("online", each.user)))
        listen(UserOffline, lambda each: owner.heard.append(("offline", each.user)))
        yield owner


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Owner]:
    async with owning(tmp_path) as made:
        yield made


@asynccontextmanager
async def polling(server: Server, **members: Any) -> AsyncIterator[Peer]:
    """A client whose poll is held."""
    held = server.hub.counters.polls_held
    body = {"mine": True, "wait": 60, **members}
    async with server.peer() as peer:
        await peer.write(request("POST", "/v1/pull", token=server.token(), body=body))
        await until(lambda: server.hub.counters.polls_held == held + 1)
        yield peer


def record(name: str, node: str = "edge1", user: str | None = "alice", **given: Any) -> Any:
    attributes = given.pop("attributes", None)
    return SessionRecord(
        session=name,
        node=node,
        user=user,
        device=given.pop("device", "phone"),
        transport=given.pop("transport", "websocket"),
        address="192.0.2.7",
        since=time.time() - 60,
        last_seen=time.time() - 5,
        channels=given.pop("channels", ["all", f"user:{user}"]),
        attributes=msgspec.Raw(msgspec.json.encode(attributes)),
    )


# -- lists and counts


async def test_sessions_of_all_nodes_are_listed_and_counted(owner: Owner) -> None:
    owner.remote.opened(record("r1"))
    owner.remote.opened(record("r2", "edge2", "bob", device=None, transport="sse"))
    async with session(owner.server, "carol"):
        listed = (await owner.get("/v1/sessions"))["items"]
        here = owner.server.hub.node_id
        places = {(item["user"], item["node"], item["transport"]) for item in listed}
        assert places == {
            ("alice", "edge1", "websocket"),
            ("bob", "edge2", "sse"),
            ("carol", here, "websocket"),
        }
        [first] = (await owner.get("/v1/sessions?user=alice"))["items"]
        now = int(time.time() * 1000)
        assert first["session"] == "r1"
        assert first["address"] == "192.0.2.7"
        assert first["channels"] == ["all", "user:alice"]
        assert now - 120_000 < first["since"] < now - 59_000
        assert first["since"] < first["last_seen"] < now - 4_000
        for node, users in (("edge1", ["alice"]), ("edge2", ["bob"]), (here, ["carol"]), ("x", [])):
            items = (await owner.get(f"/v1/sessions?node={node}"))["items"]
            assert [item["user"] for item in items] == users, node
        online = (await owner.get("/v1/users?online=true"))["items"]
        assert [(each["user"], each["sessions"]) for each in online] == [
            ("alice", 1),
            ("bob", 1),
            ("carol", 1),
        ]
        assert all("state" not in each for each in online)
        stats = await owner.get("/v1/stats")
        assert (stats["sessions"], stats["users"]) == (1, 3)
        assert stats["transports"] == {"websocket": 1}
        assert (stats["cluster"]["sessions"], stats["cluster"]["users"]) == (3, 3)
        assert len(owner.remote) == 2


async def test_they_take_no_share_of_what_a_user_may_have(tmp_path: Path) -> None:
    async with owning(tmp_path, max_connections_per_user=1) as owner:
        owner.remote.opened(record("r1"))
        owner.remote.opened(record("r2"))
        async with session(owner.server):
            assert len(owner.server.hub.sessions.of_user("alice")) == 3


async def test_a_record_that_cannot_be(owner: Owner) -> None:
    """Of a session of this very node, under whatever name; of an attribute that is none."""
    async with session(owner.server):
        [mine] = owner.server.hub.sessions.of_user("alice")
        owner.remote.opened(record(mine.id))
        owner.remote.opened(record("old", owner.server.hub.node_id))
        assert owner.server.hub.sessions.of_user("alice") == [mine]
        owner.remote.closed(mine.id)
        owner.remote.closed("never heard of")
        assert owner.server.hub.sessions.of_user("alice") == [mine]
    odd = record("odd", user="bob", channels=["room:1"])
    odd.attributes = msgspec.Raw(b'{"a":')
    owner.remote.opened(odd)
    assert await owner.in_room() == {"bob": {}}


async def test_a_session_that_moves_is_another_ones_from_then_on(owner: Owner) -> None:
    owner.remote.opened(record("r1"))
    owner.remote.opened(record("r1", "edge2"))
    [item] = (await owner.get("/v1/sessions"))["items"]
    assert item["node"] == "edge2"
    owner.remote.opened(record("r1", "edge2", "bob"))
    assert [each["user"] for each in (await owner.get("/v1/users?online=true"))["items"]] == ["bob"]
    assert len(owner.remote) == 1


# -- presence


async def test_a_user_of_two_nodes_stays_when_one_dies(owner: Owner) -> None:
    owner.remote.opened(record("r1"))
    owner.remote.opened(record("r2", "edge2"))
    owner.remote.closed("r1")
    sessions = [("opened", "edge1"), ("opened", "edge2"), ("closed", "edge1")]
    assert sorted(owner.heard) == sorted([*sessions, ("online", "alice")])
    owner.remote.closed("r2")
    assert sorted(owner.heard[4:]) == [("closed", "edge2"), ("offline", "alice")]


async def test_a_user_who_is_here_as_well(owner: Owner) -> None:
    async with session(owner.server):
        owner.remote.opened(record("r1"))
    await until(lambda: ("closed", None) in owner.heard)
    assert ("offline", "alice") not in owner.heard
    owner.remote.closed("r1")
    assert ("offline", "alice") in owner.heard
    assert [what for what, _ in owner.heard].count("online") == 1


async def test_rooms_are_of_all_nodes(owner: Owner) -> None:
    owner.remote.opened(record("r1", channels=["room:1"], attributes={"name": "A"}))
    owner.remote.opened(record("r2", "edge2", channels=["room:1", "room:2"]))
    owner.remote.opened(record("r3", "edge2", "bob", channels=["room:2"]))
    assert await owner.in_room("room:1") == {"alice": {}}, "as the newest session says"
    assert await owner.in_room("room:2") == {"alice": {}, "bob": {}}
    owner.remote.closed("r2")
    assert await owner.in_room("room:1") == {"alice": {"name": "A"}}
    assert await owner.in_room("room:2") == {"bob": {}}
    owner.remote.changed(record("r3", "edge2", "bob", channels=["room:1"], attributes={"n": 1}))
    assert await owner.in_room("room:1") == {"alice": {"name": "A"}, "bob": {"n": 1}}
    assert await owner.in_room("room:2") == {}
    owner.remote.changed(record("r3", "edge2", "bob", channels=["room:1"], attributes={"n": 2}))
    assert (await owner.in_room("room:1"))["bob"] == {"n": 2}
    told = (await owner.server.pull("$presence:room:1", after="0")).json["messages"]
    assert [(each["type"], each["data"]["user"]) for each in told] == [
        ("join", "alice"),
        ("join", "alice"),
        ("join", "bob"),
        ("join", "bob"),
    ]


async def test_somebody_follows_elsewhere(owner: Owner) -> None:
    assert await owner.online("news") == (False, None)
    owner.remote.opened(record("r1", channels=["news"]))
    owner.remote.opened(record("r2", channels=["news"]))
    assert await owner.online("news") == (True, None)
    assert await owner.online("user:alice") == (True, None)
    owner.remote.closed("r1")
    assert await owner.online("news") == (True, None)
    owner.remote.changed(record("r2", channels=["other"]))
    assert await owner.online("news") == (False, None)
    line = await owner.server.ask(
        "POST",
        "/v1/publish",
        token=KEY,
        headers={"Content-Type": "application/x-ndjson"},
        body=b'{"channel":"other","data":1}',
    )
    assert line.json["online"] is True


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_in_whatever_order(owner: Owner, seed: int) -> None:
    """The registry, the users and the followers are those of the records that count."""
    rng, live = random.Random(seed), {}
    hub = owner.server.hub
    for _ in range(400):
        name, node = f"s{rng.randrange(8)}", f"edge{rng.randrange(3)}"
        if rng.random() < 0.4:
            owner.remote.closed(name)
            live.pop(name, None)
        else:
            channels = rng.sample(["room:1", "room:2", "news", "all"], rng.randrange(5))
            user = rng.choice(["alice", "bob", None])
            live[name] = record(name, node, user, channels=channels)
            rng.choice([owner.remote.opened, owner.remote.changed])(live[name])
        found = {each.id: (each.node, each.user) for each in hub.sessions.by_id.values()}
        assert found == {each.session: (each.node, each.user) for each in live.values()}
        followed = Counter(channel for each in live.values() for channel in each.channels)
        assert owner.remote.followed == followed
        assert set(hub.presence.users()) == {each.user for each in live.values()} - {None}
        for topic in ("room:1", "room:2"):
            room = hub.announcer.rooms.get(topic)
            there = {each.user for each in live.values() if topic in each.channels} - {None}
            assert (set() if room is None else set(room.here)) == there
    for name in list(live):
        owner.remote.closed(name)
    assert (len(hub.rooms), len(owner.remote.followed), len(hub.sessions.by_user)) == (0, 0, 0)


# -- ends


async def test_one_session_is_kicked_where_it_lives(owner: Owner) -> None:
    owner.remote.opened(record("r1"))
    owner.remote.opened(record("r2"))
    await owner.kick("/v1/sessions/r1?reason=too%20loud&reconnect=true")
    assert owner.byes == [Bye("r1", "", 4009, "too loud", True)]
    await owner.kick("/v1/sessions/r1")
    assert len(owner.byes) == 1, "it is told once"
    ended = []
    owner.server.hub.happenings.listen(SessionClosed, lambda each: ended.append(each.session))
    owner.remote.closed("r1")
    owner.remote.closed("r2")
    assert [(each.end_code, each.end_reason) for each in ended] == [
        (4009, "too loud"),
        (1006, "lost"),
    ]
    gone = await owner.server.ask("DELETE", "/v1/sessions/r1", token=KEY)
    assert gone.code == "not_found"


async def test_all_of_a_user_are_kicked_on_every_node(owner: Owner) -> None:
    owner.remote.opened(record("r1"))
    owner.remote.opened(record("r2", "edge2", "bob"))
    async with session(owner.server) as here:
        assert await owner.kick("/v1/users/alice/sessions?reason=out") == {"kicked": 2}
        assert (await here.expect("bye"))["reason"] == "out"
    assert owner.byes == [Bye("", "alice", 4009, "out", False)]
    assert await owner.kick("/v1/users/nobody/sessions") == {"kicked": 0}
    assert owner.byes[1].user == "nobody", "who may have come just now, elsewhere"
    erased = await owner.kick("/v1/users/bob")
    assert erased["kicked"] == 1
    assert owner.byes[2].user == "bob"


@pytest.mark.parametrize("token", [KEY, "group-key"])
async def test_a_group_is_kicked_on_every_node(tmp_path: Path, token: str) -> None:
    """By one word for all; a key that is for some of the users only names them."""
    keys = (key("group-key", "admin", patterns=("group:staff", "user:a*")),)
    async with owning(tmp_path, keys=keys) as owner:
        await join(owner.server, "staff", "alice", "anna", "bob")
        owner.remote.opened(record("r1"))
        owner.remote.opened(record("r2", "edge2", "bob"))
        path = "/v1/groups/staff/sessions?reason=out"
        answer = await owner.server.ask("DELETE", path, token=token)
        if token == KEY:
            assert answer.json == {"kicked": 2}
            assert owner.byes == [Bye("", "", 4009, "out", False, group="staff")]
        else:
            assert answer.json == {"kicked": 1}
            assert sorted(each.user for each in owner.byes) == ["alice", "anna"]


# -- what their own nodes do


async def test_the_owner_leaves_them_alone(tmp_path: Path) -> None:
    """Revoked users, new inboxes and groups, read marks, a stop: their nodes hear of it all."""
    async with owning(tmp_path) as owner:
        server = owner.server
        owner.remote.opened(record("r1"))
        body = {"user": "alice"}
        assert (await server.ask("POST", "/v1/revocations", token=KEY, body=body)).status == 201
        async with session(server, "bob") as bob:
            owner.remote.opened(record("r2", user="bob"))
            revoked = {"user": "bob"}
            await server.ask("POST", "/v1/revocations", token=KEY, body=revoked)
            assert (await bob.expect("bye"))["code"] == 4001
        await server.publish("user:carol", 1)
        owner.remote.opened(record("r3", user="carol"))
        await server.publish("user:carol:new", 1)
        await join(server, "staff", "carol")
        place = server.hub.log.heads["user:carol"]
        read = {"cursor": f"{place.epoch}.1"}
        path = "/v1/channels/user:carol/read"
        answer = await server.ask("POST", path, token=server.token("carol"), body=read)
        assert answer.status == 204
        await until(lambda: len(server.hub.sessions) == 0)  # bob's own is over
        assert {each.id for each in server.hub.sessions.by_id.values()} == {"r1", "r2", "r3"}
        assert server.hub.sessions.by_id["r3"].following == ("all", "user:carol")
        checked = await server.ask("POST", "/v1/heartbeat/check", token=KEY)
        assert checked.json == {"checked": 0, "reaped": 0}
        server.stopper.asked.set()
        await until(lambda: not server.hub.ready)
    assert owner.byes == []


async def test_a_read_mark_is_told_to_the_other_nodes(owner: Owner) -> None:
    server = owner.server
    heard: list[tuple[Any, ...]] = []
    server.hub.marking.on_read = lambda *mark: heard.append(mark)
    await server.publish("news", 1)
    await server.publish("news", 2)
    epoch = server.hub.log.heads["news"].epoch
    async with session(server, device="d1") as socket:
        [mine] = server.hub.sessions.of_user("alice")
        await socket.send({"type": "read", "channel": "news", "cursor": f"{epoch}.2"})
        await until(lambda: heard)
        assert heard.pop() == ("alice", "news", f"{epoch}.2", "d1", mine.id)
        path = "/v1/channels/news/read"
        body = {"cursor": f"{epoch}.1", "device": "d2"}
        await server.ask("POST", path, token=server.token(), body=body)
        assert heard == [], "it has not risen"
        token = server.token(publish=["news"])
        await server.ask("POST", "/v1/channels/news/messages", token=token, body={"data": 3})
        await until(lambda: heard)
        assert heard == [("alice", "news", f"{epoch}.3", None, None)]


# -- a poller beside a connection of another node


async def test_a_device_with_a_connection_elsewhere_is_listed_once(owner: Owner) -> None:
    owner.remote.opened(record("r1", device="phone"))
    async with polling(owner.server, device="phone"):
        assert [each["session"] for each in (await owner.get("/v1/sessions"))["items"]] == ["r1"]
        owner.remote.closed("r1")
        [item] = (await owner.get("/v1/sessions"))["items"]
        assert (item["transport"], item["node"]) == ("poll", owner.server.hub.node_id)
        owner.remote.opened(record("r2", device="phone", transport="poll"))
        assert len((await owner.get("/v1/sessions"))["items"]) == 2, "it polls at both"


async def test_an_event_stream_may_take_the_place_of_one_elsewhere(owner: Owner) -> None:
    """It is ended there; one that it does not name may be of a dead node, and keeps nobody out."""
    owner.remote.opened(record("r1", device="phone"))
    owner.remote.opened(record("r2", device="phone"))
    token = owner.server.token(device="phone")
    async with listening(owner.server, "replaces=r1", token=token) as events:
        await events.expect("hello")
        assert owner.byes == [Bye("r1", "", 1000, "replaced", None)]
