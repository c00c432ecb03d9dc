"""Connections beyond the most, and those that keep quiet: told, counted, and let go of."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.errors import Overloaded
from pushd.front.greetings import Greetings
from tests.support.app import KEY, Server, running_server, until
from tests.support.http import Peer, request
from tests.support.quiet import HEAD_S, now_slow

pytestmark = pytest.mark.usefixtures("never_slow")


async def test_connections_beyond_the_most(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_connections=3) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(server.peer()) for _ in range(3)]
        for peer in peers:
            assert (await peer.ask("GET", "/healthz")).status == 200
        async with server.peer() as refused:
            answer = await refused.answer()
            assert (answer.status, answer.code) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["connection"] == "close"
            assert await refused.is_closed()
        assert server.hub.counters.connections_refused == 1
        await peers[0].stream.aclose()
        await until(lambda: server.hub.connections == 2)
        assert (await server.ask("GET", "/healthz")).status == 200


async def keep_quiet(server: Server, stack: AsyncExitStack, count: int = 1) -> list[Peer]:
    """So many more, for so long that they are looked at."""
    counters = server.hub.counters
    before = counters.connections_accepted  # how many there are changes while others leave
    peers = [await stack.enter_async_context(server.peer()) for _ in range(count)]
    await until(lambda: counters.connections_accepted == before + count)
    now_slow(server)
    return peers


@pytest.mark.parametrize("limit", ["max_handshakes", "max_handshakes_per_address"])
async def test_those_that_keep_quiet_are_limited(tmp_path: Path, limit: str) -> None:
    limits: dict[str, Any] = {limit: 2, "trusted_proxies": (), "head_timeout": HEAD_S}
    async with running_server(tmp_path, **limits) as server, AsyncExitStack() as stack:
        quiet = await keep_quiet(server, stack, 2)
        await quiet[0].write(b"GET /")  # half a request is none
        [third] = await keep_quiet(server, stack)
        answer = await third.answer()
        assert (answer.status, answer.code) == (503, "overloaded")
        assert 1 <= int(answer.headers["retry-after"]) <= 5
        assert await third.is_closed()
        # Who speaks is served all the same, and makes room.
        assert (await server.ask("GET", "/healthz")).status == 200
        await quiet[0].write(b"healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await quiet[0].answer()).status == 200
        [fourth] = await keep_quiet(server, stack)
        assert (await fourth.ask("GET", "/healthz")).status == 200


async def test_a_burst_of_connections_is_served(tmp_path: Path) -> None:
    """Many at once are no attack: they speak soon."""
    limits: dict[str, Any] = {"max_handshakes_per_address": 2, "head_timeout": HEAD_S}
    limits["trusted_proxies"] = ()
    async with running_server(tmp_path, **limits) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(server.peer()) for _ in range(50)]
        for peer in peers:
            await peer.write(request("GET", "/healthz"))
        for peer in peers:
            assert (await peer.answer()).status == 200


async def test_those_that_leave_make_room(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_handshakes": 1, "head_timeout": HEAD_S}
    async with running_server(tmp_path, **limits) as server:
        for slow in (False, True, False):
            async with server.peer() as peer:
                await peer.write(b"GET")
                await until(lambda: server.hub.connections == 1)
                if slow:
                    now_slow(server)
            await until(lambda: server.hub.connections == 0)
        answer = await server.pull("news", KEY, after=0)
        assert answer.status == 200


async def test_those_that_were_slow_and_leave_make_room(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_handshakes=1, head_timeout=HEAD_S) as server:
        for speaks in (False, False, True):
            async with AsyncExitStack() as stack:
                [slow] = await keep_quiet(server, stack)
                [other] = await keep_quiet(server, stack)
                assert (await other.answer()).status == 503
                if speaks:
                    assert (await slow.ask("GET", "/healthz")).status == 200
            await until(lambda: server.hub.connections == 0)


addresses = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(addresses, st.booleans())), st.integers(1, 6), st.integers(1, 4))
def test_counts_in_all_and_per_address(
    steps: list[tuple[str, bool]], most: int, per_address: int
) -> None:
    greetings = Greetings(most, per_address)
    there: list[str] = []
    for address, enters in steps:
        if not enters:
            if address in there:
                greetings.leave(address)
                there.remove(address)
        elif len(there) >= most or there.count(address) >= per_address:
            with pytest.raises(Overloaded) as caught:
                greetings.enter(address)
            assert caught.value.retry_after
        else:
            greetings.enter(address)
            there.append(address)
        assert greetings.total == len(there)
        assert set(greetings._addresses) == set(there), "nobody is remembered who has left"
