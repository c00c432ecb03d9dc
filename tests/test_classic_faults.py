"""The faults that systems of this kind have when they are made by hand, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.happenings import UserOffline
from pushd.settings import Namespace
from tests.support import delivering
from tests.support.app import KEY, Server, running_server, until
from tests.support.application import WEBHOOK_SECRET, Reply
from tests.support.diskgate import Gate, disk_full, on_disk
from tests.support.events import listening
from tests.support.http import Answer, request
from tests.support.logins import COOKIE, TOKEN, logins
from tests.support.server import ServerProcess
from tests.support.sessions import session
from tests.support.showing import all_that_is_listed, show, spoilt
from tests.support.websocket import WebSocket
from tests.support.wire import Http


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, handlers="tests.support.handling") as server:
        yield server


# -- success answered before it is true ------------------------------------------------------------

Way = Callable[[Server], Awaitable[str]]  # "ok", or the code of the refusal
MESSAGE = {"data": 1, "id": "m-1"}


def said(answer: Answer) -> str:
    return "ok" if answer.status < 300 else answer.code


def writer(server: Server) -> str:
    return server.token("alice", publish=["*"])


async def one(server: Server) -> str:
    path = "/v1/channels/news/messages"
    return said(await server.ask("POST", path, token=writer(server), body=MESSAGE))


async def many(server: Server, **members: Any) -> str:
    body = {"to": {"channels": ["news"]}, "message": MESSAGE, **members}
    return said(await server.ask("POST", "/v1/publish", token=writer(server), body=body))


async def delivered(server: Server) -> str:
    return await many(server, wait={"delivered_to": "bob", "ms": 1})


async def lines(server: Server) -> str:
    answer = await server.ask(
        "POST",
        "/v1/publish",
        token=writer(server),
        body=b'{"channel":"news","data":1,"id":"m-1"}',
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status == 200
    return str(answer.json.get("code", "ok"))


async def a_frame(server: Server) -> str:
    async with session(server, publish=["*"]) as socket:
        to = {"channels": ["news"]}
        await socket.send({"type": "publish", "id": "m-1", "to": to, "message": {"data": 1}})
        answer = await socket.message()
        assert answer["id"] == "m-1"
        return str(answer["code"]) if answer["type"] == "error" else "ok"


async def a_call(server: Server) -> str:
    """The application's handler publishes, and answers when that is done."""
    to = {"channels": ["news"]}
    body = {"name": "publishes", "data": to}
    return said(await server.ask("POST", "/v1/call", token=writer(server), body=body))


PUBLISHES: list[Way] = [one, many, delivered, lines, a_frame, a_call]


async def trim(server: Server) -> str:
    return said(await server.ask("POST", "/v1/channels/old/trim", token=KEY, body={"before": 2}))


async def delete(server: Server) -> str:
    return said(await server.ask("DELETE", "/v1/channels/old", token=KEY))


async def revoke(server: Server) -> str:
    return said(await server.ask("POST", "/v1/revocations", token=KEY, body={"user": "eve"}))


async def nothing_is_said(server: Server, answers: list[Any]) -> None:
    """The loop turns, and answers others, many times over."""
    for _ in range(5):
        assert (await server.ask("GET", "/healthz")).status == 200
    assert not answers


@pytest.mark.parametrize("way", [*PUBLISHES, trim, delete, revoke], ids=lambda way: way.__name__)
async def test_success_is_not_answered_before_it_is_true(
    server: Server, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the writer is held back: no ack, no hint, no message. With the ack: on the disk."""
    await server.publish("old", 0)
    await server.publish("old", 0)
    gate = Gate(monkeypatch)
    answers: list[tuple[str, int]] = []

    async def ask() -> None:
        answer = await way(server)
        answers.append((answer, on_disk(server)))

    async with session(server, "bob", "/v1/ws?channels=news") as follower:
        async with trio.open_nursery() as nursery:
            with gate.closed():
                nursery.start_soon(ask)
                await gate.arrived()
                await nothing_is_said(server, answers)
                await follower.send({"type": "ping"})
                await follower.expect("pong")  # no hint came before it
                assert (await server.pull("news", after=0)).json["messages"] == []
        [(answer, stored)] = answers
        assert answer == "ok"
        if way in PUBLISHES:
            assert stored == 3
            assert (await follower.expect("hint"))["seq"] == 1


@pytest.mark.parametrize("way", PUBLISHES, ids=lambda way: way.__name__)
async def test_a_write_that_failed_is_no_success(
    server: Server, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: refused, nothing stored, nobody told. The same again, later, is stored once."""
    gate = Gate(monkeypatch)
    gate.error = disk_full()
    async with session(server, "bob", "/v1/ws?channels=news") as follower:
        assert await way(server) == "storage_full"
        assert on_disk(server) == 0
        await follower.send({"type": "ping"})
        await follower.expect("pong")
        gate.error = None
        assert await way(server) == "ok"
        assert on_disk(server) == 1
        assert await way(server) == "ok"
        assert on_disk(server) == 1, "a retry"
        assert (await follower.expect("hint"))["seq"] == 1


# -- a token in a log ------------------------------------------------------------------------------

LEAKY = """
import pushd.hook.hook
from pushd.handlers import Call, handler

pushd.hook.hook.TELL_S = -1  # each answer that is of no use is logged

@handler("fails")
async def fails(call: Call, data: dict) -> None:
    jwt = data["token"] if data["token"].startswith("ey") else "none"  # known by its looks
    raise RuntimeError(f"what is {data}? {jwt}")
"""


# How an application may answer that has no manners; None: as it should.
CARELESS = [
    None,
    Reply(200, {"user": f"not a user/{TOKEN}"}),
    Reply(200, b"{" + TOKEN.encode()),
    Reply(403, TOKEN.encode()),
    Reply(500, TOKEN.encode()),
    Reply(raw=f"HTTP/9 {TOKEN}\r\n\r\n".encode()),
    Reply(raw=f"HTTP/1.1 200 OK\r\nX: {TOKEN}\r\nContent-Length: x\r\n\r\n".encode()),
]


async def test_a_token_in_a_log(tmp_path: Path) -> None:
    """However it comes, right or wrong, when all is logged and everybody around is careless.

    Nor in the lists and numbers of operators, nor in what webhooks say. The scan of the log is
    that of ``ServerProcess``, at its end: for the tokens, and for their signatures alone.
    """
    (tmp_path / "leaky.py").write_text(LEAKY)
    async with (
        logins() as known,
        ServerProcess(
            tmp_path,
            log_level="debug",
            handlers="leaky",
            auth_url=known.url,
            auth_headers="cookie",
            auth_refusals_per_address="1000",
            webhook_url=known.url + "/events",
            webhook_secret=WEBHOOK_SECRET,
            webhook_events="all",
        ) as server,
    ):
        server.may_fail = True  # the handler does
        server.secrets += [TOKEN, "wrong-opaque-token", COOKIE, WEBHOOK_SECRET]
        right = server.token("alice")
        for token in (right, spoilt(server, "bob"), server.token("eve", ttl_s=-9), TOKEN):
            with trio.fail_after(60):
                await show(server, token)
        for number, known.reply in enumerate(CARELESS):
            asked, token = len(known.asked), f"{TOKEN}-{number}"
            async with await Http.open(server.address) as http:
                answer = await http.get("/v1/channels/news/messages", token)
            assert len(known.asked) > asked
            assert TOKEN.encode() not in answer.head + answer.body
        known.reply = None
        async with (
            await WebSocket.open(server.address) as one,
            await WebSocket.open(server.address) as other,
        ):
            await one.upgrade("/v1/ws", token=TOKEN)
            await other.upgrade("/v1/ws", header=f"Cookie: {COOKIE}\r\n")
            assert (await one.message())["user"] == (await other.message())["user"] == "alice"
            listed = await all_that_is_listed(server)
        assert '"transport":"websocket"' in listed
        assert "pushd_sessions" in listed

        def told() -> str:
            events = [each for each in known.asked if each.target.endswith("/events")]
            return "".join(f"{each.headers} {each.body!r}" for each in events)

        await known.until(lambda: "session.opened" in told() and "session.closed" in told())
        text = listed + told()
        for secret in server.secrets:
            assert secret not in text
        await server.kill()
        assert server.log().count("an answer of auth_url is of no use") >= 2
        assert "what is {'token': '[redacted]'}? [redacted]" in server.log()


# -- who is online ---------------------------------------------------------------------------------

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


# -- "sent" marked before any ack ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tells", "confirms"),
    [
        (delivering.by_websocket, delivering.ack_frame),
        (delivering.by_events, delivering.ack),
        (delivering.by_poll, delivering.next_poll),
        (delivering.by_pull, delivering.next_pull),
    ],
    ids=lambda way: way.__name__,
)
async def test_sent_is_not_marked_before_any_ack(
    server: Server, tells: delivering.Tells, confirms: delivering.Confirms
) -> None:
    """Neither a hint nor an answer that the client has taken says that it has the message."""
    async with tells(server) as told:
        stored = await server.publish(delivering.INBOX, 1, id="m-1")
        await told()
        assert await delivering.who_has_it(server) == ([], False)
    assert await delivering.who_has_it(server) == ([], False)
    await confirms(server, f"{stored['epoch']}.1")
    assert await delivering.who_has_it(server) == (["alice"], True)


# -- a handler's exception closes the connection ---------------------------------------------------

BROKEN = ["raises", "leaves", "refuses-badly", "unspeakable"]


@pytest.mark.parametrize("name", BROKEN)
async def test_a_handlers_exception_does_not_close_the_connection(
    tmp_path: Path, name: str
) -> None:
    """Neither its caller's, over WebSocket or HTTP, nor anybody else's."""
    handlers = {"handlers": "tests.support.handling", "errors_expected": True}
    async with (
        running_server(tmp_path, **handlers) as server,
        session(server, "alice") as alice,
        session(server, "bob") as bob,
        server.peer() as peer,
    ):
        token = server.token("alice")
        for _ in range(3):
            await alice.send({"type": "call", "id": "c", "name": name})
            assert (await alice.expect("error"))["code"] == "call_failed"
            answer = await peer.ask("POST", "/v1/call", token=token, body={"name": name})
            assert (answer.status, answer.code) == (502, "call_failed")
            assert "connection" not in answer.headers
        for socket in (alice, bob):
            await socket.send({"type": "call", "id": "d", "name": "anything", "data": 1})
            assert (await socket.expect("result"))["data"] == 1
        body = {"name": "anything", "data": 2}
        assert (await peer.ask("POST", "/v1/call", token=token, body=body)).json["data"] == 2
        assert len(server.hub.sessions.by_id) == 2
