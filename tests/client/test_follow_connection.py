"""How a follower keeps its hint session, and what ends it for good."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from pushd.auth import mint_token
from pushd.client.credential import Credential
from pushd.client.events import Status
from pushd.client.ladder import TransportKind
from pushd.client.problems import Kicked
from pushd.errors import Forbidden, PushdError, TokenExpired, Unauthorized
from tests.client.fakes import FakeLink, FakeServer, data, following, take


@pytest.fixture
async def server() -> FakeServer:
    return FakeServer()


async def test_reconnects_with_growing_jittered_delays(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.refuse_links = 40
    async with following(server, {"a": "0"}) as events:
        with trio.move_on_after(900):
            while True:
                await anext(events)
    gaps = [after - before for before, after in pairwise(server.connects)]
    assert all(gap <= min(30, 2**n) for n, gap in enumerate(gaps))
    assert max(gaps) > 15
    assert len(set(gaps)) == len(gaps)


async def test_live_again_resets_the_backoff(autojump_clock: MockClock, server: FakeServer) -> None:
    server.refuse_links = 10
    async with following(server, {"a": "0"}) as events:
        while (await take(events, 1, Status))[0].kind != "live":
            pass
        before = trio.current_time()
        server.links[-1].close(1012)
        while (await take(events, 1, Status))[0].kind != "live":
            pass
        assert trio.current_time() - before <= 1


async def test_pongs_keep_the_session(autojump_clock: MockClock, server: FakeServer) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        with trio.move_on_after(200):
            await anext(events)
    assert len(server.connects) == 1
    pings = [at for at, frame in server.links[0].sent if frame == {"type": "ping"}]
    assert len(pings) >= 7
    assert 12.5 <= pings[0] < 25, "not all at once after a restart"
    assert all(abs(b - a - 25) < 0.001 for a, b in pairwise(pings))


@pytest.mark.parametrize("kind", ["websocket", "sse"])
async def test_another_token_comes_before_the_first_expires(
    autojump_clock: MockClock, server: FakeServer, kind: TransportKind
) -> None:
    """In a frame where there are any, else with another session."""
    made: list[str] = []

    async def token() -> str:
        made.append(mint_token("s" * 40, f"u{len(made)}", ttl_s=30, now=trio.current_time()))
        return made[-1]

    server.broken = {}
    server.credential = Credential(token, now=trio.current_time)
    async with following(server, {"a": "0"}, transports=(kind,)) as events:
        with trio.move_on_after(29):
            while True:
                await anext(events)
    assert len(made) == 2
    refreshed = [frame for _, frame in server.links[0].sent if frame["type"] == "refresh"]
    if kind == "websocket":
        assert refreshed == [{"type": "refresh", "token": made[1]}]
        assert len(server.attempts) == 1
    else:
        assert [second for second, *_ in server.attempts[1:]] == [pytest.approx(24, abs=2)]


@pytest.mark.parametrize("answered", [0, 2])
async def test_no_pong_within_ten_seconds_means_reconnect(
    autojump_clock: MockClock, server: FakeServer, answered: int
) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        while len(server.links[0].sent) < answered:
            with trio.move_on_after(1):
                await anext(events)
        server.links[0].answers_pings = False
        lost = (await take(events, 1, Status))[0]
        assert lost.kind == "lost"
        assert "pong" in lost.detail
        assert len(server.links[0].sent) == answered + 1
        pinged = server.links[0].sent[-1][0]
        assert trio.current_time() == pytest.approx(pinged + 10)
        assert (await take(events, 1, Status))[0].kind == "live"
        assert len(server.connects) == 2


async def test_no_hello_within_ten_seconds_means_another_attempt(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.says_hello = False
    async with following(server, {"a": "0"}) as events:
        status = (await take(events, 1, Status))[0]
        assert (status.kind, trio.current_time()) == ("polling", 10)


async def test_unknown_and_broken_frames_are_ignored(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        link = server.links[0]
        for text in ('{"type":"new","x":[1]}', "no json", "[]", '{"type":"hint","seq":"7"}'):
            link.send_text(text)
        link.send_frame(type="error", code="bad_request", detail="?")
        server.publish("a", 1)
        assert await data(events, 1) == [1]
        assert len(server.connects) == 1


@pytest.mark.parametrize(
    ("close", "kind"),
    [
        (lambda link: link.close(4001, "bad token"), Unauthorized),
        (lambda link: link.close(4001, "token expired"), TokenExpired),
        (lambda link: link.close(4003, "revoked"), Forbidden),
        (lambda link: link.close(4009, "kicked"), Kicked),
        (lambda link: link.send_frame(type="bye", code=4009), Kicked),
        (lambda link: link.send_frame(type="bye", code=4001, reconnect=True), Unauthorized),
        (lambda link: link.send_frame(type="bye", code=1008, reconnect=False), Kicked),
    ],
)
async def test_final_ends_raise_what_the_server_said(
    autojump_clock: MockClock,
    server: FakeServer,
    close: Callable[[FakeLink], None],
    kind: type[PushdError],
) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        close(server.links[0])
        with pytest.raises(kind, match="ended the session"):
            await take(events, 1)
    assert len(server.connects) == 1


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 4008, 4029, None])
async def test_other_ends_reconnect(
    autojump_clock: MockClock, server: FakeServer, code: int | None
) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        server.links[0].close(code)
        kinds = [status.kind for status in await take(events, 2, Status)]
        assert kinds == ["lost", "live"]
        server.publish("a", 1)
        assert await data(events, 1) == [1]


async def test_a_kick_may_say_come_again(autojump_clock: MockClock, server: FakeServer) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        server.links[0].send_frame(type="bye", code=4009, reconnect=True)
        assert [status.kind for status in await take(events, 2, Status)] == ["lost", "live"]


async def test_bye_tells_when_to_come_again(autojump_clock: MockClock, server: FakeServer) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        server.links[0].send_frame(
            type="bye", code=1012, reason="restart", reconnect=True, retry_after_ms=7000
        )
        lost = (await take(events, 1, Status))[0]
        assert (lost.kind, lost.detail) == ("lost", "restart")
        await take(events, 1, Status)
        assert 7 <= server.connects[1] - server.connects[0] <= 8
