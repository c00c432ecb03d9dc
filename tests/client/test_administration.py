"""Users, sessions, groups, presence, inboxes and calls, as a program asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio

import pushd.testing
from pushd.client import Client, Follow, FollowOptions, Kicked, Received, administration
from pushd.errors import (
    BadRequest,
    CallFailed,
    CallRefused,
    Forbidden,
    NoHandler,
    NotFound,
    Unauthorized,
)
from pushd.handlers import registered
from tests.client.stores import Store, client_of, problem

HANDLERS = """
from pushd.handlers import Call, Refused, handler

asked = []


@handler("ECHO")
async def echo(call: Call, data):
    return {"user": call.user, "data": data}


@handler("REFUSE")
async def refuse(call: Call, data):
    raise Refused("Ten at most.", {"most": 10})


@handler("BREAK")
async def fail(call: Call, data):
    raise RuntimeError("private")
"""


@pytest.fixture
async def node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[pushd.testing.Node]:
    registered.clear()  # of others; the fixture own_handlers brings them back
    (tmp_path / "handlers_of_this_test.py").write_text(HANDLERS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    rooms = {"room": {"presence": True}}
    with trio.fail_after(180):
        async with pushd.testing.server(
            handlers="handlers_of_this_test", namespaces=rooms, presence_grace=0.0
        ) as running:
            yield running


@pytest.fixture
async def service(node: pushd.testing.Node) -> AsyncIterator[Client]:
    async with node.service() as client:
        yield client


@pytest.fixture
async def alice(node: pushd.testing.Node) -> AsyncIterator[Client]:
    async with node.client("alice", device="phone") as client:
        yield client


async def live(client: Client, *channels: str) -> Follow:
    """Following over a WebSocket, after its hello."""
    options = FollowOptions(transports=("websocket",))
    events = client.follow(*channels, mine=not channels, options=options)
    while getattr(await anext(events), "kind", "") != "live":
        pass
    return events


# -- groups ---------------------------------------------------------------------


async def test_groups(service: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "_MOST", 3)  # so that there are several pages
    people = [f"user-{number}" for number in range(8)]
    changed = await service.groups.add("staff", people)
    assert (changed.group, changed.added, changed.removed, changed.members) == ("staff", 8, 0, 8)
    assert (await service.groups.add("staff", people[:2])).added == 0
    changed = await service.groups.change("staff", add=["new"], remove=people[:3])
    assert (changed.added, changed.removed, changed.members) == (1, 3, 6)
    members = await service.groups.members("staff").all()
    assert [each.user for each in members] == ["new", *people[3:]]
    assert not any(each.online for each in members)
    for group in ("a", "b", "st/uff".replace("/", ""), "Ω"):
        await service.groups.add(group, ["new"])
    groups = [each.group async for each in service.groups.list()]
    assert groups == sorted(groups)
    assert set(groups) == {"a", "b", "staff", "stuff", "Ω"}
    assert [each.group async for each in service.groups.list("st")] == ["staff", "stuff"]
    assert [each.group async for each in service.users.groups("new")] == groups
    assert (await service.groups.get("staff")).members == 6
    assert (await service.groups.remove("staff", people)).members == 1
    await service.publish("group:staff", 1)
    assert (await service.groups.delete("staff")).removed == 1
    for gone in (service.groups.get("staff"), service.groups.delete("staff")):
        with pytest.raises(NotFound):
            await gone
    assert await service.groups.members("staff").all() == []


async def test_a_name_is_no_list_of_users(service: Client) -> None:
    with pytest.raises(BadRequest, match=r"\['alice'\]"):
        await service.groups.add("staff", "alice")


# -- users and sessions ---------------------------------------------------------------------


async def test_users_and_their_sessions(
    node: pushd.testing.Node, service: Client, alice: Client
) -> None:
    await service.publish("user:bob", 1)
    async with await live(alice):
        [online] = await service.users.list(online=True).all()
        assert (online.user, online.online, online.sessions) == ("alice", True, 1)
        assert [each.user async for each in service.users.list(online=False)] == ["bob"]
        assert [each.user async for each in service.users.list()] == ["alice", "bob"]
        [session] = await service.sessions.list().all()
        assert (session.user, session.device, session.transport) == ("alice", "phone", "websocket")
        assert await service.sessions.list(user="bob").all() == []
        info = await service.users.get("alice")
        assert info.online
        assert [each.session for each in info.sessions] == [session.session]
    assert (await service.users.get("bob")).channels[0].unread == 1
    assert not (await service.users.get("nobody")).online
    with pytest.raises(Forbidden):
        await alice.users.list().all()


@pytest.mark.parametrize("what", ["session", "user", "group"])
async def test_kicks(service: Client, alice: Client, what: str) -> None:
    await service.groups.add("staff", ["alice"])
    events = await live(alice)
    [session] = await service.sessions.list().all()
    if what == "session":
        assert await service.sessions.kick(session.session, reason="maintenance")
        assert not await service.sessions.kick("unknown")
    elif what == "user":
        assert await service.users.kick("alice", reason="maintenance") == 1
        assert await service.users.kick("bob") == 0
    else:
        assert await service.groups.kick("staff", reason="maintenance") == 1
        assert await service.groups.kick("nobody") == 0
    with pytest.raises(Kicked, match="maintenance"):
        async for _ in events:
            pass


async def test_one_that_may_come_again_does(service: Client, alice: Client) -> None:
    events = await live(alice)
    assert await service.users.kick("alice", reconnect=True) == 1
    await service.publish("user:alice", "again")
    async for event in events:
        if isinstance(event, Received):
            assert event.data == "again"
            break


async def test_revoked_and_erased(service: Client, alice: Client) -> None:
    await service.publish("user:alice", 1)
    await service.groups.add("staff", ["alice"])
    assert (await alice.inbox()).unread == 1
    revoked = await service.users.revoke("alice")
    assert revoked.user == "alice"
    assert revoked.until > revoked.at
    with pytest.raises(Unauthorized):
        await alice.inbox()
    erased = await service.users.erase("alice")
    assert (erased.inboxes, erased.groups) == (["user:alice"], ["staff"])


# -- inbox and presence ---------------------------------------------------------------------


async def test_an_inbox(service: Client, alice: Client) -> None:
    await service.groups.add("staff", ["alice"])
    await alice.inbox()  # from now on 'all' is counted
    await service.publish_to("hi", users=["alice"], groups=["staff"], everybody=True)
    await service.publish("user:alice:orders", 1)
    inbox = await alice.inbox()
    unread = {each.channel: each.unread for each in inbox.items}
    assert unread == {"all": 1, "group:staff": 1, "user:alice": 1, "user:alice:orders": 1}
    assert inbox.unread == 4
    page = await alice.pull("user:alice", after="0")
    await alice.mark_read("user:alice", page.next)
    inbox = await alice.inbox()
    assert inbox.unread == 3
    read = {each.channel: each.read for each in inbox.items}
    assert read["user:alice"] == page.next
    with pytest.raises(Forbidden):
        await service.inbox()


async def test_who_is_in_a_room(node: pushd.testing.Node, service: Client) -> None:
    token = node.token("alice", attributes={"name": "Alice"})
    async with Client(node.url, token) as alice, node.client("bob") as bob:
        async with await live(alice, "room:7"):
            while (there := await service.presence("room:7")).count < 1:
                await trio.sleep(0.01)
            assert [(each.user, each.attributes) for each in there.items] == [
                ("alice", {"name": "Alice"})
            ]
            assert there.presence == "$presence:room:7"
            follow = service.follow(there.presence, after=there.cursor)
            async with follow as events, await live(bob, "room:7"):
                async for event in events:
                    if isinstance(event, Received):
                        assert (event.message.type, event.data["user"]) == ("join", "bob")
                        break
        with pytest.raises(NotFound):
            await service.presence("news")


# -- calls ---------------------------------------------------------------------


async def test_calls(alice: Client, service: Client) -> None:
    assert await alice.call("ECHO", {"a": [1]}) == {"user": "alice", "data": {"a": [1]}}
    assert await alice.call("ECHO") == {"user": "alice", "data": None}
    with pytest.raises(NoHandler):
        await alice.call("UNKNOWN")
    with pytest.raises(CallRefused, match="Ten at most") as refused:
        await alice.call("REFUSE", 11)
    assert refused.value.extra["data"] == {"most": 10}
    with pytest.raises(CallFailed) as failed:
        await alice.call("BREAK")
    assert "private" not in str(failed.value)
    with pytest.raises(Forbidden):
        await service.call("ECHO")


async def test_a_call_without_an_answer_is_asked_again_with_the_same_id() -> None:
    """Not one that failed: nobody knows what it has done, and it may well do it again."""
    store = Store(
        problem(503, "not_ready"),
        problem(503, "overloaded"),
        httpx.Response(200, json={"id": "x", "data": 17}),
        problem(502, "call_failed"),
    )
    async with client_of(store, base_s=0.001, cap_s=0.001) as client:
        assert await client.call("ORDER", 1) == 17
        ids = {body["id"] for body in store.bodies()}
        assert len(ids) == 1
        assert len(store.bodies()) == 3
        with pytest.raises(CallFailed):
            await client.call("ORDER", 1, id="mine")
    assert store.bodies()[-1] == {"name": "ORDER", "data": 1, "id": "mine"}


# -- publishing to people ---------------------------------------------------------------------


async def test_who_is_online_for_a_message(service: Client, alice: Client) -> None:
    await service.groups.add("staff", ["alice"])
    async with await live(alice):
        [session] = await service.sessions.list().all()
        results = await service.publish_to(
            "hi", users=["alice", "bob"], groups=["staff"], sessions=[session.session],
            channels=["news"], everybody=True,
        )  # fmt: skip
        assert {each.channel: each.online for each in results} == {
            "user:alice": True,
            "user:bob": False,
            "group:staff": True,
            f"session:{session.session}": True,
            "news": False,
            "all": True,
        }
        assert results.delivered is None
        with pytest.raises(NotFound):
            await service.publish_to("hi", sessions=["unknown"])


async def test_how_the_server_is_asked_to_wait() -> None:
    store = Store(httpx.Response(200, json={"results": [], "delivered": False}))
    async with client_of(store) as client:
        done = await client.publish_to(1, users=["a"], wait_delivered="a", wait_s=2.5)
    assert (list(done), done.delivered) == ([], False)
    [body] = store.bodies()
    assert body["wait"] == {"delivered_to": "a", "ms": 2500}
    assert body["to"] == {"users": ["a"]}


async def test_waiting_until_it_is_delivered(service: Client, alice: Client) -> None:
    late = await service.publish_to("hi", users=["alice"], wait_delivered="alice", wait_s=0.01)
    assert late.delivered is False
    options = FollowOptions(ack_after_s=0.01)
    events = alice.follow("user:alice", options=options)
    async with trio.open_nursery() as nursery:

        async def process() -> None:
            async for _ in events:
                pass

        nursery.start_soon(process)
        done = await service.publish_to("ho", users=["alice"], wait_delivered="alice", wait_s=60)
        assert done.delivered is True
        assert [each.channel for each in done] == ["user:alice"]
        nursery.cancel_scope.cancel()
