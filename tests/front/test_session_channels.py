"""``session:ID``: messages to one session. The channel lives as long as the session, no longer."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.messages import Draft
from pushd.core.permissions import Identity
from pushd.errors import NotFound, Overloaded, StorageFull
from pushd.log import Append, Entry, Stored
from tests.log.support import append, entry, marks, opened
from tests.support.app import KEY, Server, Socket, running_server, until
from tests.support.events import listening
from tests.support.http import Answer, patience

SERVICE = Identity(None, scopes=frozenset({"publish"}))


@asynccontextmanager
async def live(server: Server, user: str = "alice", query: str = "") -> AsyncIterator[Socket]:
    """A session after its hello; ``socket.id`` is what it was told."""
    async with server.socket(f"/v1/ws{query}", token=server.token(user)) as socket:
        hello = await socket.expect("hello")
        socket.id = hello["session"]  # type: ignore[attr-defined]
        yield socket


def id_of(socket: Any) -> str:
    return str(socket.id)


async def send(server: Server, *sessions: str, token: str = KEY, **to: Any) -> Answer:
    body = {"to": {"sessions": list(sessions), **to}, "message": {"data": "hi"}}
    return await server.ask("POST", "/v1/publish", token=token, body=body)


def channels(server: Server) -> list[str]:
    return [name for name in server.hub.log.heads if name.startswith("session:")]


async def gone(server: Server) -> None:
    await until(lambda: not channels(server) and not len(server.hub.session_channels))


async def test_a_message_to_one_session_of_several(server: Server) -> None:
    async with live(server) as one, live(server) as other:
        channel = f"session:{id_of(one)}"
        answer = await send(server, id_of(one))
        assert answer.status == 200, answer
        [result] = answer.json["results"]
        assert (result["channel"], result["seq"], result["online"]) == (channel, 1, True)
        told = await one.expect("subscribed")
        marks = {"delivered": None, "read": None, "unread": None}
        head = {"epoch": result["epoch"], "first": 1, "head": 1, **marks}
        assert told == {"type": "subscribed", "heads": {channel: head}, "denied": []}
        await send(server, id_of(one))
        hint = await one.expect("hint")
        assert (hint["channel"], hint["seq"]) == (channel, 2)
        # Without a cursor it begins at the start: it is the session's own.
        pulled = await server.pull(channel, server.token("alice"))
        assert [each["data"] for each in pulled.json["messages"]] == ["hi", "hi"]
        await other.send({"type": "ping"})
        await other.expect("pong")


async def test_over_an_event_stream(server: Server) -> None:
    async with listening(server, token=server.token("alice")) as stream:
        session = (await stream.expect("hello")).data["session"]
        await send(server, session)
        told = await stream.expect("subscribed")
        assert list(told.data["heads"]) == [f"session:{session}"]
        await send(server, session)
        assert await stream.hint() == (f"session:{session}", 2)
    await gone(server)


async def test_who_may_read_and_publish(server: Server) -> None:
    async with live(server) as socket:
        channel = f"session:{id_of(socket)}"
        everything = {"subscribe": ["*"], "publish": ["*", "session:*"]}
        for token in (server.token("bob", **everything), KEY):
            assert (await server.pull(channel, token, after=0)).code == "forbidden"
        for user in ("alice", "bob"):
            token = server.token(user, **everything)
            assert (await send(server, id_of(socket), token=token)).code == "forbidden"
            one = await server.ask(
                "POST", f"/v1/channels/{channel}/messages", token=token, body={"data": 1}
            )
            assert one.code == "forbidden"
        assert channels(server) == []
        # Another device of the user may help itself, by pull or by asking for hints.
        await send(server, id_of(socket))
        assert (await server.pull(channel, server.token("alice"), after=0)).status == 200
        async with live(server, query=f"?channels={channel}") as other:
            assert channel in other_heads(server, id_of(other))
        async with live(server, "bob", f"?channels={channel}") as other:
            assert channel not in other_heads(server, id_of(other))


def other_heads(server: Server, session: str) -> list[str]:
    return list(server.hub.sessions.by_id[session].subscriptions)


async def test_sessions_that_are_not_there(server: Server) -> None:
    """Also one of a service, which has no user who could pull."""
    async with live(server) as socket, server.socket(token=KEY) as service:
        of_service = (await service.expect("hello"))["session"]
        async with live(server) as ended:
            pass
        await until(lambda: id_of(ended) not in server.hub.sessions.by_id)
        for target in ("nobody", id_of(ended), of_service):
            answer = await send(server, id_of(socket), target, users=["alice"])
            assert (answer.status, answer.code) == (404, "not_found")
            assert target in answer.json["detail"]
            path = f"/v1/channels/session:{target}/messages"
            one = await server.ask("POST", path, token=KEY, body={"data": 1})
            assert (one.status, one.code) == (404, "not_found")
        assert server.hub.log.heads == {}, "all or none"


async def test_one_that_was_told_goodbye_is_no_target(server: Server) -> None:
    """It takes nothing more, from that very turn on."""
    async with live(server) as socket:
        session = server.hub.sessions.by_id[id_of(socket)]
        await send(server, session.id)
        session.bye(4009, "kicked")
        assert session.id in server.hub.sessions.by_id
        with pytest.raises(NotFound):
            server.hub.publisher.append(SERVICE, [f"session:{session.id}"], Draft(b"1"), print)
        assert (await send(server, session.id)).code == "not_found"
        token = server.token("alice")
        assert (await server.pull(f"session:{session.id}", token, after=0)).code == "forbidden"
    await gone(server)


async def test_the_channel_goes_with_its_session(server: Server) -> None:
    token = server.token("alice", device="phone")
    async with live(server) as socket:
        channel = f"session:{id_of(socket)}"
        await send(server, id_of(socket))
        pulled = await server.pull(channel, token, after=0)
        cursor = pulled.json["next"]
        async with server.peer() as peer:
            path = f"/v1/channels/{channel}/messages?after={cursor}"
            assert (await peer.ask("GET", path, token=token)).status == 200
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refused, server, channel, token, cursor)
                await until(lambda: server.hub.pulls.held)
                socket.close()
            assert (await peer.ask("GET", path, token=token)).code == "forbidden"
    await gone(server)


async def refused(server: Server, channel: str, token: str, cursor: str) -> None:
    answer = await server.pull(channel, token, after=cursor, wait=60)
    assert answer.code == "forbidden"


async def test_a_poll_for_a_first_message_ends_with_the_session(server: Server) -> None:
    async with live(server) as socket, trio.open_nursery() as nursery:
        channel = f"session:{id_of(socket)}"
        nursery.start_soon(refused, server, channel, server.token("alice"), "0")
        await until(lambda: server.hub.pulls.held)
        socket.close()
    assert server.hub.fanout.topics == {}


async def test_nothing_is_recorded_of_it(server: Server) -> None:
    token = server.token("alice", device="phone")
    async with live(server) as socket:
        channel = f"session:{id_of(socket)}"
        await send(server, id_of(socket))
        cursor = (await server.pull(channel, token, after=0)).json["next"]
        await server.pull(channel, token, after=cursor)
        body = {"cursors": {channel: cursor}}
        assert (await server.ask("POST", "/v1/ack", token=token, body=body)).status == 204
        path = f"/v1/channels/{channel}/read"
        assert (await server.ask("POST", path, token=token, body={"cursor": cursor})).status == 204
        found = (await marks(server.hub.log, "alice", "phone", channel))[channel]
        assert (found.delivered, found.read) == (None, None)


@pytest.mark.parametrize("late", ["appended before", "handed in after", "a later life"])
async def test_a_message_that_commits_after_the_close(server: Server, late: str) -> None:
    """It is stored, as its answer says, and deleted at once: nobody can read it any more."""
    hub = server.hub
    async with live(server) as socket:
        session = hub.sessions.by_id[id_of(socket)]
        channel = f"session:{session.id}"
        if late == "a later life":
            await send(server, session.id)
        stored: list[Any] = []
        made = hub.publisher.append(SERVICE, [channel], Draft(b"1"), stored.append)
        if late == "appended before":
            hub.log.submit(made)
            hub.sessions.close(session)
        else:
            hub.sessions.close(session)
            hub.log.submit(made)
        await until(lambda: stored)
        assert isinstance(stored[0][0], Stored)
        await gone(server)


async def test_closes_and_publishes_in_any_order(server: Server) -> None:
    """Real threads, real sockets: whoever wins, nothing is left, and each result is one of two."""
    chance = random.Random(7)
    statuses = set()

    async def publish(session: str) -> None:
        for _ in range(chance.randrange(1, 4)):
            statuses.add((await send(server, session)).status)

    async def one() -> None:
        async with live(server) as socket, trio.open_nursery() as nursery:
            nursery.start_soon(publish, id_of(socket))
            for _ in range(chance.randrange(60)):
                await trio.lowlevel.checkpoint()
            socket.close()

    with patience():
        for _ in range(15):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(one)
    assert statuses <= {200, 404}
    await until(lambda: not server.hub.sessions.by_id)
    await gone(server)


async def test_what_an_earlier_process_left_is_deleted_at_the_start(tmp_path: Path) -> None:
    async with opened(tmp_path / "log") as log:
        names = [f"session:{number}" for number in range(250)]
        await append(log, *(entry(name) for name in [*names, "news", "sessions:1", "session"]))
    async with running_server(tmp_path) as server:
        await gone(server)
        assert set(server.hub.log.heads) == {"news", "sessions:1", "session"}


@pytest.mark.parametrize("error", [Overloaded, StorageFull])
@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_deletion_that_is_refused_is_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, error: Any, when: str
) -> None:
    monkeypatch.setattr("pushd.sessionchannels.RETRY_S", 0.0)
    hub = server.hub
    real = hub.log.discard
    asked = []

    def discard(names: list[str], done: Any) -> None:
        asked.append(names)
        if len(asked) > 3:
            real(names, done)
        elif when == "at once":
            raise error("no")
        else:
            trio.lowlevel.current_trio_token().run_sync_soon(done, error("no"))

    monkeypatch.setattr(hub.log, "discard", discard)
    async with live(server) as socket:
        await send(server, id_of(socket))
    await gone(server)
    assert len(asked) == 4
    assert all(names == [f"session:{id_of(socket)}"] for names in asked)


async def test_a_full_session_takes_its_own_channel_still(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, max_channels_per_session=4) as server,
        live(server, query="?channels=a,b,c,d,e,f") as socket,
    ):
        await send(server, id_of(socket))
        told = await socket.expect("subscribed")
        assert list(told["heads"]) == [f"session:{id_of(socket)}"]


async def test_a_message_before_the_hello_is_in_the_hello(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is known to operators from its opening on; its marks are still being read."""
    waiting: list[Any] = []
    real = server.hub.log.load_marks
    monkeypatch.setattr(server.hub.log, "load_marks", lambda *what: waiting.append(what))
    async with server.socket(token=server.token("alice")) as socket:
        await until(lambda: waiting)
        [session] = server.hub.sessions.by_id
        assert (await send(server, session)).status == 200
        real(*waiting[0])
        hello = await socket.expect("hello")
        assert hello["heads"][f"session:{session}"]["head"] == 1
        await send(server, session)
        assert (await socket.expect("hint"))["seq"] == 2


async def test_a_batch_of_lines_and_one_message(server: Server) -> None:
    """The other ways to publish reach it, too."""
    async with live(server) as socket:
        channel = f"session:{id_of(socket)}"
        line = f'{{"channel":"{channel}","data":1}}\n{{"channel":"session:x","data":1}}\n'
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await server.ask(
            "POST", "/v1/publish", token=KEY, body=line.encode(), headers=headers
        )
        first, second = answer.body.splitlines()
        assert b'"seq":1' in first
        assert b'"online":true' in first
        assert b'"not_found"' in second
        assert (await server.publish(channel, 2))["seq"] == 2
        await socket.expect("subscribed")


async def test_ids_of_a_session_that_is_over_are_forgotten_with_it(tmp_path: Path) -> None:
    """Nothing stays on the disk: see tests/log/test_changes.py for the rows."""
    async with running_server(tmp_path, retention_interval=0.1) as server:
        async with live(server) as socket:
            await server.publish(f"session:{id_of(socket)}", 1, id="m1")
        await gone(server)
        await until(lambda: server.hub.log.statistics().purged_channels == 1)


async def test_other_channels_of_the_disk_do_not_wait(server: Server) -> None:
    """Many sessions with channels end at once: the rest goes on being stored meanwhile."""
    hub = server.hub
    names = [f"session:{number}" for number in range(1000)]
    done: list[Any] = []
    hub.log.submit(Append([Entry(name, Draft(b"1")) for name in names], "service", done.append))
    await until(lambda: done)
    await gone(server)
    assert (await server.publish("news", 1))["seq"] == 1
