"""Who is told what happens, and why sessions end, on both transports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from pushd.happenings import Happenings, SessionClosed, SessionOpened, UserOffline, UserOnline
from tests.support.app import KEY, Server, Socket, running_server, until
from tests.support.events import listening
from tests.support.websocket import Closed


def test_listeners_hear_their_kind_in_order_and_one_that_fails_harms_nobody() -> None:
    happenings = Happenings()
    heard: list[object] = []

    def fails(happening: object) -> None:
        heard.append("failed")
        raise ValueError("mine")

    happenings.listen(UserOnline, fails)
    happenings.listen(UserOnline, heard.append)
    with capture_logs() as entries:
        happenings.tell(UserOnline("alice"))
        happenings.tell(UserOffline("alice"))
    assert heard == ["failed", UserOnline("alice")]
    assert [entry["happening"] for entry in entries] == ["UserOnline"]


class Ear:
    """Hears of sessions; of those that ended the user, code and reason."""

    def __init__(self, server: Server) -> None:
        self.opened: list[str] = []
        self.closed: list[tuple[str | None, int, str]] = []
        server.hub.happenings.listen(SessionOpened, self._opened)
        server.hub.happenings.listen(SessionClosed, self._closed)

    def _opened(self, happening: SessionOpened) -> None:
        self.opened.append(happening.session.id)

    def _closed(self, happening: SessionClosed) -> None:
        session = happening.session
        assert session.id in self.opened
        self.closed.append((session.user, session.end_code, session.end_reason))


async def _leaves(server: Server, socket: Socket) -> None:
    await socket.leave()


async def _breaks(server: Server, socket: Socket) -> None:
    socket.close()


async def _is_kicked(server: Server, socket: Socket) -> None:
    path = "/v1/users/alice/sessions?reason=enough"
    assert (await server.ask("DELETE", path, token=KEY)).json == {"kicked": 1}
    assert (await socket.expect("bye"))["reason"] == "enough"
    with pytest.raises(Closed):
        await socket.message()


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [(_leaves, 1000, "left"), (_breaks, 1006, "lost"), (_is_kicked, 4009, "enough")],
)
async def test_why_a_websocket_ended(
    server: Server, end: Callable[[Server, Socket], Awaitable[None]], code: int, reason: str
) -> None:
    ear = Ear(server)
    async with server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        await end(server, socket)
        await until(lambda: bool(ear.closed))
    assert ear.closed == [("alice", code, reason)]


async def test_a_client_that_is_silent(tmp_path: Path) -> None:
    async with running_server(tmp_path, heartbeat_interval=0.5, heartbeat_timeout=1.0) as server:
        ear = Ear(server)
        async with server.socket(token=server.token()) as socket:
            await socket.expect("hello")
            await until(lambda: bool(ear.closed))
        assert ear.closed == [("alice", 4008, "heartbeat missed")]


@pytest.mark.parametrize("kicked", [False, True])
async def test_why_an_event_stream_ended(server: Server, kicked: bool) -> None:
    ear = Ear(server)
    async with listening(server, token=server.token()) as stream:
        assert (await stream.event()).type == "hello"
        if kicked:
            path = "/v1/users/alice/sessions?reason=enough"
            await server.ask("DELETE", path, token=KEY)
        else:
            stream.peer.close()
        await until(lambda: bool(ear.closed))
    assert ear.closed == [("alice", *((4009, "enough") if kicked else (1000, "left")))]


async def test_the_old_one_that_ends_late_says_so_of_itself_alone(server: Server) -> None:
    ear = Ear(server)
    async with server.socket(token=server.token()) as old:
        await old.expect("hello")
        async with server.socket(token=server.token()) as new:
            await new.expect("hello")
            assert len(set(ear.opened)) == 2
            await old.leave()
            await until(lambda: bool(ear.closed))
            await wait_all_tasks_blocked()
            assert len(ear.closed) == 1
            assert list(server.hub.sessions.by_user["alice"]) == ear.opened[1:]
