"""Presence channels over real sockets: who follows a topic, told and listed, and to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd import announcer as module
from pushd.core.messages import Draft
from pushd.core.permissions import Identity
from pushd.errors import Overloaded
from pushd.log import Append, Entry
from pushd.settings import Namespace
from tests.support.app import KEY, Server, Socket, running_server, until
from tests.support.events import listening
from tests.support.http import Answer, request
from tests.support.sessions import ask, refusal, session

ROOM = "room:1"
TOLD = "$presence:room:1"
NAMESPACES = {
    "room": Namespace(presence=True),
    "group": Namespace(presence=True),
    "lobby": Namespace(presence=True, public=True),
    "open": Namespace(public=True),
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, namespaces=NAMESPACES) as running:
        yield running


def members(name: str) -> Any:
    return {"subscribe": ["room:*"], "attributes": {"name": name}}


@asynccontextmanager
async def within(server: Server, user: str, name: str = "", **more: Any) -> AsyncIterator[Socket]:
    """A session that follows the room."""
    target = f"/v1/ws?channels={ROOM}"
    async with session(server, user, target, **members(name), **more) as socket:
        yield socket


async def listed(server: Server, query: str = "", token: str = KEY, of: str = ROOM) -> Any:
    answer = await server.ask("GET", f"/v1/channels/{of}/presence?{query}", token=token)
    assert answer.status == 200, answer
    return answer.json


async def there(server: Server, of: str = ROOM) -> set[str]:
    return {each["user"] for each in (await listed(server, "limit=1000", of=of))["items"]}


async def told(server: Server, count: int, channel: str = TOLD) -> list[str]:
    """All that is told, as soon as it is so much."""
    heads = server.hub.log.heads
    await until(lambda: channel in heads and heads[channel].seq >= count)
    found = (await server.pull(channel, after=0)).json["messages"]
    return [f"{each['type']} {each['data']['user']}" for each in found]


async def test_who_comes_and_goes(server: Server) -> None:
    async with (
        server.socket(token=server.token("bob", subscribe=["room:*"])) as bob,
        within(server, "alice", "Alice"),
    ):
        await bob.expect("hello")
        await told(server, 1)
        token = server.token("bob", subscribe=["room:*"])
        assert await listed(server, token=token) == {
            "channel": ROOM,
            "presence": TOLD,
            "cursor": f"{server.hub.log.heads[TOLD].epoch}.1",
            "count": 1,
            "items": [{"user": "alice", "attributes": {"name": "Alice"}}],
            "next": None,
        }
        subscribed = await ask(bob, "subscribe", channels={TOLD: "head"})
        assert subscribed["heads"][TOLD]["head"] == 1
        async with within(server, "carol", "Carol"), within(server, "carol", "Carol"):
            hint = await bob.expect("hint")
            assert (hint["channel"], hint["seq"]) == (TOLD, 2)
            page = (await server.pull(TOLD, token, after=f"{hint['epoch']}.1")).json
            [message] = page["messages"]
            assert (message["type"], message["data"]) == (
                "join",
                {"user": "carol", "attributes": {"name": "Carol"}},
            )
            assert "sender" not in message
        assert (await bob.expect("hint"))["seq"] == 3
        assert await told(server, 3) == ["join alice", "join carol", "leave carol"]
        assert await there(server) == {"alice"}


async def test_whoever_lists_and_then_follows_misses_nothing(server: Server) -> None:
    """While many come and go at once, from many places."""
    many = [f"user{number}" for number in range(60)]
    staying = {user for at, user in enumerate(many) if at % 3}
    stay, here = trio.Event(), trio.Event()
    done = 0

    async def visit(user: str) -> None:
        nonlocal done
        async with within(server, user):
            done += 1
            if done == len(many):
                here.set()
            if user in staying:
                await stay.wait()

    async with trio.open_nursery() as nursery:
        for user in many:
            nursery.start_soon(visit, user)
        await until(lambda: len(server.hub.rooms) > 5)
        first = page = await listed(server, "limit=7")
        known = {each["user"] for each in page["items"]}
        while page["next"] is not None:
            page = await listed(server, f"limit=7&next={page['next']}")
            known |= {each["user"] for each in page["items"]}
        await here.wait()
        await until(lambda: len(server.hub.rooms) == len(staying))
        async with within(server, "last"):
            # One task tells, one commit after the other: with this one whatever was before is told.
            await until(lambda: "last" in server.hub.announcer.rooms[ROOM]._told)
            assert await there(server) == {*staying, "last"}
            after = (await server.pull(TOLD, after=first["cursor"], limit=1000)).json
        for message in after["messages"]:
            change = known.add if message["type"] == "join" else known.discard
            change(message["data"]["user"])
        assert known == {*staying, "last"}
        stay.set()
    await until(lambda: not len(server.hub.rooms))


async def test_unsubscribing_leaves_and_so_does_a_kick(server: Server) -> None:
    async with within(server, "alice") as alice, within(server, "bob") as bob:
        await told(server, 2)
        await ask(alice, "unsubscribe", channels=[ROOM])
        assert (await told(server, 3))[2:] == ["leave alice"]
        await ask(alice, "subscribe", channels={ROOM: "0"})
        await server.ask("DELETE", "/v1/users/bob/sessions", token=KEY)
        await bob.expect("bye")
        bob.close()
        assert set((await told(server, 5))[3:]) == {"join alice", "leave bob"}


async def test_the_grace_time(tmp_path: Path) -> None:
    async with running_server(tmp_path, namespaces=NAMESPACES, presence_grace=3600.0) as server:
        for _ in range(3):
            async with within(server, "alice"):
                pass
        await until(lambda: not server.hub.sessions.by_id)
        async with within(server, "bob"):
            assert await told(server, 2) == ["join alice", "join bob"]
        assert await there(server) == {"alice", "bob"}


async def test_on_every_transport(server: Server) -> None:
    async with (
        listening(server, f"channels={ROOM}", token=server.token("alice", **members("A"))),
        server.peer() as peer,
    ):
        assert await told(server, 1) == ["join alice"]
        token = server.token("bob", **members("B"))
        body = {"cursors": {ROOM: "head", "room:2": "head", "secret": "0"}, "wait": 0.01}
        await peer.write(request("POST", "/v1/pull", token=token, body=body))
        assert (await peer.answer()).status == 200
        assert await told(server, 2) == ["join alice", "join bob"]
        assert await there(server, "room:2") == {"bob"}
        # Its next poll is about something else.
        token = server.token("bob", subscribe=["room:*"], attributes={"name": "C"})
        body = {"cursors": {"room:2": "head"}, "wait": 0.01}
        await peer.write(request("POST", "/v1/pull", token=token, body=body))
        await peer.answer()
        assert (await told(server, 3))[2:] == ["leave bob"]
        assert await told(server, 2, "$presence:room:2") == ["join bob", "join bob"]
        [item] = (await listed(server, of="room:2"))["items"]
        assert item["attributes"] == {"name": "C"}
        await server.ask("DELETE", "/v1/users/bob/sessions", token=KEY)
        assert (await told(server, 3, "$presence:room:2"))[2:] == ["leave bob"]


async def test_what_a_new_token_says_of_its_user(server: Server) -> None:
    async with within(server, "alice", "Alice") as alice:
        await told(server, 1)
        for name in ("Alice", "Alicia"):
            token = server.token("alice", **members(name))
            assert (await ask(alice, "refresh", token=token))["type"] == "refreshed"
        assert await told(server, 2) == ["join alice", "join alice"]
        assert (await listed(server))["items"] == [
            {"user": "alice", "attributes": {"name": "Alicia"}}
        ]


async def test_members_of_a_group_that_are_online(server: Server) -> None:
    for user in ("alice", "bob"):
        answer = await server.ask("PUT", f"/v1/groups/staff/members/{user}", token=KEY)
        assert answer.status in (200, 201, 204), answer
    told_of = "$presence:group:staff"
    async with session(server), session(server, "carol"):
        assert await told(server, 1, told_of) == ["join alice"]
        path = "/v1/channels/group:staff/presence"
        answers = {
            user: (await server.ask("GET", path, token=server.token(user))).status
            for user in ("alice", "bob", "carol")
        }
        assert answers == {"alice": 200, "bob": 200, "carol": 403}
        await server.ask("DELETE", "/v1/groups/staff/members/alice", token=KEY)
        assert (await told(server, 2, told_of))[1:] == ["leave alice"]


@pytest.mark.parametrize(
    ("topic", "list_", "pull"),
    [
        (ROOM, 200, 200),
        ("room:2", 403, 403),
        ("lobby", 200, 200),
        ("open", 404, 403),
        ("user:alice", 404, 403),
        ("all", 404, 403),
        ("user:bob", 403, 403),
        ("group:x", 403, 403),
        (TOLD, 404, 403),
        ("$presence:room:2", 403, 403),
    ],
)
async def test_who_may_read_a_topic_may_know_who_is_there(
    server: Server, topic: str, list_: int, pull: int
) -> None:
    token = server.token("alice", subscribe=[ROOM, "$presence:*"[1:]], publish=["*"])
    answer = await server.ask("GET", f"/v1/channels/{topic}/presence", token=token)
    assert answer.status == list_
    channel = f"$presence:{topic}"
    assert (await server.pull(channel, token, after=0)).status == pull
    async with server.socket(token=token) as socket:
        await socket.expect("hello")
        subscribed = await ask(socket, "subscribe", channels={channel: "0"})
        assert (channel in subscribed["heads"]) is (pull == 200)
        assert (
            await refusal(
                socket, "publish", id="p", to={"channels": [channel]}, message={"data": 1}
            )
            == "forbidden"
        )
    path = f"/v1/channels/{channel}/messages"
    assert (await server.ask("POST", path, token=KEY, body={"data": 1})).code == "forbidden"


async def test_parameters_of_the_list(server: Server) -> None:
    async def code(query: str) -> str:
        return (await server.ask("GET", f"/v1/channels/{ROOM}/presence?{query}", token=KEY)).code

    assert {
        await code(query)
        for query in ("limit=0", "limit=1001", "limit=x", "limit=1&limit=1", f"next={'x' * 1025}")
    } == {"bad_request"}
    path = f"/v1/channels/{ROOM}/presence"
    assert (await server.ask("POST", path, token=KEY)).headers["allow"] == "GET, OPTIONS"
    assert (await server.ask("GET", path)).code == "unauthorized"
    assert await listed(server, "next=x&limit=1000") == {
        "channel": ROOM,
        "presence": TOLD,
        "cursor": "none.0",
        "count": 0,
        "items": [],
        "next": None,
    }
    async with within(server, "alice"), within(server, "bob"), within(server, "carol"):
        await told(server, 3)
        first = await listed(server, "limit=2")
        last = await listed(server, f"limit=2&next={first['next']}")
        pages = [[each["user"] for each in page["items"]] for page in (first, last)]
        assert pages == [["alice", "bob"], ["carol"]]
        assert (first["next"], last["next"]) == ("bob", None)
        assert (first["count"], last["count"]) == (3, 3)


async def test_a_crowd_is_told_in_few_commits_and_holds_up_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 50)

    class Somebody:
        def __init__(self, user: str) -> None:
            self.user = user
            self.identity = Identity(user)
            self.following = (ROOM,)

    crowd: list[Any] = [Somebody(f"user{number:04}") for number in range(1000)]
    between: list[int] = []
    counters = server.hub.counters
    for each in crowd:
        server.hub.rooms.followed(each, ROOM)
    entry = Entry("news", Draft(b"1"))
    done = partial(_note, between, counters)
    server.hub.log.submit(Append([entry], "service", done))
    await until(lambda: counters.presence_told == len(crowd))
    assert between[0] < 200, "a publish in the middle of it does not wait for all of it"
    heads = server.hub.log.heads
    assert heads[TOLD].seq == len(crowd)
    assert len(await there(server)) == len(crowd)
    for each in crowd:
        server.hub.rooms.unfollowed(each, ROOM)
    await until(lambda: counters.presence_told == 2 * len(crowd))
    assert await there(server) == set()


def _note(found: list[int], counters: Any, _: object) -> None:
    found.append(counters.presence_told)


async def test_what_the_log_refuses_is_told_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    submit, refused = server.hub.log.submit, 0

    def full(append: Append) -> None:
        nonlocal refused
        refused += 1
        raise Overloaded("full", retry_after=1)

    monkeypatch.setattr(server.hub.log, "submit", full)
    async with within(server, "alice"), within(server, "bob"):
        await until(lambda: refused > 2)
        assert await there(server) == set(), "it is not on disk"
        monkeypatch.setattr(server.hub.log, "submit", submit)
        assert set(await told(server, 2)) == {"join alice", "join bob"}


async def test_channels_of_empty_rooms_go(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIDY_S", 0.01)
    monkeypatch.setattr(module, "EPHEMERAL_AGE_S", 0.05)
    async with within(server, "carol"):
        await told(server, 1)
    async with (
        within(server, "alice"),
        session(server, "bob", "/v1/ws?channels=$presence:room:2", subscribe=["room:*"]),
    ):
        await until(lambda: server.hub.announcer.rooms[ROOM].count == 1)
        epoch = server.hub.log.heads[TOLD].epoch
        for number in range(2, 5):
            target = f"/v1/ws?channels=room:{number}"
            async with session(server, "carol", target, subscribe=["room:*"]):
                await told(server, 1, f"$presence:room:{number}")
        # One has a guest, and of another one somebody would be told.
        await until(lambda: {*server.hub.log.heads} == {TOLD, "$presence:room:2"})
        assert server.hub.log.heads[TOLD].epoch == epoch
    await until(lambda: not server.hub.announcer.rooms)
    assert server.hub.log.heads == {}
    async with within(server, "alice"):
        assert await told(server, 1) == ["join alice"], "and begin anew"


async def test_a_restart_leaves_no_ghosts(tmp_path: Path) -> None:
    graced: Any = {"namespaces": NAMESPACES, "presence_grace": 3600.0}
    async with running_server(tmp_path, **graced) as server, within(server, "alice"):
        await told(server, 1)
        cursor = (await listed(server))["cursor"]
        await server.publish("news", 1)
        # The server ends, and nobody has left.
    async with running_server(tmp_path, namespaces=NAMESPACES) as server:
        assert "news" in server.hub.log.heads
        assert TOLD not in server.hub.log.heads
        token = server.token("bob", subscribe=["room:*"])
        answer: Answer = await server.pull(TOLD, token, after=cursor)
        assert (answer.status, answer.code) == (410, "epoch_changed")
        assert (await listed(server))["items"] == []
