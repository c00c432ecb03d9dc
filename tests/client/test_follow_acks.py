"""A follower tells the server what its consumer has processed, and no more."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from pushd.client.problems import Unreachable
from pushd.errors import Expired, Forbidden
from tests.client.fakes import EPOCH, FakeServer, data, following, take


@pytest.fixture
async def server() -> FakeServer:
    return FakeServer()


async def test_acks_are_batched_and_only_for_what_is_processed(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.hello["device"] = "d1"
    server.publish("a", 1, 2)
    server.publish("b", 3)
    async with following(server, {"a": "0", "b": "0"}) as events:
        await take(events, 3)
        await trio.sleep(5)
        assert [cursors for _, cursors in server.acks] == [{"a": f"{EPOCH}.2"}]
        with trio.move_on_after(5):
            await anext(events)
        assert [cursors for _, cursors in server.acks[1:]] == [{"b": f"{EPOCH}.1"}]
        count = len(server.acks)
        with trio.move_on_after(300):
            await anext(events)
        assert len(server.acks) == count, "nothing new, nothing to say"


async def test_leaving_acks_what_was_processed(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.hello["device"] = "d1"
    server.publish("a", 1, 2)
    async with following(server, {"a": "0"}) as events:
        await take(events, 2)
    assert server.acks == [(trio.current_time(), {"a": f"{EPOCH}.1"})]


async def test_once_it_is_closed_what_was_processed_is_acked(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    """Whoever closes it may end the process right then."""
    server.publish("a", 1, 2)
    async with following(server, {"a": "0"}, has_device=True) as events:
        await take(events, 2)
        await events.aclose()
        assert [cursors for _, cursors in server.acks] == [{"a": f"{EPOCH}.1"}]


async def test_without_a_device_nothing_is_acked(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1, 2)
    async with following(server, {"a": "0"}) as events:
        await take(events, 2)
        with trio.move_on_after(5):
            await anext(events)
    assert server.acks == []


async def test_a_refused_ack_stops_the_acks_only(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.hello["device"] = "d1"
    server.ack_error = Forbidden("no")
    async with following(server, {"a": "0"}) as events:
        for number in range(3):
            server.publish("a", number)
            assert await data(events, 1) == [number]
            with trio.move_on_after(5):
                await anext(events)
    assert len(server.acks) == 1


async def test_a_reset_in_an_ack_does_not_stop_them(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.hello["device"] = "d1"
    server.ack_error = Expired("gone", extra={"channel": "a", "resume": f"{EPOCH}.0"})
    async with following(server, {"a": "0"}) as events:
        for number in range(3):
            server.publish("a", number)
            assert await data(events, 1) == [number]
            with trio.move_on_after(5):
                await anext(events)
    assert len(server.acks) == 3, "each once"


async def test_a_failed_ack_is_sent_again(autojump_clock: MockClock, server: FakeServer) -> None:
    server.hello["device"] = "d1"
    server.ack_error = Unreachable("down")
    server.publish("a", 1)
    async with following(server, {"a": "0"}) as events:
        await take(events, 1)
        with trio.move_on_after(10):
            await anext(events)
        assert len(server.acks) > 1
        server.ack_error = None
        with trio.move_on_after(40):
            await anext(events)
        count = len(server.acks)
        with trio.move_on_after(100):
            await anext(events)
        assert len(server.acks) == count
