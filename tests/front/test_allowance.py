"""What many connections may hold together, and what one may do in a turn."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pushd.allowance import Allowance
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


async def test_bodies_under_way_are_bounded_together(tmp_path: Path) -> None:
    async with running_server(tmp_path, body_memory=2 * MIB) as server:
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
    """In between the loop comes round: somebody else is served before the pipeline is through."""
    count = 1000
    async with server.peer() as greedy, server.peer() as other:
        await other.ask("GET", "/healthz")
        before = server.hub.counters.requests
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                await until(lambda: server.hub.counters.requests > before)
                await other.ask("GET", "/healthz")
                assert server.hub.counters.requests < before + count

            nursery.start_soon(ask)
            await greedy.write(request("GET", "/healthz") * count)
        for _ in range(count):
            assert (await greedy.answer()).status == 200


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
