"""Following without a WebSocket: polls that are held, and pulls that fail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from pushd.client.answers import Frame, MultiPulled
from pushd.client.ask import Ask
from pushd.client.events import Event, Placed, Received, Status
from pushd.client.follow import Follow
from pushd.client.problems import Kicked, Unreachable
from pushd.errors import Overloaded, Unauthorized
from tests.client.fakes import FakeServer, data, following, take


@pytest.fixture
async def server() -> FakeServer:
    return FakeServer()


async def test_falls_back_to_held_polls(autojump_clock: MockClock, server: FakeServer) -> None:
    server.refuse_links = 10**6
    async with following(server, {"a": "0", "b": "head"}) as events:
        first = [await anext(events), await anext(events)]
        assert {type(event) for event in first} == {Status, Placed}
        assert all(event.kind == "polling" for event in first if isinstance(event, Status))
        with trio.move_on_after(1000):
            await anext(events)
        began = trio.current_time()
        server.publish("b", 1)
        assert await data(events, 1) == [1]
        assert trio.current_time() == began, "a held poll is answered at once"
    waits = [wait_s for _, _, wait_s in server.pulls[2:]]
    assert set(waits) == {25.0}
    assert all(set(cursors) == {"a", "b"} for _, cursors, _ in server.pulls[2:])
    assert len(server.pulls) < 60


async def test_a_hello_ends_the_polling(autojump_clock: MockClock, server: FakeServer) -> None:
    server.refuse_links = 3
    async with following(server, {"a": "0"}) as events:
        while (await take(events, 1, Status))[0].kind != "live":
            pass
        held = len(server.pulls)
        server.publish("a", 1)
        assert await data(events, 1) == [1]
        assert server.pulls[held][2] == 0
        with trio.move_on_after(10):
            await anext(events)
        assert len(server.pulls) == held + 1, "hints tell the rest"


async def test_what_is_known_to_be_there_is_not_waited_for(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1, 2, 3)
    async with following(server, {"a": "0"}, transports=(), limit=1) as events:
        assert await data(events, 3) == [1, 2, 3]
        with trio.move_on_after(1):
            await anext(events)
    assert [wait_s for _, _, wait_s in server.pulls] == [25.0, 0.0, 0.0, 25.0]


async def test_a_server_that_does_not_hold_polls_is_not_flooded(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.refuse_links = 10**6
    unheld = server.pull

    async def pull(ask: Ask, limit: int, wait_s: float) -> MultiPulled:
        return await unheld(ask, limit, 0)

    server.pull = pull  # type: ignore[method-assign]
    async with following(server, {"a": "0"}) as events:
        with trio.move_on_after(100):
            while True:
                await anext(events)
    assert len(server.pulls) < 60


async def test_pulls_that_fail_are_retried_and_said_once(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1)
    server.errors = [Unreachable("down")] * 4 + [Overloaded("busy", retry_after=30)]
    async with following(server, {"a": "0"}) as events:
        found = [event async for event in _until(events, Received)]
    kinds = [event.kind for event in found if isinstance(event, Status)]
    assert kinds == ["live", "retrying", "recovered"] or kinds == ["retrying", "recovered"]
    times = [at for at, _, _ in server.pulls]
    assert times[-1] - times[-2] >= 30, "Retry-After is obeyed"


async def test_a_refused_pull_ends_it_with_the_reason(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.errors = [Unauthorized("bad token")]
    server.publish("a", 1)
    with pytest.raises(Unauthorized, match="bad token"):
        async with following(server, {"a": "0"}) as events:
            await take(events, 1)


async def test_a_bye_among_the_notices_ends_it(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    async def pull(ask: Ask, limit: int, wait_s: float) -> MultiPulled:
        return MultiPulled({}, [Frame("bye", code=4009, reason="out", reconnect=False)])

    server.pull = pull  # type: ignore[method-assign]
    server.refuse_links = 10**6
    with pytest.raises(Kicked, match="out"):
        async with following(server, {"a": "0"}) as events:
            await take(events, 1)


async def test_a_bye_among_the_notices_says_when_to_come_again(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1)
    server.notices = [Frame("bye", code=1012, reconnect=True, retry_after_ms=7000)]
    async with following(server, {"a": "0"}, transports=()) as events:
        await take(events, 1)
        server.publish("a", 2)
        await take(events, 1)
    first, second = (at for at, _, _ in server.pulls)
    assert 7 <= second - first <= 8


async def _until(events: Follow, kind: type) -> AsyncIterator[Event]:
    while True:
        event = await anext(events)
        yield event
        if isinstance(event, kind):
            return
