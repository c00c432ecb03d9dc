"""Windows over real sockets: who falls out, for whom it is held, who is told before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.settings.namespaces import Namespace
from tests.log.support import written
from tests.support.app import KEY, Server, running_server
from tests.support.http import patience
from tests.support.sessions import epoch

SPACES = {
    "held": Namespace(public=True, retention={"messages": 3}, hold={"age_s": 1e6, "messages": 20}),
    "few": Namespace(public=True, retention={"messages": 3}),
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path) as server:
        yield server


def running(tmp_path: Path) -> Any:
    return running_server(
        tmp_path, namespaces=SPACES, retention_interval=0.02, retention_age=900_000.0
    )


async def fill(server: Server, channel: str, count: int) -> None:
    for number in range(count):
        await server.publish(channel, number)


async def pull(server: Server, channel: str, seq: int, device: str = "phone") -> Any:
    cursor = f"{epoch(server, channel)}.{seq}"
    return await server.pull(channel, server.token(), after=cursor, device=device)


async def first_is(server: Server, channel: str, first: int) -> None:
    with patience():
        while server.hub.log.heads[channel].first != first:
            await trio.sleep(0.01)


async def round_is_over(server: Server) -> None:
    """Another channel has been cut twice: in between everything has been looked at."""
    for _ in range(2):
        await fill(server, "few:others", 4)
        await first_is(server, "few:others", server.hub.log.heads["few:others"].seq - 2)


async def test_a_window_is_held_for_a_slow_device_until_it_has_got_it(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await fill(server, "held:a", 2)
        await pull(server, "held:a", 1)
        await written(server.hub.log)
        await fill(server, "held:a", 8)
        await first_is(server, "held:a", 2)
        await round_is_over(server)
    async with running(tmp_path) as server:
        await round_is_over(server)
        answer = await pull(server, "held:a", 1)
        assert [message["seq"] for message in answer.json["messages"]] == list(range(2, 11))
        channel = (await server.ask("GET", "/v1/channels/held:a", token=KEY)).json
        assert (channel["held"], channel["rules"]["hold_messages"]) == (6, 20)
        await pull(server, "held:a", 10)
        await fill(server, "held:a", 11)
        await first_is(server, "held:a", 11)
        await fill(server, "held:a", 9)
        await round_is_over(server)
        assert server.hub.log.heads["held:a"].first == 11
        # So much and no more. Who has fallen out is waited for no more.
        await fill(server, "held:a", 2)
        await first_is(server, "held:a", 30)
        late = await pull(server, "held:a", 10)
        assert (late.status, late.code, late.json["skipped"]) == (410, "expired", 19)


async def test_nobody_keeps_an_administrator_from_trimming(server: Server) -> None:
    await fill(server, "held:a", 9)
    await pull(server, "held:a", 1)
    await written(server.hub.log)
    path = "/v1/channels/held:a/trim"
    answer = await server.ask("POST", path, token=KEY, body={"before": 8})
    assert (answer.status, answer.json["first"]) == (200, 8)


async def test_the_window_is_not_held_for_who_does_not_say_a_device(server: Server) -> None:
    await fill(server, "held:a", 2)
    await server.pull("held:a", server.token(), after=f"{epoch(server, 'held:a')}.1")
    await fill(server, "held:a", 8)
    await first_is(server, "held:a", 8)
