"""Joining and leaving while connected: it counts at once, on every kind of connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.happenings import Joined, Left
from pushd.session import Session
from pushd.settings import Namespace
from tests.log.support import answer
from tests.support.app import KEY, Server, running_server, until
from tests.support.events import listening
from tests.support.groups import change, join, leave
from tests.support.http import patience, request

TEAM = "group:team"
MESSAGES = f"/v1/channels/{TEAM}/messages"


def mine(wait: int = 60, **members: Any) -> dict[str, Any]:
    return {"mine": True, "wait": wait, **members}


async def test_only_members_read(server: Server) -> None:
    alice, bob = server.token("alice"), server.token("bob")
    await server.publish(TEAM, 1)
    assert (await server.pull(TEAM, alice, after=0)).code == "forbidden"
    await join(server, "team", "alice")
    found = await server.pull(TEAM, alice, after=0)
    assert [message["data"] for message in found.json["messages"]] == [1]
    assert (await server.pull(TEAM, bob, after=0)).code == "forbidden"
    await leave(server, "team", "alice")
    assert (await server.pull(TEAM, alice, after=0)).code == "forbidden"
    assert (await server.pull("group:other", alice, after=0)).code == "forbidden"


async def test_a_kept_alive_connection_notices(server: Server) -> None:
    """It remembers what its caller may read, but not this."""
    await join(server, "team", "alice")
    await server.publish(TEAM, 1)
    token = server.token("alice")
    async with server.peer() as peer:
        for query in ("after=0", "last=1"):
            for _ in range(2):
                assert (await peer.ask("GET", f"{MESSAGES}?{query}", token=token)).status == 200
            await leave(server, "team", "alice")
            found = await peer.ask("GET", f"{MESSAGES}?{query}", token=token)
            assert found.code == "forbidden"
            await join(server, "team", "alice")


async def test_a_session_follows_its_groups(server: Server) -> None:
    await join(server, "team", "alice")
    await join(server, "b", "alice", "bob")
    stored = await server.publish(TEAM, 1)
    async with server.socket(token=server.token("alice")) as socket:
        heads = (await socket.expect("hello"))["heads"]
        assert list(heads) == ["all", "user:alice", "group:b", TEAM]
        assert heads[TEAM]["head"] == 1
        assert heads[TEAM]["unread"] == 1
        await server.publish(TEAM, 2)
        hint = await socket.expect("hint")
        assert (hint["channel"], hint["epoch"], hint["seq"]) == (TEAM, stored["epoch"], 2)


async def test_sessions_are_told_of_joining_and_leaving(server: Server) -> None:
    alice = server.token("alice")
    async with (
        server.socket(token=alice) as first,
        server.socket(f"/v1/ws?channels={TEAM}", token=alice) as second,
        listening(server, token=alice) as stream,
        server.socket(token=server.token("bob")) as bob,
    ):
        for socket in (first, second, bob):
            hello = await socket.expect("hello")
        await stream.expect("hello")
        await server.publish(TEAM, 1)
        await join(server, "team", "alice")
        told = [await first.expect("subscribed"), await second.expect("subscribed")]
        told.append((await stream.expect("subscribed")).data)
        for each in told:
            assert each["denied"] == []
            assert each["heads"].keys() == {TEAM}
            head = each["heads"][TEAM]
            assert (head["head"], head["read"], head["unread"]) == (1, None, 0)
        await server.publish(TEAM, 2)
        assert (await first.expect("hint"))["seq"] == 2
        assert (await second.expect("hint"))["seq"] == 2
        assert await stream.hint() == (TEAM, 2)
        await leave(server, "team", "alice")
        for socket in (first, second):
            assert (await socket.expect("unsubscribed"))["channels"] == [TEAM]
        assert (await stream.expect("unsubscribed")).data["channels"] == [TEAM]
        await server.publish(TEAM, 3)
        await server.publish("all", 1)
        for socket in (first, second, bob):
            assert (await socket.expect("hint"))["channel"] == "all"
        assert await stream.hint() == ("all", 1)
        assert hello["heads"].keys() == {"all", "user:bob"}


async def test_who_leaves_cannot_subscribe_and_who_joins_again_is_told_again(
    server: Server,
) -> None:
    await join(server, "team", "alice")
    async with server.socket(token=server.token("alice")) as socket:
        await socket.expect("hello")
        await leave(server, "team", "alice")
        await socket.expect("unsubscribed")
        await socket.send({"type": "subscribe", "channels": {TEAM: "0"}})
        assert (await socket.expect("subscribed"))["denied"] == [
            {"channel": TEAM, "code": "forbidden"}
        ]
        await socket.send({"type": "ack", "cursors": {TEAM: "0"}})
        assert (await socket.expect("error"))["code"] == "forbidden"
        await join(server, "team", "alice")
        assert TEAM in (await socket.expect("subscribed"))["heads"]


async def test_who_leaves_sees_no_longer_which_members_are_online(tmp_path: Path) -> None:
    seen = f"$presence:{TEAM}"
    async with running_server(tmp_path, namespaces={"group": Namespace(presence=True)}) as server:
        await join(server, "team", "alice", "bob")
        token = server.token("alice")
        messages = f"/v1/channels/{seen}/messages"
        async with (
            server.socket(f"/v1/ws?channels={seen}", token=token) as socket,
            server.peer() as kept,
            server.peer() as held,
        ):
            assert seen in (await socket.expect("hello"))["heads"]
            await until(lambda: seen in server.hub.log.heads)  # alice herself has come
            assert (await kept.ask("GET", f"{messages}?after=0", token=token)).status == 200
            await held.write(request("GET", f"{messages}?after=head&wait=60", token=token))
            await until(lambda: server.hub.pulls.held)
            await leave(server, "team", "alice")
            assert (await held.answer()).code == "forbidden"
            assert (await kept.ask("GET", f"{messages}?after=0", token=token)).code == "forbidden"
            while (told := await socket.message())["type"] == "hint":
                pass  # that alice was there at all
            assert (told["type"], told["channels"]) == ("unsubscribed", [TEAM, seen])
            async with server.socket(token=server.token("bob")) as bob:
                await bob.expect("hello")
                await server.publish("all", 1)
                assert (await socket.expect("hint"))["channel"] == "all"


async def test_a_service_follows_a_group_whoever_is_in_it(server: Server) -> None:
    async with server.socket(f"/v1/ws?channels={TEAM}", token=KEY) as socket:
        assert TEAM in (await socket.expect("hello"))["heads"]
        await join(server, "team", "alice")
        await leave(server, "team", "alice")
        await server.publish(TEAM, 1)
        assert (await socket.expect("hint"))["channel"] == TEAM


async def test_a_held_pull_of_a_group_ends_when_its_user_leaves(server: Server) -> None:
    await join(server, "team", "alice", "bob")
    async with server.peer() as peer, server.peer() as bobs, server.peer() as services:
        for each, token in (
            (peer, server.token("alice")),
            (bobs, server.token("bob")),
            (services, KEY),
        ):
            await each.write(request("GET", f"{MESSAGES}?after=head&wait=60", token=token))
        await until(lambda: len(server.hub.pulls.held) == 3)
        await leave(server, "team", "alice")
        assert (await peer.answer()).code == "forbidden"
        assert len(server.hub.pulls.held) == 2
        await server.publish(TEAM, 1)
        for each in (bobs, services):
            assert len((await each.answer()).json["messages"]) == 1


async def test_a_held_pull_of_several_ends_when_its_user_leaves(server: Server) -> None:
    await join(server, "team", "alice")
    token = server.token("alice")
    body = {"cursors": {TEAM: "head", "news": "head"}, "wait": 60}
    for asked in (body, mine(60, cursors={"news": "head"})):
        async with server.peer() as peer:
            await peer.write(request("POST", "/v1/pull", token=token, body=asked))
            await until(lambda: server.hub.pulls.held)
            await leave(server, "team", "alice")
            channels = (await peer.answer()).json["channels"]
            assert channels[TEAM]["error"]["code"] == "forbidden"
            assert channels["news"]["messages"] == []
        await join(server, "team", "alice")


async def test_a_held_pull_of_all_that_is_mine_is_answered_by_joining(server: Server) -> None:
    await server.publish(TEAM, "before")
    token = server.token("alice")
    async with server.peer() as peer:
        await peer.write(request("POST", "/v1/pull", token=token, body=mine()))
        await until(lambda: server.hub.pulls.held)
        await join(server, "team", "alice")
        channel = (await peer.answer()).json["channels"][TEAM]
        assert (channel["messages"], channel["head"]) == ([], 1)
        await server.publish(TEAM, "after")
        answered = await peer.ask("POST", "/v1/pull", token=token, body=mine(0))
        [message] = answered.json["channels"][TEAM]["messages"]
        assert message["data"] == "after"
    assert not server.hub.fanout.topics


async def test_a_poll_beside_a_session_of_the_same_device_is_answered_as_well(
    server: Server,
) -> None:
    token = server.token("alice", device="phone")
    async with server.socket(token=token) as socket, server.peer() as peer:
        await socket.expect("hello")
        await peer.write(request("POST", "/v1/pull", token=token, body=mine()))
        await until(lambda: server.hub.pulls.held)
        await join(server, "team", "alice")
        assert TEAM in (await peer.answer()).json["channels"]
        await socket.expect("subscribed")


@pytest.mark.parametrize("device", [None, "phone"])
async def test_the_first_contact_is_where_the_user_has_joined(
    server: Server, device: str | None
) -> None:
    """Whatever is sent after that arrives, however late the user comes."""
    before = [await server.publish(TEAM, number) for number in range(3)]
    await join(server, "team", "alice")
    for number in range(3, 6):
        await server.publish(TEAM, number)
    token = server.token("alice")
    query = {} if device is None else {"device": device}
    found = (await server.pull(TEAM, token, **query)).json
    assert [message["data"] for message in found["messages"]] == [3, 4, 5]
    asked = await server.ask("POST", "/v1/pull", token=token, body=mine(0, **query))
    assert [m["data"] for m in asked.json["channels"][TEAM]["messages"]] == [3, 4, 5]
    # What is not kept any more is not missed.
    await answer(lambda done: server.hub.log.trim(TEAM, 6, done))
    found = (await server.pull(TEAM, token, **query)).json
    assert [message["data"] for message in found["messages"]] == [5]
    # A later life came later as a whole.
    await answer(lambda done: server.hub.log.delete(TEAM, done))
    await server.publish(TEAM, "new life")
    found = (await server.pull(TEAM, token, **query)).json
    assert [message["data"] for message in found["messages"]] == ["new life"]
    assert found["epoch"] > before[0]["epoch"]


READS = {
    "a pull": lambda token: request("GET", f"{MESSAGES}?after=0", token=token),
    "history": lambda token: request("GET", f"{MESSAGES}?last=5", token=token),
    "of several": lambda token: request(
        "POST", "/v1/pull", token=token, body={"cursors": {TEAM: "0", "news": "0"}}
    ),
}


@pytest.mark.parametrize("asked", READS)
async def test_who_leaves_while_the_disk_is_read_is_given_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    async with running_server(tmp_path) as server:
        await join(server, "team", "alice")
        await server.publish(TEAM, "secret")
        await server.publish("news", "for all")
    async with running_server(tmp_path) as server:  # nothing is in memory any more
        waiting: list[Any] = []
        reading = trio.Event()
        for name in ("read_messages", "read_back"):
            read = getattr(type(server.hub.log), name)

            def held_up(log: Any, *given: Any, read: Any = read) -> None:
                def done(messages: Any) -> None:
                    waiting.append(lambda: given[-1](messages))
                    reading.set()

                read(log, *given[:-1], done)

            monkeypatch.setattr(type(server.hub.log), name, held_up)
        async with server.peer() as peer:
            await peer.write(READS[asked](server.token("alice")))
            with patience():
                await reading.wait()
            await leave(server, "team", "alice")
            monkeypatch.undo()
            for go_on in waiting:
                go_on()
            answered = await peer.answer()
        assert b"secret" not in answered.body
        if asked == "of several":
            channels = answered.json["channels"]
            assert channels[TEAM]["error"]["code"] == "forbidden"
            assert [message["data"] for message in channels["news"]["messages"]] == ["for all"]
        else:
            assert answered.code == "forbidden"


async def test_what_is_unread_counts_from_joining(server: Server) -> None:
    await server.publish(TEAM, 1)
    await join(server, "team", "alice")
    await server.publish(TEAM, 2)
    async with server.socket(token=server.token("alice")) as socket:
        assert (await socket.expect("hello"))["heads"][TEAM]["unread"] == 1
    answered = await server.ask("GET", "/v1/users/alice", token=KEY)
    unread = {each["channel"]: each["unread"] for each in answered.json["channels"]}
    assert unread[TEAM] == 1


async def test_members_outlive_the_server(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        await join(server, "team", "alice", "bob")
        await leave(server, "team", "bob")
        await server.publish(TEAM, 1)
    async with running_server(tmp_path) as server:
        async with server.socket(token=server.token("alice")) as socket:
            assert TEAM in (await socket.expect("hello"))["heads"]
        async with server.socket(token=server.token("bob")) as socket:
            assert TEAM not in (await socket.expect("hello"))["heads"]


async def test_all_members_of_a_deleted_group_are_told(server: Server) -> None:
    await join(server, "team", "alice", "bob")
    await server.publish(TEAM, 1)
    async with (
        server.socket(token=server.token("alice")) as socket,
        server.peer() as peer,
    ):
        await socket.expect("hello")
        poll = request("GET", f"{MESSAGES}?after=head&wait=60", token=server.token("bob"))
        await peer.write(poll)
        await until(lambda: server.hub.pulls.held)
        await answer(lambda done: server.hub.log.delete_group("team", done))
        await server.hub.membership.settled()
        assert (await socket.expect("unsubscribed"))["channels"] == [TEAM]
        assert (await peer.answer()).code == "forbidden"
        assert server.hub.log.groups._of_user == {}


async def test_listeners_hear_of_each_in_its_order(server: Server) -> None:
    heard: list[object] = []
    for kind in (Joined, Left):
        server.hub.happenings.listen(kind, heard.append)
    await join(server, "team", "amy", "bob")
    await change(server, "team", ["amy", "cy"], ["bob", "nobody"])
    assert heard == [
        Joined("team", "amy"),
        Joined("team", "bob"),
        Left("team", "bob"),
        Joined("team", "cy"),
    ]


async def test_a_session_that_cannot_be_told_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running_server(tmp_path, errors_expected=True) as server,
        server.socket(token=server.token("alice")) as broken,
        server.socket(token=server.token("alice")) as other,
    ):
        ids = [(await socket.expect("hello"))["session"] for socket in (broken, other)]
        first = server.hub.sessions.by_id[ids[0]]
        tell = type(first).tell

        def fail_once(each: Session, *arguments: Any, **named: Any) -> None:
            if each is first:
                raise RuntimeError("a bug")
            tell(each, *arguments, **named)

        monkeypatch.setattr(type(first), "tell", fail_once)
        await join(server, "team", "alice")
        await other.expect("subscribed")
        await leave(server, "team", "alice")
        await other.expect("unsubscribed")


async def test_more_groups_than_a_session_follows(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_channels_per_session=8) as server:
        for number in range(10):
            await join(server, f"g{number}", "alice")
        async with server.socket("/v1/ws?channels=a,b", token=server.token("alice")) as socket:
            hello = await socket.expect("hello")
            assert hello["more"] is True
            assert len(hello["heads"]) == 8
            assert {"all", "user:alice", "a", "b"} <= hello["heads"].keys()
            await join(server, "late", "alice")  # no room: not told
            await socket.send({"type": "unsubscribe", "channels": ["a"]})
            await socket.expect("unsubscribed")
            await join(server, "later", "alice")
            assert list((await socket.expect("subscribed"))["heads"]) == ["group:later"]
        polled = await server.ask("POST", "/v1/pull", token=server.token("alice"), body=mine(0))
        assert len(polled.json["channels"]) == 2 + 12


def slow_marks(server: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[trio.Event, trio.Event]:
    """Set when marks are asked for; to be set for them to come."""
    load = type(server.hub.log).load_marks
    loading, go_on = trio.Event(), trio.Event()

    def slowly(log: Any, *given: Any) -> None:
        *names, done = given

        async def later(marks: Any) -> None:
            loading.set()
            await go_on.wait()
            done(marks)

        load(log, *names, lambda marks: server.hub.services.start_soon(later, marks))

    monkeypatch.setattr(type(server.hub.log), "load_marks", slowly)
    return loading, go_on


@pytest.mark.parametrize("several", [False, True])
async def test_a_poll_that_comes_meanwhile_is_not_held_for_what_was_left(
    server: Server, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    await join(server, "team", "alice")
    token = server.token("alice", device="phone")
    loading, go_on = slow_marks(server, monkeypatch)
    async with server.peer() as peer:
        if several:
            await peer.write(request("POST", "/v1/pull", token=token, body=mine(60)))
        else:
            await peer.write(request("GET", f"{MESSAGES}?wait=60", token=token))
        with patience():
            await loading.wait()
        await leave(server, "team", "alice")
        await join(server, "new", "alice")
        go_on.set()
        if several:
            await until(lambda: server.hub.pulls.held)
            assert server.hub.fanout.waiting(TEAM) == []
            await server.publish("group:new", 1)
            channels = (await peer.answer()).json["channels"]
            assert TEAM not in channels
            assert len(channels["group:new"]["messages"]) == 1
        else:
            assert (await peer.answer()).code == "forbidden"


async def test_whoever_opens_a_session_meanwhile_follows_what_is_true_in_the_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks are loaded between the request and hello; members change just then."""
    await join(server, "old", "alice")
    loading, go_on = slow_marks(server, monkeypatch)
    asked = "group:old,group:gone,group:new"
    await join(server, "gone", "alice")
    async with server.socket(f"/v1/ws?channels={asked}", token=server.token("alice")) as socket:
        await loading.wait()
        await leave(server, "gone", "alice")
        await join(server, "new", "alice")
        await join(server, "newer", "alice")
        go_on.set()
        hello = await socket.expect("hello")
        assert hello["heads"].keys() == {"all", "user:alice", "group:old", "group:new",
                                         "group:newer"}  # fmt: skip
        assert hello["denied"] == [{"channel": "group:gone", "code": "forbidden"}]
        for group in ("gone", "new"):
            await server.publish(f"group:{group}", 1)
        assert (await socket.expect("hint"))["channel"] == "group:new"
