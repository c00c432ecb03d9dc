"""Clients that only long-poll are sessions: listed, kicked, online; never twice beside a socket."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd import pollers as module
from pushd.happenings import SessionClosed, SessionOpened, UserOffline
from tests.support.app import KEY, Server, running_server, until
from tests.support.events import listening
from tests.support.http import Answer, Peer, patience, request
from tests.support.sessions import ask, session


def poll(server: Server, user: str = "alice", wait: float = 60, **body: Any) -> bytes:
    members = {"mine": True, "wait": wait, **body}
    return request("POST", "/v1/pull", token=server.token(user), body=members)


@asynccontextmanager
async def polling(server: Server, **members: Any) -> AsyncIterator[Peer]:
    """A client whose poll is held."""
    held = server.hub.counters.polls_held
    async with server.peer() as peer:
        await peer.write(poll(server, **members))
        await until(lambda: server.hub.counters.polls_held == held + 1)
        yield peer


async def listed(server: Server, query: str = "") -> list[dict[str, Any]]:
    answer = await server.ask("GET", f"/v1/sessions?{query}", token=KEY)
    items: list[dict[str, Any]] = answer.json["items"]
    return items


def notices(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.json["notices"]
    return found


async def test_a_poller_as_administrators_see_it(server: Server) -> None:
    await server.publish("news", 1)
    before = int(time.time() * 1000)
    cursors = {"news": "head", "user:bob": "0"}
    async with server.peer() as peer:
        await peer.write(poll(server, device="phone", cursors=cursors))
        assert (await peer.answer()).json["channels"]["user:bob"]["error"]["code"] == "forbidden"
        [item] = await listed(server)
        after = int(time.time() * 1000)
        assert before - 1 <= item.pop("since") <= after
        # Reckoned from two clocks, between whose readings the machine may do something else.
        assert before - 60_000 <= item.pop("last_seen") <= after + 1
        session = item.pop("session")
        assert item == {
            "user": "alice",
            "device": "phone",
            "transport": "poll",
            "node": server.hub.node_id,
            "address": "127.0.0.1",
            "following": 3,
            "channels": ["news", "all", "user:alice"],
            "lag": 0,
        }
        await peer.write(poll(server, device="phone", wait=0.01))
        await peer.answer()
        [again] = await listed(server, "user=alice")
        assert (again["session"], again["following"]) == (session, 2), "the same, another poll"
    stats = (await server.ask("GET", "/v1/stats", token=KEY)).json
    assert (stats["sessions"], stats["users"], stats["transports"]) == (1, 1, {"poll": 1})
    [user] = (await server.ask("GET", "/v1/users?online=true", token=KEY)).json["items"]
    assert (user["user"], user["online"], user["sessions"]) == ("alice", True, 1)
    to = {"to": {"users": ["alice"]}, "message": {"data": 1}}
    result = await server.ask("POST", "/v1/publish", token=KEY, body=to)
    assert result.json["results"][0]["online"] is True


async def test_what_is_no_poller(server: Server) -> None:
    token = server.token()
    async with server.peer() as peer:
        await peer.write(poll(server, wait=0))
        assert (await peer.answer()).status == 200
        body = {"cursors": {"news": "0"}, "wait": 0.01}
        assert (await peer.ask("POST", "/v1/pull", token=KEY, body=body)).status == 200
        path = "/v1/channels/news/messages?wait=0.01"
        assert (await peer.ask("GET", path, token=token)).status == 200
        body = {"cursors": {"news": "0"}, "wait": 60, "limit": 0}
        assert (await peer.ask("POST", "/v1/pull", token=token, body=body)).code == "bad_request"
    assert await listed(server) == []
    assert not len(server.hub.pollers)
    assert not server.hub.presence.is_online("alice")


async def test_those_without_a_device_are_one(server: Server) -> None:
    async with polling(server), polling(server), polling(server, cursors={"news": "head"}):
        assert [item["device"] for item in await listed(server)] == [None]
        async with polling(server, device="phone"), polling(server, user="bob"):
            items = await listed(server)
            assert sorted((item["user"], str(item["device"])) for item in items) == [
                ("alice", "None"),
                ("alice", "phone"),
                ("bob", "None"),
            ]


@pytest.mark.parametrize("reconnect", [True, False])
async def test_who_is_kicked_while_a_poll_is_held_is_told_at_once(
    server: Server, reconnect: bool
) -> None:
    bye = {
        "type": "bye",
        "code": 4009,
        "reason": "enough",
        "reconnect": reconnect,
        "retry_after_ms": 0,
    }
    async with (
        polling(server, device="phone") as one,
        polling(server, device="phone") as two,
        polling(server, device="tablet") as other,
    ):
        [item, _] = sorted(await listed(server), key=lambda item: str(item["device"]))
        path = f"/v1/sessions/{item['session']}?reason=enough&reconnect={str(reconnect).lower()}"
        assert (await server.ask("DELETE", path, token=KEY)).status == 204
        for peer in (one, two):
            assert notices(await peer.answer()) == [bye]
        assert [item["device"] for item in await listed(server)] == ["tablet"]
        assert len(server.hub.pollers) == 1, "told, and forgotten"
        await server.publish("all", 1)
        assert notices(await other.answer()) == []
        async with polling(server, device="phone"):
            [again, _] = sorted(await listed(server), key=lambda item: str(item["device"]))
            assert again["session"] != item["session"], "who comes again is another one"


@pytest.mark.parametrize("of", ["users/alice", "groups/staff"])
@pytest.mark.parametrize("reconnect", [True, False])
async def test_all_of_a_user_or_group_are_kicked_however_they_are_connected(
    server: Server, of: str, reconnect: bool
) -> None:
    path = "/v1/groups/staff/members"
    answer = await server.ask("POST", path, token=KEY, body={"add": ["alice"]})
    assert answer.status == 200
    async with (
        session(server) as socket,
        listening(server, token=server.token()) as events,
        polling(server) as nameless,
        polling(server, device="phone") as phone,
        session(server, "bob") as bob,
    ):
        await events.expect("hello")
        query = f"reason=too%20loud&reconnect={str(reconnect).lower()}"
        kicked = await server.ask("DELETE", f"/v1/{of}/sessions?{query}", token=KEY)
        assert (kicked.status, kicked.json) == (200, {"kicked": 4})
        byes = [
            await socket.expect("bye"),
            (await events.expect("bye")).data,
            *notices(await nameless.answer()),
            *notices(await phone.answer()),
        ]
        assert [(bye["code"], bye["reason"], bye["reconnect"]) for bye in byes] == 4 * [
            (4009, "too loud", reconnect)
        ]
        assert (await ask(bob, "ping"))["type"] == "pong"
    await until(lambda: not server.hub.sessions.by_id)


async def test_who_is_kicked_between_two_polls_is_told_by_the_next(server: Server) -> None:
    ended: list[tuple[str, int, str]] = []

    def note(happening: SessionClosed) -> None:
        ended.append(
            (
                happening.session.transport,
                happening.session.end_code,
                happening.session.end_reason,
            )
        )

    server.hub.happenings.listen(SessionClosed, note)
    async with server.peer() as peer:
        await peer.write(poll(server, device="phone", wait=0.01))
        await peer.answer()
        kicked = await server.ask("DELETE", "/v1/users/alice/sessions", token=KEY)
        assert kicked.json == {"kicked": 1}
        assert ended == [("poll", 4009, "kicked")]
        assert await listed(server) == []
        await peer.write(poll(server, device="phone"))
        assert [each["code"] for each in notices(await peer.answer())] == [4009], "at once"
        assert await listed(server) == [], "it came to be told"
        await peer.write(poll(server, device="phone", wait=0.01))
        assert notices(await peer.answer()) == [], "once"
        assert len(await listed(server)) == 1


async def test_who_stops_polling_is_gone_after_the_grace_time(tmp_path: Path) -> None:
    async with running_server(tmp_path, presence_grace=0.05) as server:
        heard: list[object] = []
        server.hub.happenings.listen(
            SessionClosed, lambda each: heard.append(each.session.end_reason)
        )
        server.hub.happenings.listen(UserOffline, lambda each: heard.append(each.user))
        async with polling(server, device="phone"):
            [poller] = server.hub.pollers._live.values()
            # Only now: on its way to being held it may take longer than that.
            server.hub.pollers.grace_s = 0.1
            server.hub.wheel.arm(poller, trio.current_time() + 0.1)
            first = poller.deadline
            await until(lambda: poller.deadline > first)
            assert len(await listed(server)) == 1, "held for longer than the grace time"
            assert heard == []
        await until(lambda: len(heard) == 2)
        assert heard == ["lost", "alice"]
        assert not len(server.hub.pollers)
        assert not server.hub.sessions.by_id
        assert server.hub.sessions.transports() == {}


async def test_the_grace_time_runs_from_each_answer(server: Server) -> None:
    async with polling(server, device="phone") as peer:
        [poller] = server.hub.pollers._live.values()
        first = poller.deadline
        await server.publish("all", 1)
        assert (await peer.answer()).status == 200
        assert poller.deadline > first


async def test_who_polls_again_in_the_tick_that_would_have_ended_it(server: Server) -> None:
    async with server.peer() as peer:
        for _ in range(2):
            await peer.write(poll(server, device="phone", wait=0.001))
            await peer.answer()
            [poller] = server.hub.pollers._live.values()
            server.hub.wheel.disarm(poller)  # as when it is handed out among others
        poller.expire()
        assert len(await listed(server)) == 1
        server.hub.wheel.disarm(poller)
        poller.deadline = 0.0
        poller.expire()
        assert await listed(server) == []


async def test_beside_a_connection_a_device_is_listed_once(tmp_path: Path) -> None:
    """And when that one turns out to be dead, the poll that is held keeps its user online."""
    async with running_server(tmp_path, presence_grace=0.0) as server:
        opened: list[str] = []
        left: list[str] = []
        server.hub.happenings.listen(
            SessionOpened, lambda each: opened.append(each.session.transport)
        )
        server.hub.happenings.listen(UserOffline, lambda each: left.append(each.user))
        async with polling(server, device="phone"):
            assert [item["transport"] for item in await listed(server)] == ["poll"]
            async with session(server, device="phone"):
                assert [item["transport"] for item in await listed(server)] == ["websocket"]
                async with polling(server, device="phone"):
                    assert [item["transport"] for item in await listed(server)] == ["websocket"]
                async with polling(server, device="tablet"), polling(server):
                    assert len(await listed(server)) == 3
            await until(lambda: opened[-1] == "poll" and len(opened) == 5)
            items = await listed(server)
            assert {item["transport"] for item in items} == {"poll"}
            assert "phone" in {item["device"] for item in items}
            assert left == []


async def test_the_poll_after_a_connection_is_listed_again(server: Server) -> None:
    async with server.peer() as peer:
        async with session(server, device="phone"):
            await peer.write(poll(server, device="phone", wait=0.01))
            await peer.answer()
        await until(lambda: not server.hub.sessions.by_id)
        assert await listed(server) == [], "no poll is held"
        await peer.write(poll(server, device="phone", wait=0.01))
        await peer.answer()
        assert [item["transport"] for item in await listed(server)] == ["poll"]


async def test_a_stream_takes_the_place_of_a_poller(server: Server) -> None:
    token = server.token("alice", device="phone")
    async with polling(server, device="phone") as peer:
        [item] = await listed(server)
        query = f"replaces={item['session']}"
        async with listening(server, query, token=token) as events:
            await events.expect("hello")
            assert [item["transport"] for item in await listed(server)] == ["sse"]
            await server.publish("user:alice", 1)
            assert notices(await peer.answer()) == [], "a poll is never refused for a session"


async def test_who_is_revoked_is_no_poller_and_told_by_its_polls(server: Server) -> None:
    async with polling(server, device="phone") as peer:
        now = int(time.time() * 1000)
        body = {"user": "alice", "until": now + 86_400_000}
        answer = await server.ask("POST", "/v1/revocations", token=KEY, body=body)
        assert answer.status == 201
        with patience():
            assert (await peer.answer()).code == "unauthorized"
        await until(lambda: not server.hub.sessions.by_id)
        gone = await server.ask("DELETE", "/v1/revocations?user=alice", token=KEY)
        assert gone.status == 204
        async with polling(server, device="phone") as again:
            await server.publish("user:alice", 1)
            assert notices(await again.answer()) == []


async def test_devices_of_one_user_push_out_nobody_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OF_USER", 3)
    async with polling(server, user="bob", device="tv"), polling(server, device="held"):
        async with server.peer() as peer:
            for number in range(9):
                await peer.write(poll(server, device=f"d{number}", wait=0.001))
                await peer.answer()
        devices = {(item["user"], item["device"]) for item in await listed(server)}
        assert devices == {("bob", "tv"), ("alice", "held"), ("alice", "d7"), ("alice", "d8")}
        assert len(server.hub.pollers) == 4
        monkeypatch.setattr(module, "MAX_POLLERS", 4)
        async with polling(server, user="carol"):
            assert len(server.hub.pollers) == 4


async def test_a_poller_is_counted_by_its_held_polls_alone(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, max_connections_per_user=1) as server,
        polling(server, device="phone"),
        server.peer() as peer,
    ):
        await peer.write(poll(server, device="tablet"))
        assert (await peer.answer()).code == "overloaded"
        body = {"mine": True, "wait": 0}
        token = server.token("alice")
        assert (await peer.ask("POST", "/v1/pull", token=token, body=body)).status == 200


async def test_pollers_do_not_keep_a_server_from_stopping(server: Server) -> None:
    async with polling(server, device="phone") as peer:
        server.stopper.asked.set()
        assert [each["code"] for each in notices(await peer.answer())] == [1012]
        await until(lambda: not server.hub.sessions.by_id)
        assert not len(server.hub.pollers)


async def test_a_message_to_its_session_reaches_a_poller(server: Server) -> None:
    async with polling(server, device="phone") as peer:
        [item] = await listed(server)
        channel = f"session:{item['session']}"
        to = {"to": {"sessions": [item["session"]]}, "message": {"data": "you"}}
        [result] = (await server.ask("POST", "/v1/publish", token=KEY, body=to)).json["results"]
        assert (result["channel"], result["online"]) == (channel, True)
        told = (await peer.answer()).json["channels"][channel]
        assert [message["data"] for message in told["messages"]] == ["you"]
        before = server.hub.counters.polls_held
        await peer.write(poll(server, device="phone", cursors={channel: told["next"]}))
        await until(lambda: server.hub.counters.polls_held == before + 1)
        await server.ask("DELETE", f"/v1/sessions/{item['session']}", token=KEY)
        answer = await peer.answer()
        assert answer.json["channels"][channel]["error"]["code"] == "forbidden"
        assert [each["code"] for each in notices(answer)] == [4009]
        await until(lambda: channel not in server.hub.log.heads)
