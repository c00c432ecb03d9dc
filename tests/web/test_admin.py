"""What administrators see of users and sessions, and how they end them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pushd.core.nodes import NodeRecord
from tests.support.app import KEY, Server, running_server, until
from tests.support.sessions import ask, epoch, session
from tests.web.keys import KEYS


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, keys=KEYS) as running:
        yield running


async def get(server: Server, path: str, token: str = KEY) -> Any:
    answer = await server.ask("GET", path, token=token)
    assert answer.status == 200, answer
    return answer.json


async def all_pages(server: Server, path: str, token: str = KEY) -> list[Any]:
    """Every item, through ``next``."""
    items: list[Any] = []
    following = ""
    while following is not None:
        found = await get(server, f"{path}limit=2&next={following}", token)
        assert len(found["items"]) <= 2
        items += found["items"]
        following = found["next"]
    return items


# -- sessions -----------------------------------------------------------------------------------


async def test_a_session_as_administrators_see_it(server: Server) -> None:
    before = int(time.time() * 1000)
    async with session(server, device="d1", target="/v1/ws?channels=room:1,news") as socket:
        [item] = (await get(server, "/v1/sessions"))["items"]
        [seen] = server.hub.sessions.of_user("alice")
        after = int(time.time() * 1000)
        assert before - 1 <= item.pop("since") <= item.pop("last_seen") + 1 <= after + 1
        assert item == {
            "session": seen.id,
            "user": "alice",
            "device": "d1",
            "transport": "websocket",
            "node": server.hub.node_id,
            "address": "127.0.0.1",
            "following": 4,
            "channels": ["all", "user:alice", "room:1", "news"],
            "lag": 0,
        }
        assert (await ask(socket, "ping"))["type"] == "pong"
    await until(lambda: not server.hub.sessions.by_id)
    assert await get(server, "/v1/sessions") == {"items": [], "next": None}


async def test_how_far_sessions_are_behind(server: Server) -> None:
    """By what their devices were given of the channels that they follow, on disk or not yet."""

    async def lags(user: str = "alice", token: str = KEY) -> dict[str | None, int | None]:
        items = await all_pages(server, f"/v1/sessions?user={user}&", token)
        return {item["device"]: item["lag"] for item in items}

    for number in range(5):
        await server.publish("news", number)
        await server.publish("user:alice", number)
    await server.publish("elsewhere", 1)
    token = server.token("alice")
    async with (
        session(server, device="d1", target="/v1/ws?channels=news") as socket,
        session(server, target="/v1/ws?channels=news"),
        session(server, "bob", device="d1"),
        server.peer() as peer,
        server.socket(token=KEY) as service,
    ):
        await service.expect("hello")
        body = {"mine": True, "cursors": {"news": "head"}, "device": "d2", "wait": 0.01}
        assert (await peer.ask("POST", "/v1/pull", token=token, body=body)).status == 200
        assert await lags() == {"d1": 5, None: None, "d2": 5}, "an inbox from its start"
        assert await lags("bob") == {"d1": 0}
        cursors = {"news": f"{epoch(server)}.2", "user:alice": f"{epoch(server, 'user:alice')}.4"}
        await socket.send({"type": "ack", "cursors": cursors})
        assert (await ask(socket, "ping"))["type"] == "pong"
        assert await lags() == {"d1": 3 + 1, None: None, "d2": 5}
        await until(lambda: not server.hub.log.statistics().dirty_marks)
        assert await lags() == {"d1": 3 + 1, None: None, "d2": 5}, "from the disk as well"
        user = await get(server, "/v1/users/alice")
        assert sorted(item["lag"] or 0 for item in user["sessions"]) == [0, 4, 5]
        await server.publish("news", 6)
        await server.ask("POST", "/v1/channels/news/trim", token=KEY, body={"before": 6})
        await server.ask("DELETE", "/v1/channels/user:alice", token=KEY)
        assert await lags() == {"d1": 1, None: None, "d2": 0}
        inbox_only = await lags(token="alice-key")
        assert inbox_only == {"d1": 0, None: None, "d2": 0}


async def test_addresses_are_for_administrators(server: Server) -> None:
    async with session(server):
        for token, address in [("reader-key", None), ("admin-key", "127.0.0.1")]:
            [item] = (await get(server, "/v1/sessions", token))["items"]
            assert item["address"] == address


async def test_sessions_page_by_page_and_filtered(server: Server) -> None:
    async with session(server), session(server), session(server, "bob"), session(server, "carol"):
        items = await all_pages(server, "/v1/sessions?")
        assert sorted(item["user"] for item in items) == ["alice", "alice", "bob", "carol"]
        assert {item["session"] for item in items} == set(server.hub.sessions.by_id)
        assert len(await all_pages(server, "/v1/sessions?user=alice&")) == 2
        assert len(await all_pages(server, f"/v1/sessions?node={server.hub.node_id}&")) == 4
        assert await all_pages(server, "/v1/sessions?node=elsewhere&") == []


async def test_a_limited_key_sees_its_users_and_its_channels(server: Server) -> None:
    async with session(server, target="/v1/ws?channels=room:1"), session(server, "bob"):
        [item] = (await get(server, "/v1/sessions", "alice-key"))["items"]
        assert (item["user"], item["channels"], item["following"]) == ("alice", ["user:alice"], 1)
        assert (await get(server, "/v1/sessions", "rooms-key"))["items"] == []
        [user] = (await get(server, "/v1/users", "alice-key"))["items"]
        assert user["user"] == "alice"
        for method, path in [
            ("GET", "/v1/sessions?user=bob"),
            ("GET", "/v1/users/bob"),
            ("DELETE", "/v1/users/bob/sessions"),
        ]:
            refused = await server.ask(method, path, token="alice-key")
            assert (refused.status, refused.code) == (403, "forbidden"), path
        [bob] = server.hub.sessions.of_user("bob")
        hidden = await server.ask("DELETE", f"/v1/sessions/{bob.id}", token="alice-key")
        assert (hidden.status, hidden.code) == (404, "not_found")
        assert len(server.hub.sessions.by_id) == 2


async def test_a_session_of_a_service(server: Server) -> None:
    async with server.socket(token=KEY) as socket:
        await socket.expect("hello")
        [item] = (await get(server, "/v1/sessions"))["items"]
        assert item["user"] is None
        assert (await get(server, "/v1/sessions", "alice-key"))["items"] == []
        assert (await get(server, "/v1/users?online=true"))["items"] == []


# -- kicking ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "reason", "reconnect"),
    [
        ("", "kicked", False),
        ("?reconnect=true", "kicked", True),
        ("?reason=too%20loud&reconnect=false", "too loud", False),
        ("?reason=" + "x" * 123, "x" * 123, False),
    ],
)
async def test_one_session_is_kicked(
    server: Server, query: str, reason: str, reconnect: bool
) -> None:
    async with session(server) as socket, session(server) as other:
        [first, _] = server.hub.sessions.of_user("alice")
        answer = await server.ask("DELETE", f"/v1/sessions/{first.id}{query}", token="admin-key")
        assert (answer.status, answer.body) == (204, b"")
        bye = await socket.expect("bye")
        assert bye == {
            "type": "bye",
            "code": 4009,
            "reason": reason,
            "reconnect": reconnect,
            "retry_after_ms": 0,
        }
        assert (await ask(other, "ping"))["type"] == "pong"
        await until(lambda: first.id not in server.hub.sessions.by_id)
    again = await server.ask("DELETE", f"/v1/sessions/{first.id}", token="admin-key")
    assert (again.status, again.code) == (404, "not_found")


@pytest.mark.parametrize("query", ["reason=", "reason=" + "x" * 124, "reason=%07", "reconnect=1"])
async def test_reasons_are_short_and_plain(server: Server, query: str) -> None:
    answer = await server.ask("DELETE", f"/v1/users/alice/sessions?{query}", token=KEY)
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_all_sessions_of_a_user_are_kicked(server: Server) -> None:
    async with session(server) as one, session(server) as two, session(server, "bob") as bob:
        answer = await server.ask("DELETE", "/v1/users/alice/sessions", token="alice-key")
        assert (answer.status, answer.json) == (200, {"kicked": 2})
        for socket in (one, two):
            assert (await socket.expect("bye"))["code"] == 4009
        assert (await ask(bob, "ping"))["type"] == "pong"
    nobody = await server.ask("DELETE", "/v1/users/nobody/sessions", token=KEY)
    assert nobody.json == {"kicked": 0}


async def test_an_event_stream_is_kicked(server: Server) -> None:
    async with server.peer() as peer:
        head = f"Authorization: Bearer {server.token('alice')}\r\nHost: localhost\r\n\r\n"
        await peer.write(f"GET /v1/events HTTP/1.1\r\n{head}".encode())
        await peer.read_until(b"event: hello")
        [item] = (await get(server, "/v1/sessions"))["items"]
        assert item["transport"] == "sse"
        await server.ask("DELETE", f"/v1/sessions/{item['session']}?reconnect=true", token=KEY)
        await peer.read_until(b"event: bye")
        assert b'"code":4009' in (told := await peer.read_until(b"}"))
        assert b'"reconnect":true' in told


# -- the heartbeat ------------------------------------------------------------------------------


async def test_the_heartbeat_check_ends_who_kept_quiet(tmp_path: Path) -> None:
    """The wheel looks once a quarter of an hour here: it is the check that ends them."""
    slow = {"heartbeat_check_interval": 900.0, "heartbeat_timeout": 60.0}
    async with (
        running_server(tmp_path, keys=KEYS, **slow) as server,
        session(server) as quiet,
        session(server, "bob") as loud,
    ):
        path = "/v1/heartbeat/check"
        assert (await server.ask("POST", path, token=KEY)).json == {"checked": 2, "reaped": 0}
        [session_] = server.hub.sessions.of_user("alice")
        session_.last_seen -= 61
        answer = await server.ask("POST", path, token="admin-key")
        assert (answer.status, answer.json) == (200, {"checked": 2, "reaped": 1})
        assert (await quiet.expect("bye"))["code"] == 4008
        assert (await ask(loud, "ping"))["type"] == "pong"


# -- users --------------------------------------------------------------------------------------


async def test_users_online_and_not(server: Server) -> None:
    for inbox in ("user:alice", "user:carol", "user:carol:orders", "user:dave:x"):
        await server.publish(inbox, 1)
    async with session(server), session(server), session(server, "bob"):
        users = await all_pages(server, "/v1/users?")
        assert [(user["user"], user["online"], user["sessions"]) for user in users] == [
            ("alice", True, 2),
            ("bob", True, 1),
            ("carol", False, 0),
            ("dave", False, 0),
        ]
        assert users[0]["last_seen"] > 1_700_000_000_000
        assert users[2]["last_seen"] is None
        for query, names in [("true", ["alice", "bob"]), ("false", ["carol", "dave"])]:
            found = await all_pages(server, f"/v1/users?online={query}&")
            assert [user["user"] for user in found] == names


async def test_one_user(server: Server) -> None:
    for number in range(5):
        await server.publish("news", number)
        await server.publish("user:alice", number)
    await server.publish("user:alice:orders", 1)
    await server.publish("room:1", 1)
    async with session(server, device="d1") as socket:
        inbox, news = epoch(server, "user:alice"), epoch(server)
        cursors = {"user:alice": f"{inbox}.3", "news": f"{news}.4"}
        await socket.send({"type": "ack", "cursors": cursors})
        await socket.send({"type": "read", "channel": "user:alice", "cursor": f"{inbox}.2"})
        assert (await ask(socket, "ping"))["type"] == "pong"
        user = await get(server, "/v1/users/alice")
        assert (user["user"], user["online"], len(user["sessions"])) == ("alice", True, 1)
        by_name = {channel["channel"]: channel for channel in user["channels"]}
        assert by_name["user:alice"] == {
            "channel": "user:alice",
            "epoch": inbox,
            "first": 1,
            "head": 5,
            "read": f"{inbox}.2",
            "unread": 3,
            "devices": [{"device": "d1", "delivered": f"{inbox}.3", "lag": 2}],
        }
        assert by_name["news"]["devices"] == [{"device": "d1", "delivered": f"{news}.4", "lag": 1}]
        assert (by_name["news"]["read"], by_name["news"]["unread"]) == (None, None)
        assert (by_name["user:alice:orders"]["unread"], by_name["user:alice:orders"]["read"]) == (
            1,
            None,
        )
        assert set(by_name) == {"user:alice", "user:alice:orders", "news"}
        limited = await get(server, "/v1/users/alice", "alice-key")
        assert [channel["channel"] for channel in limited["channels"]] == ["user:alice"]
        await server.ask("POST", "/v1/channels/user:alice/trim", token=KEY, body={"before": 5})
        user = await get(server, "/v1/users/alice")
        by_name = {channel["channel"]: channel for channel in user["channels"]}
        assert (by_name["user:alice"]["unread"], by_name["user:alice"]["devices"][0]["lag"]) == (
            1,
            1,
        )


async def test_a_user_that_nothing_is_known_of(server: Server) -> None:
    assert await get(server, "/v1/users/nobody") == {
        "user": "nobody",
        "online": False,
        "last_seen": None,
        "sessions": [],
        "channels": [],
    }


async def test_a_user_is_erased(server: Server) -> None:
    for channel in ("user:alice", "user:alice:orders", "user:bob", "news"):
        await server.publish(channel, 1)
    async with session(server, device="d1") as socket:
        await socket.send({"type": "ack", "cursors": {"news": f"{epoch(server)}.1"}})
        assert (await ask(socket, "ping"))["type"] == "pong"
        answer = await server.ask("DELETE", "/v1/users/alice", token="admin-key")
        assert answer.status == 200
        expected = {"inboxes": ["user:alice", "user:alice:orders"], "groups": [], "kicked": 1}
        assert answer.json == expected
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reason"]) == (4009, "erased")
    await until(lambda: not server.hub.sessions.by_id)
    assert (await get(server, "/v1/users/alice"))["channels"] == []
    names = [item["channel"] for item in (await get(server, "/v1/channels"))["items"]]
    assert names == ["news", "user:bob"]
    again = await server.ask("DELETE", "/v1/users/alice", token=KEY)
    assert again.json == {"inboxes": [], "groups": [], "kicked": 0}


# -- nodes --------------------------------------------------------------------------------------


async def test_nodes(server: Server) -> None:
    async with session(server):
        answer = await get(server, "/v1/nodes", "reader-key")
    [node] = answer["items"]
    assert answer["next"] is None
    assert (node["node"], node["role"], node["url"]) == (server.hub.node_id, "owner", "")
    assert (node["sessions"], node["stale_ms"], node["redis"]) == (1, None, "")
    assert node["lag_ms"] >= 0
    assert answer["redis"] is None


async def test_nodes_of_a_cluster(server: Server) -> None:
    """The owner first; of itself a node knows better than what others have heard of it."""
    nodes = server.hub.nodes
    old = NodeRecord(server.hub.node_id, "edge", "http://old:1", "0", 1.0, 9, 9, 9, 9.0, "g0")
    edge = NodeRecord("edge1", "edge", "http://e:1", "1.0", 5.5, 7, 8, 2, 1.5, "g1", 120, "away")

    async def others() -> list[NodeRecord]:
        return [edge, old]

    nodes.others, nodes.url = others, "http://o:1"
    nodes.redis = lambda: {"state": "connected", "rtt_ms": 0.2}
    answer = await get(server, "/v1/nodes")
    assert answer["redis"] == {"state": "connected", "rtt_ms": 0.2}
    owner, other = answer["items"]
    assert (owner["role"], owner["url"], owner["redis"]) == ("owner", "http://o:1", "connected")
    assert other == {
        "node": "edge1",
        "role": "edge",
        "url": "http://e:1",
        "version": "1.0",
        "since": 5500,
        "sessions": 7,
        "connections": 8,
        "held_polls": 2,
        "lag_ms": 1.5,
        "stale_ms": 120,
        "redis": "away",
    }
    assert (await get(server, "/v1/stats"))["cluster"]["nodes"] == 2


async def test_changes_are_logged_with_the_name_of_the_key(server: Server) -> None:
    await server.ask("DELETE", "/v1/users/alice/sessions", token="admin-key")
    [entry] = [each for each in server.log if each.get("operation") == "kick_user"]
    assert (entry["key"], entry["user"]) == ("admin-key", "alice")
