"""What Redis and the network do to a bus: it sees each loss, comes back, and nothing piles up."""

from __future__ import annotations

import random
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from pushd.cluster.bus.busstate import CALM_S, QUIET_S, BusState
from pushd.cluster.bus.commands import RedisAway
from pushd.cluster.bus.line import LONGEST_S, SHORTEST_S, pause_s
from pushd.cluster.bus.piles import HEADS_EACH, MAX_CHANNELS, MAX_GENERATIONS, HintPile
from pushd.cluster.bus.replies import MOST
from pushd.cluster.bus.texts import Hint
from tests.support.buses import Member, make, running, until
from tests.support.links import Line
from tests.support.redis import PATIENCE, RedisServer


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path / "redis") as server:
        yield server


@asynccontextmanager
async def line_to(redis: RedisServer) -> AsyncIterator[tuple[Line, str]]:
    """A network between, and the address at its near end."""
    line = Line()
    async with trio.open_nursery() as nursery:

        async def carry(client: trio.SocketStream) -> None:
            await line.carry(client, redis.port)

        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, carry, [listener])
        yield line, f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def hint(*heads: tuple[str, str, int], generation: str = "g", control: bool = False) -> Hint:
    return Hint(generation, 1, control, list(heads))


async def told(sender: Member, hearer: Member, seq: int) -> None:
    """Says it until it is heard: a hint may be lost with a connection of which nobody knows."""
    with trio.fail_after(PATIENCE):
        while hearer.heads().get("c") != ("e", seq):
            sender.bus.publish_hints(hint(("c", "e", seq)))
            await trio.sleep(0.05)


async def _nothing(redis: RedisServer) -> None:
    pass


async def _pause(redis: RedisServer) -> None:
    redis.pause()


async def _resume(redis: RedisServer) -> None:
    redis.resume()


async def _cut_messages(redis: RedisServer) -> None:
    await redis.cut_clients("pubsub")


# What happens to Redis, and what heals it; or to the line, which heals by itself.
FAULTS: dict[str, tuple[Callable[[RedisServer], Awaitable[None]], ...]] = {
    "killed": (RedisServer.kill, RedisServer.start),
    "stopped": (RedisServer.stop, RedisServer.start),
    "held": (_pause, _resume),
    "messages cut": (_cut_messages, _nothing),
    "cut": (_nothing, _nothing),
    "silent": (_nothing, _nothing),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_each_loss_is_seen_and_made_up_for(redis: RedisServer, name: str) -> None:
    fails, heals = FAULTS[name]
    async with (
        line_to(redis) as (line, url),
        running(url, "a", "b", timeout_s=1.0) as (a, b),
    ):
        await told(a, b, 1)
        for round_ in (2, 3):
            # Who has just lost its connection by itself would not see that the next one is lost.
            await until(lambda: a.bus.state.connected and b.bus.state.connected)
            before = [(node.losses, node.gaps) for node in (a, b)]
            await fails(redis)
            if name == "cut":
                line.cut()
            elif name == "silent":
                line.silence()
            await until(lambda old=before: a.losses > old[0][0] and b.losses > old[1][0])
            await heals(redis)
            line.heal()
            await until(lambda old=before: a.gaps > old[0][1] and b.gaps > old[1][1])
            await told(a, b, round_)
        await until(lambda: a.bus.state.connected and b.bus.state.connected)
        assert a.bus.state.losses >= 2


async def test_who_only_listens_sees_that_nobody_speaks(redis: RedisServer) -> None:
    """Nothing is said either that could not be answered: the next tick is an hour away."""
    async with (
        line_to(redis) as (line, url),
        running(url, "a", timeout_s=1.0, tick_s=3600.0) as (a,),
    ):
        await until(lambda: a.bus.marker)
        line.silence()
        await until(lambda: a.losses)


async def test_connected_means_that_what_is_said_now_is_answered(redis: RedisServer) -> None:
    """The connection for commands died unseen, for nothing was said on it."""
    async with running(redis.url, "a", tick_s=3600.0) as (a,):
        await until(lambda: a.bus.marker)
        for gaps in (2, 3, 4):
            said: list[object] = []
            a.bus.on_gap[1:] = [lambda said=said: a.bus.post([("PING",)], said.append)]
            await redis.kill()
            await until(lambda n=gaps: a.losses == n - 1)
            await redis.start()
            await until(lambda said=said: said)
            assert said == [[b"PONG"]]
            assert a.gaps == gaps


async def test_a_redis_that_is_slow_is_no_loss(redis: RedisServer) -> None:
    async with line_to(redis) as (line, url), running(url, "a", "b") as (a, b):
        line.delay = 0.2
        asked = a.bus.state.rtt_ms  # may have been long as well, on a busy machine
        await until(lambda: a.bus.state.rtt_ms != asked and a.bus.state.rtt_ms > 300)
        await told(a, b, 1)
        assert a.losses == b.losses == 0


async def test_emptied_is_seen_without_a_loss(redis: RedisServer) -> None:
    async with running(redis.url, "a", "b") as (a, b):
        await until(lambda: a.bus.marker and b.bus.marker)
        for round_ in range(1, 4):
            await redis.flush()
            await until(lambda n=round_: a.bus.state.emptied >= n and b.bus.state.emptied >= n)
        assert (a.losses, b.losses) == (0, 0)
        assert a.gaps == b.gaps == 4
        assert a.bus.marker == b.bus.marker


async def test_a_wrong_password_is_said_once_and_tried_again(redis: RedisServer) -> None:
    right = await redis.add_user("node", "secret-one", "allcommands", "allkeys", "allchannels")
    wrong = right.replace("secret-one", "secret-two")
    with capture_logs() as said:
        async with running(wrong, "a", connected=False) as (a,):
            await until(lambda: a.bus.state.error)
            assert "invalid username-password" in a.bus.state.error
            with pytest.raises(RedisAway, match="invalid username-password"):
                await a.bus.ask(("PING",))
            await redis.run("ACL", "SETUSER", "node", ">secret-two")
            await until(lambda: a.gaps)
    away = [line for line in said if "away" in line["event"]]
    assert len(away) == 1
    assert "secret" not in str(said)
    assert "secret" not in str(a.bus.state.as_dict())


def test_losses_again_and_again_do_not_flood_the_log() -> None:
    state = BusState("redis://x")
    with capture_logs() as said:
        for second in range(3600):  # an hour of a connection that never lasts
            state.found()
            state.failed(OSError("reset"), float(second))
        assert len(said) <= 1 + 2 * 3600 / CALM_S
        times = [line["times"] for line in said if "times" in line]
        assert sum(times) + state._untold == state.losses == 3600
        del said[:]
        for second in range(3600, 7200):  # and an hour of none
            state.failed(OSError(f"refused {second % 2}"), float(second))
        assert 1 <= len(said) <= 3600 / QUIET_S
        state.found()
        assert "connected" in said[-1]["event"]


async def test_a_million_hints_without_redis_take_no_memory(redis: RedisServer) -> None:
    hints = [hint((f"c{n}", "e", n)) for n in range(2 * MAX_CHANNELS)]
    async with running(redis.url, "a", timeout_s=1.0) as (a,):
        redis.pause()
        for each in hints:  # while nobody knows yet that it is away: into the bounded pile
            a.bus.publish_hints(each)
        assert len(a.bus._commands._pile) <= MAX_CHANNELS
        await until(lambda: not a.bus.state.connected)
        lost, publish = a.bus.state.lost, a.bus.publish_hints
        for each in hints[:1000]:
            publish(each)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for each in hints:
                publish(each)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 1_000_000  # 25 bytes each
        while a.bus.state.lost - lost < 1_000_000:
            for each in hints[:1000]:
                publish(each)
        assert a.bus.state.lost - lost == 1_000_000
        redis.resume()
        await until(lambda: a.gaps > 1)


async def test_hints_that_nobody_takes_in_stay_bounded(redis: RedisServer) -> None:
    """The loop of the hearer is busy; the thread goes on hearing."""
    async with running(redis.url, "a") as (a,):
        arrivals = a.bus._wires._arrivals
        channel = a.bus.key("hints")
        texts = [
            b'{"generation":"g","version":%d,"heads":[["c%d","e",%d]]}' % (n, n, n)
            for n in range(3 * MAX_CHANNELS)
        ]
        called = [arrivals.put([(channel, text)]) for text in texts]
        assert called.count(True) == 1
        assert len(arrivals._pile) <= MAX_CHANNELS
        heard = arrivals.take()
        assert heard.heads == len(texts)
        assert heard.lost == len(texts) - sum(len(hint.heads) for hint in heard.hints)
        assert heard.hints[0].control  # ask for all
        assert max(hint.version for hint in heard.hints) == len(texts) - 1


@pytest.mark.parametrize("state", ["connected", "killed", "held", "never"])
async def test_the_threads_end_with_the_bus(redis: RedisServer, state: str) -> None:
    def threads() -> set[str]:
        return {each.name for each in threading.enumerate() if each.name.startswith("pushd redis")}

    await until(lambda: threads() == set())  # those of the test before
    if state == "never":
        await redis.kill()
    async with running(redis.url, "a", connected=state != "never", timeout_s=0.5) as (a,):
        assert threads() == {"pushd redis commands", "pushd redis messages"}
        if state == "killed":
            await redis.kill()
            await until(lambda: a.losses)
        elif state == "held":
            redis.pause()
    await until(lambda: threads() == set())
    if state == "held":
        redis.resume()


async def test_a_bus_that_is_ended_at_once_ends(redis: RedisServer) -> None:
    bus = make(redis.url, "a")
    bus.on_hint.append(lambda hint: None)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run)
            nursery.cancel_scope.cancel()


def test_pauses_grow_and_are_never_the_same() -> None:
    for failures in range(1, 40):
        pauses = [pause_s(failures) for _ in range(200)]
        assert min(pauses) >= SHORTEST_S
        assert max(pauses) <= LONGEST_S
        assert len(set(pauses)) > 100
    assert max(pause_s(1) for _ in range(200)) < 0.5 < max(pause_s(9) for _ in range(200))


@pytest.mark.parametrize("seed", range(20))
def test_a_pile_keeps_the_newest_of_each_channel(seed: int) -> None:
    rng = random.Random(seed)
    pile, truth, versions = HintPile(), {}, {"g": 0, "h": 0}
    for seq in range(2000):
        generation = rng.choice("gh")
        heads = [(f"c{rng.randrange(900)}", "e", seq) for _ in range(rng.randrange(3))]
        pile.add(Hint(generation, seq, seq == 1000 and generation == "g", heads))
        versions[generation] = seq
        truth.update({(generation, channel): (epoch, at) for channel, epoch, at in heads})
    taken = pile.take()
    found = {
        (each.generation, channel): (epoch, seq)
        for each in taken
        for channel, epoch, seq in each.heads
    }
    assert found == truth
    assert {each.generation: each.version for each in taken} == versions
    assert all(len(each.heads) <= HEADS_EACH for each in taken)
    assert not pile
    assert pile.take() == []


def test_a_pile_of_too_many_generations_forgets() -> None:
    pile = HintPile()
    for n in range(50):
        pile.add(hint(("c", "e", n), generation=str(n)))
    assert len(pile) <= MAX_GENERATIONS
    assert pile.forgotten + len(pile) == 50
    assert pile.take()[-1].generation == "49"


async def test_a_huge_text_in_redis_fills_nobody_s_memory(tmp_path: Path) -> None:
    """Who can write there can keep nodes from using it, and nothing more."""
    async with RedisServer(tmp_path) as redis, running(redis.url, "a") as (a,):
        await redis.run("SET", "t:owner", "x")
        await redis.run("SETRANGE", "t:owner", MOST, "x")
        await until(lambda: str(MOST) in a.bus.state.error)
        assert not a.bus.state.connected
        await redis.run("DEL", "t:owner")
        await until(lambda: a.bus.state.connected)
