"""SIGTERM under load: everybody gets an answer or a goodbye, and what was acked stays."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from tests.support.chat import CHANNEL, Chat, Sent, load_chat
from tests.support.gauges import gauge_reaches
from tests.support.ledger import Ledger, decode_page
from tests.support.publishers import BatchPublisher, publish_singly
from tests.support.replay import check_channels
from tests.support.server import ServerProcess
from tests.support.websocket import Closed, WebSocket
from tests.support.wire import ConnectionLost, Http

DRAIN_S = 60  # longer than it takes on a machine that is busy
SPARE_S = 60  # on top of it, for a machine that is busy
POLLS = 12
SOCKETS = 12
MANY_SOCKETS = 150
MESSAGES = 4000
# Nobody whose goodbye is looked at may be told something else before, on a machine that is busy.
PATIENT = {
    **dict.fromkeys(("head_timeout", "idle_timeout", "auth_timeout"), "5m"),
    **dict.fromkeys(("heartbeat_timeout", "poll_grace", "max_wait"), "1h"),
}
WAIT_S = 600  # of a poll, or a fifth less


async def hold_get(server: ServerProcess, answered: trio.Event) -> None:
    """A GET that waits: the answer has no messages, and more than one will not be served."""
    async with await server.http() as http:
        answer = await http.get(f"/v1/channels/quiet/messages?after=0&wait={WAIT_S}")
        answered.set()
        assert answer.status == 200
        assert decode_page(answer.body).messages == []
        assert b"connection: close" in answer.head.lower()


async def hold_post(server: ServerProcess, user: str) -> None:
    async with await server.http() as http:
        answer = await http.post("/v1/pull", {"mine": True, "wait": WAIT_S}, server.token(user))
        assert answer.status == 200
        assert set(answer.json()["channels"]) == {"all", f"user:{user}"}
        assert [notice["code"] for notice in answer.json()["notices"]] == [1012]


async def listen_to_the_end(
    server: ServerProcess, user: str, task_status: trio.TaskStatus[None]
) -> None:
    """Hints, then a goodbye that says what to do, then the close; nothing in between."""
    async with await WebSocket.open(server.address) as socket:
        token = server.token(user, subscribe=(CHANNEL,))
        await socket.upgrade("/v1/ws?channels=%23ubuntu", token=token)
        assert (await socket.message())["type"] == "hello"
        task_status.started()
        while (frame := await socket.message())["type"] == "hint":
            pass
        assert (frame["type"], frame["code"], frame["reconnect"]) == ("bye", 1012, True)
        assert 0 <= frame["retry_after_ms"] <= 2000
        with pytest.raises(Closed) as closed:
            await socket.message()
        assert closed.value.code == 1012


async def stay_silent(server: ServerProcess, task_status: trio.TaskStatus[None]) -> None:
    """Never answers the close: it is cut in the end, and holds nobody up for the whole drain."""
    async with await WebSocket.open(server.address) as socket:
        token = server.token("silent", subscribe=(CHANNEL,))
        await socket.upgrade("/v1/ws?channels=%23ubuntu", token=token)
        assert b'"hello"' in (await socket.frame())[1]
        task_status.started()
        while b'"hint"' in (frame := await socket.frame())[1]:
            pass
        assert b'"bye"' in frame[1]
        assert (await socket.frame())[0] == 8
        assert await socket.read_to_end() == b""


async def authenticate_late(
    server: ServerProcess, stopping: trio.Event, task_status: trio.TaskStatus[None]
) -> None:
    """Brings its token only when the server is stopping already: it is told so at once."""
    async with await WebSocket.open(server.address) as socket:
        await socket.upgrade("/v1/ws")
        task_status.started()
        await stopping.wait()
        await socket.send({"type": "auth", "token": server.token("late")})
        assert (await socket.message())["type"] == "bye"
        with pytest.raises(Closed) as closed:
            await socket.message()
        assert closed.value.code in (1012, 1013)


async def keep_open(server: ServerProcess, sent: bytes, task_status: trio.TaskStatus[None]) -> None:
    """A connection that waits between or within requests is closed."""
    async with await Http.open(server.address) as http:
        await http.write(sent)
        task_status.started()
        with pytest.raises(ConnectionLost):
            await http.read_exactly(1)


def make_chat() -> tuple[Chat, list[list[Sent]]]:
    """A part of the chat, and four who publish one message at a time beside it."""
    chat = Chat(sent=load_chat().sent[:MESSAGES])
    data = msgspec.json.encode
    singles = [
        [Sent(f"single:{name}", f"s{at}", name, data(at)) for at in range(400)] for name in "abcd"
    ]
    for sent in [*chat.sent, *(each for some in singles for each in some)]:
        chat.truth.setdefault(sent.channel, []).append(sent)
    return chat, singles


async def test_everybody_gets_an_answer_or_a_goodbye(tmp_path: Path) -> None:
    chat, singles = make_chat()
    ledger = Ledger()
    drain = {"drain": f"{DRAIN_S}s", "drain_spread": "200ms"}
    async with ServerProcess(tmp_path, **drain, **PATIENT) as server:
        publisher = BatchPublisher(server, ledger, batch=50)
        async with trio.open_nursery() as nursery:
            await fill(server, nursery)
            nursery.start_soon(publisher.run, chat.sent)
            for messages in singles:
                nursery.start_soon(publish_singly, server, ledger, messages)
            await publisher.progress.reach(MESSAGES // 2)
            server.terminate()
            with trio.fail_after(DRAIN_S + SPARE_S):
                assert await server.ended() == 0
            assert publisher.progress.acked < MESSAGES
            await server.start()  # the publishers go on with what was not acked
        await check_channels(server, chat, ledger, list(chat.truth))
    ledger.check(chat)
    assert "connections cut" not in server.log()


async def fill(server: ServerProcess, nursery: trio.Nursery) -> None:
    """All kinds of connections, each of them as far as it shall be. They check their ends."""
    stopping = trio.Event()  # as seen by the one whose poll is answered before its time
    for number in range(POLLS // 2):
        nursery.start_soon(hold_get, server, stopping)
        nursery.start_soon(hold_post, server, f"poller-{number}")
    await gauge_reaches(server, "pushd_held_polls", POLLS)
    for number in range(SOCKETS):
        await nursery.start(listen_to_the_end, server, f"listener-{number}")
    await nursery.start(stay_silent, server)
    await nursery.start(authenticate_late, server, stopping)
    await nursery.start(keep_open, server, b"")
    await nursery.start(keep_open, server, b"GET /healthz HTTP/1.1\r\nHost: a")


async def test_goodbyes_are_not_spread_over_more_than_the_drain(tmp_path: Path) -> None:
    """With so many sockets they are told in groups; nobody is cut for being in a late one."""
    async with ServerProcess(tmp_path, drain="12s", drain_spread="5m") as server:
        async with trio.open_nursery() as nursery:
            for number in range(MANY_SOCKETS):
                await nursery.start(listen_to_the_end, server, f"listener-{number}")
            server.terminate()
            with trio.fail_after(12 + SPARE_S):
                assert await server.ended() == 0
        assert "connections cut" not in server.log()
