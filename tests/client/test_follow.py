"""Following against a server in memory, on a clock that jumps: nothing waits in real time."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from pushd.client.answers import ChannelAnswer, MultiPulled, Refusal, ResetAnswer
from pushd.client.ask import Ask
from pushd.client.events import Dropped, Placed, Reset, Status, StatusKind
from pushd.client.mailbox import Mailbox
from pushd.client.problems import BadAnswer, Unreachable
from pushd.errors import Forbidden
from tests.client.fakes import EPOCH, HELLO, LATER, FakeServer, data, following, take


@pytest.fixture
async def server() -> FakeServer:
    return FakeServer()


async def test_hints_bring_messages_in_order_and_at_once(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1, 2)
    async with following(server, {"a": "0"}, limit=2) as events:
        assert await data(events, 2) == [1, 2]
        began = trio.current_time()
        server.publish("a", 3, 4, 5)
        assert await data(events, 3) == [3, 4, 5]
        assert trio.current_time() == began
        assert events.cursors == {"a": f"{EPOCH}.4"}, "the fifth is not processed yet"
    assert [cursors["a"] for _, cursors, _ in server.pulls] == ["0", f"{EPOCH}.2", f"{EPOCH}.4"]


async def test_up_to_date_pulls_nothing_but_the_interval(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1)
    async with following(server, {"a": f"{EPOCH}.1"}) as events:
        await take(events, 1, Status)
        with trio.move_on_after(100):
            await anext(events)
    gaps = [after[0] - before[0] for before, after in pairwise(server.pulls)]
    assert 4 <= len(server.pulls) <= 6
    assert all(16 <= gap <= 20 for gap in gaps)
    assert len(set(gaps)) > 1, "clients that began together drift apart"


async def test_every_hint_lost_the_interval_finds_the_message(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    async with following(server, {"a": "0", "b": "head"}) as events:
        await take(events, 1, Placed)
        began = trio.current_time()
        server.publish("a", "x", hint=False)
        server.publish("b", "y", hint=False)
        assert sorted(await data(events, 2)) == ["x", "y"]
        assert trio.current_time() - began <= 20
    assert set(server.pulls[-1][1]) == {"a", "b"}, "one pull for all"


async def test_head_misses_nothing_after_it_is_placed(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1, 2)
    async with following(server, {"a": "head"}) as events:
        assert await take(events, 1, Placed) == [Placed("a", f"{EPOCH}.2")]
        server.publish("a", 3, hint=False)
        assert await data(events, 1) == [3]


async def test_a_pull_that_fails_is_made_again(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        began = trio.current_time()
        server.errors = [Unreachable("down")]
        server.publish("a", 1)
        assert await data(events, 1) == [1]
        assert trio.current_time() - began <= 2, "not only with the interval"


async def test_a_channel_that_an_answer_lacks_is_asked_again(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    answered = server.pull

    async def lacking(ask: Ask, limit: int, wait_s: float) -> MultiPulled:
        found = await answered(ask, limit, wait_s)
        if found.channels.pop("b", None) is not None:
            server.pull = answered  # type: ignore[method-assign]
        return found

    async with following(server, {"a": "0", "b": "0"}) as events:
        await take(events, 1, Status)
        began = trio.current_time()
        server.pull = lacking  # type: ignore[method-assign]
        server.publish("a", 1)
        server.publish("b", 2)
        assert await data(events, 2) == [1, 2]
        assert trio.current_time() - began <= 2


async def test_an_answer_with_a_hole_ends_it(autojump_clock: MockClock, server: FakeServer) -> None:
    """Going on would lose what is missing in silence."""
    server.publish("a", 1, 2, 3)
    whole = server.answer

    def holed(channel: str, text: str, limit: int) -> ChannelAnswer:
        found = whole(channel, text, limit)
        del found.messages[1]
        return found

    server.answer = holed  # type: ignore[method-assign]
    with pytest.raises(BadAnswer, match="leaves a hole"):
        async with following(server, {"a": f"{EPOCH}.0"}) as events:
            await take(events, 9)


@pytest.mark.parametrize(("advised_s", "least_s", "most_s"), [(0.0, 0.8, 1.0), (1e9, 240, 300)])
async def test_the_advised_interval_has_bounds(
    autojump_clock: MockClock, server: FakeServer, advised_s: float, least_s: float, most_s: float
) -> None:
    server.hello["pull"] = {"interval_s": advised_s}
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        with trio.move_on_after(1000):
            await anext(events)
    gaps = [after[0] - before[0] for before, after in pairwise(server.pulls)]
    assert len(gaps) >= 2
    assert all(least_s - 1e-6 <= gap <= most_s + 1e-6 for gap in gaps), gaps


async def test_jitter_spreads_the_pulls(autojump_clock: MockClock, server: FakeServer) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        delays = []
        for number in range(5):
            began = trio.current_time()
            server.publish("a", number, jitter_ms=4000)
            await take(events, 1)
            delays.append(trio.current_time() - began)
    assert all(0 < delay <= 4 for delay in delays)
    assert len(set(delays)) == 5


async def test_a_pull_never_runs_ahead_of_the_consumer(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    """A pull records its cursor as delivered, so the page before has to be processed first."""
    server.publish("a", 1, 2, 3)
    async with following(server, {"a": "0"}, limit=1) as events:
        await take(events, 1)
        with trio.move_on_after(1000):
            await trio.sleep_forever()
        assert len(server.pulls) == 1
        assert await data(events, 2) == [2, 3]


async def test_slow_consumer_keeps_one_status_only(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    async with following(server, {"a": "0"}) as events:
        await take(events, 1, Status)
        for _ in range(5):
            server.links[-1].close(1012)
            await trio.sleep(60)
        assert events.ready <= 2


async def test_that_pulls_work_again_does_not_hide_that_hints_do() -> None:
    """Both may come at once, and before the consumer has taken either."""
    mailbox = Mailbox(lambda _event: None)
    told: list[StatusKind] = ["lost", "retrying", "live", "recovered"]
    for kind in told:
        mailbox.put_status(kind, "")
    found = [await mailbox.next() for _ in range(len(mailbox))]
    assert found == [Status("live", ""), Status("recovered", "")]


async def test_reset_is_surfaced_and_followed(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1, 2, 3, 4)
    server.first["a"] = 3
    async with following(server, {"a": f"{EPOCH}.1"}) as events:
        reset, third, fourth = [
            event for event in [await anext(events) for _ in range(4)]
            if not isinstance(event, Status)
        ]  # fmt: skip
        assert reset == Reset("a", f"{EPOCH}.2", "expired", 1, "")
        assert [third.message.data, fourth.message.data] == [3, 4]
        # A new life of the channel, hinted.
        server.logs["a"], server.epochs["a"], server.first["a"] = [], LATER, 1
        server.publish("a", "new")
        assert (await take(events, 1, Reset))[0].code == "epoch_changed"
        assert await data(events, 1) == ["new"]


async def test_endless_resets_slow_down(autojump_clock: MockClock, server: FakeServer) -> None:
    server.publish("a", 1)
    server.answer = lambda channel, text, limit: ChannelAnswer(  # type: ignore[method-assign]
        reset=ResetAnswer("expired", f"{EPOCH}.0")
    )
    async with following(server, {"a": f"{EPOCH}.0"}) as events:
        with trio.move_on_after(60):
            while True:
                await anext(events)
    assert len(server.pulls) < 60


async def test_denied_and_refused_channels_are_dropped(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.hello["denied"] = ["b"]
    server.refused["c"] = Refusal("forbidden", "no")
    server.publish("a", 1)
    async with following(server, {"a": "0", "b": "0", "c": "head"}) as events:
        dropped = await take(events, 2, Dropped)
        assert {event.channel for event in dropped} == {"b", "c"}
        server.publish("a", 2)
        await take(events, 1)
        assert set(events.cursors) == {"a"}


async def test_nothing_left_to_follow_ends_it(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.hello["denied"] = [{"channel": "a", "code": "forbidden", "detail": "not yours"}]
    async with following(server, {"a": "0"}) as events:
        assert await take(events, 1, Dropped) == [Dropped("a", "forbidden", "not yours")]
        with pytest.raises(Forbidden, match="every channel"):
            await take(events, 1)


async def test_channels_beyond_the_address_are_subscribed(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.in_address = 1
    server.publish("b", 1)
    async with following(server, {"a": "0", "b": "0"}) as events:
        await take(events, 1, Status)
        await trio.sleep(1)
        link = server.links[0]
        assert [frame for _, frame in link.sent] == [{"type": "subscribe", "channels": {"b": "0"}}]
        assert server.pulls == [], "not known to be behind"
        link.send_frame(type="subscribed", heads={"b": {"epoch": EPOCH, "first": 1, "head": 1}})
        assert await data(events, 1) == [1]
        assert trio.current_time() < 16


async def test_a_channel_the_hello_leaves_out_is_pulled(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.publish("a", 1)
    server.at_all = server.at  # type: ignore[attr-defined]
    server.says_hello = False
    async with following(server, {"a": "0"}) as events:
        await trio.sleep(1)
        server.links[0].send_frame(type="hello", heads={}, more=True, **HELLO)
        assert await data(events, 1) == [1]
        assert trio.current_time() == 1


# -- structure -----------------------------------------------------------------------------------


async def test_an_error_of_the_body_comes_out_alone(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with following(server, {"a": "0"}):
            raise ZeroDivisionError


async def test_cancelling_the_body_ends_everything(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    with trio.move_on_after(3) as scope:
        async with following(server, {"a": "0"}) as events:
            await take(events, 1)
    assert scope.cancelled_caught
    assert trio.current_time() == 3
