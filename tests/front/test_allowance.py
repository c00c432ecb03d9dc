"""What many connections may hold together, and what one may do in a turn."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from pushd.allowance import PATIENCE_S, Allowance
from pushd.errors import Overloaded
from tests.support.app import KEY, Server, running_server, until
from tests.support.http import request

NDJSON = {"Content-Type": "application/x-ndjson"}
MIB = 1 << 20


def test_an_allowance_gives_what_it_has() -> None:
    allowance = Allowance(10)
    allowance.take(10)
    with pytest.raises(Overloaded):
        allowance.take(1)
    assert allowance.used == 10
    allowance.give(4)
    allowance.take(4)
    assert allowance.used == 10


@pytest.mark.parametrize("token", [None, "nobody-knows-this-key"])
async def test_large_bodies_are_for_those_who_may_send_something(
    server: Server, token: str | None
) -> None:
    """Refused at the head: not a byte of the body is read, let alone kept."""
    async with server.peer() as peer:
        head = request("POST", "/v1/publish", token=token, body=b"x" * MIB, headers=NDJSON)
        await peer.write(head[: -MIB + 10])
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert server.hub.bodies.used == 0


class Body:
    """Holds some bytes, and says whether it still does."""

    def __init__(self, allowance: Allowance, size: int) -> None:
        self.allowance = allowance
        self.size = size
        allowance.take(size, self)
        allowance.waits(self)

    def give_way(self) -> None:
        self.allowance.give(self.size)
        self.size = 0


def test_the_slowest_give_way() -> None:
    now = 0.0
    allowance = Allowance(10, lambda: now)
    oldest, older = Body(allowance, 4), Body(allowance, 3)
    now += PATIENCE_S / 2
    young = Body(allowance, 3)
    with pytest.raises(Overloaded):
        allowance.take(1)
    assert (oldest.size, allowance.used) == (4, 10), "none of them has taken long"
    now += PATIENCE_S / 2
    with pytest.raises(Overloaded):
        allowance.take(1, oldest)
    allowance.waits(oldest)  # again: it stays the oldest
    allowance.take(5)
    assert (oldest.size, older.size, young.size, allowance.used) == (0, 0, 3, 8)
    allowance.take(2)
    with pytest.raises(Overloaded):
        allowance.take(1)
    now += PATIENCE_S
    allowance.ended(young)
    with pytest.raises(Overloaded):
        allowance.take(1)
    assert young.size == 3


@pytest.mark.parametrize(("used", "size", "fits"), [(0, 6, 1), (1, 6, 0), (0, 9, 1), (0, 11, 0)])
def test_what_is_left_for_others(used: int, size: int, fits: int) -> None:
    allowance = Allowance(10)
    allowance.take(used)
    if fits:
        allowance.take(size, leave=4)
    else:
        with pytest.raises(Overloaded):
            allowance.take(size, leave=4)
    assert allowance.used == used + size * fits


def holds(server: Server, used: int) -> bool:
    return server.hub.bodies.used == used


@pytest.mark.parametrize("behind", ["nothing", "a held poll"])
async def test_who_stalls_with_much_keeps_nobody_from_publishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: str
) -> None:
    """One user with bodies that never end; others are served, and told nothing of it."""
    monkeypatch.setattr("pushd.allowance.PATIENCE_S", 0.0)
    async with running_server(tmp_path, body_memory=2 * MIB, body_timeout=600) as server:
        token = server.token("evil")
        held = request("GET", "/v1/channels/news/messages?after=head&wait=60", token=token)
        body = b"x" * MIB
        half = request("POST", "/v1/publish", token=token, body=body, headers=NDJSON)[:-1]
        async with server.peer() as first, server.peer() as second:
            for peer, used in ((first, MIB - 1), (second, 2 * (MIB - 1))):
                if behind == "a held poll":
                    await peer.write(held)
                await peer.write(half)
                await until(partial(holds, server, used))
            await server.publish("other", "x" * 60_000)
            if behind == "nothing":
                answer = await first.answer()
                assert (answer.status, answer.code) == (503, "overloaded")
                assert int(answer.headers["retry-after"]) >= 1
            else:
                assert await first.is_closed()
            assert server.hub.bodies.used == MIB - 1
        await until(lambda: server.hub.bodies.used == 0)


async def test_bodies_under_way_are_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.allowance.PATIENCE_S", 600.0)
    async with running_server(tmp_path, body_memory=2 * MIB, body_timeout=600) as server:
        body = b"x" * (MIB + MIB // 2)
        half = request("POST", "/v1/publish", token=KEY, body=body, headers=NDJSON)[:-1]
        async with server.peer() as first, server.peer() as second:
            await first.write(half)
            await until(lambda: server.hub.bodies.used >= len(body) - 1)
            await second.write(half)
            answer = await second.answer()
            assert (answer.status, answer.code) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        await until(lambda: server.hub.bodies.used == 0)


async def test_a_chunked_body_is_kept_in_one_piece(server: Server) -> None:
    line = b'{"channel":"news","data":1}\n'
    async with server.peer() as peer:
        head = request("POST", "/v1/publish", token=KEY, headers=NDJSON)
        await peer.write(head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        for at in range(0, len(line), 2):
            piece = line[at : at + 2]
            await peer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await until(lambda: server.hub.bodies.used == len(line))
        await peer.write(b"0\r\n\r\n")
        assert (await peer.answer()).status == 200
    await until(lambda: server.hub.bodies.used == 0)


async def test_a_long_pipeline_lets_others_take_their_turn(server: Server) -> None:
    """In between the loop comes round, again and again, long before the pipeline is through."""
    count, served = 1000, [0]
    counters = server.hub.counters

    async def look() -> None:
        """Whenever another task has its turn: not by a socket, which may be late."""
        while served[-1] < count:
            await trio.lowlevel.checkpoint()
            served.append(counters.requests)

    async with server.peer() as greedy, trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await greedy.write(request("GET", "/healthz") * count)
        for _ in range(count):
            assert (await greedy.answer()).status == 200
    assert max(after - before for before, after in pairwise(served)) < count / 10


async def test_a_multi_pull_that_is_full_asks_for_no_more(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_pull_bytes=1024) as server:
        for name in "abcd":
            await server.publish(name, "x" * 900)
        body = {"cursors": dict.fromkeys("abcd", "0")}
        cached = server.hub.tails.size
        answer = await server.ask("POST", "/v1/pull", token=server.token(), body=body)
        channels = answer.json["channels"]
        assert [len(channels[name]["messages"]) for name in "abcd"] == [1, 0, 0, 0]
        assert [channels[name]["more"] for name in "abcd"] == [False, True, True, True]
        assert [channels[name]["next"][-2:] for name in "abcd"] == [".1", ".0", ".0", ".0"]
        assert server.hub.tails.size - cached < 3000, "two were built: one fitted, one did not"
