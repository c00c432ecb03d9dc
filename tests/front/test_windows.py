"""Windows over real sockets: who falls out, for whom it is held, who is told before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from pushd.log import watch
from pushd.settings.namespaces import Namespace
from tests.log.support import written
from tests.support.app import KEY, Server, running_server
from tests.support.http import patience
from tests.support.sessions import epoch

SPACES = {
    "held": Namespace(public=True, retention={"messages": 3}, hold={"age_s": 1e6, "messages": 20}),
    "few": Namespace(public=True, retention={"messages": 3}),
    "ten": Namespace(public=True, retention={"messages": 10}),
    "typing": Namespace(public=True, ephemeral=True, retention={"messages": 10}),
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


# -- who is told before --------------------------------------------------------------------------


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[Server]:
    """Ten are kept of twelve, and nothing is cut yet."""
    async with running_server(
        tmp_path, namespaces=SPACES, retention_interval=3600.0, max_pull_bytes=1200
    ) as server:
        await fill(server, "ten:a", 12)
        await fill(server, "few:a", 2)
        yield server


# After these, so many are about to go: 1 and 2 at the next look, 3 with the next message.
GOING = [(0, 3, 0), (1, 2, 0), (2, 1, None)]


@pytest.mark.parametrize(("next_", "messages", "in_ms"), [*GOING, (3, None, None)])
async def test_who_is_about_to_fall_out_is_told(
    behind: Server, next_: int, messages: int | None, in_ms: int | None
) -> None:
    """Over HTTP by what a pull leaves behind, in heads by what was given or is said to be."""
    expected = None if messages is None else {"messages": messages, "in_ms": in_ms}
    cursor = f"{epoch(behind, 'ten:a')}.{next_}"
    if next_:
        for _ in range(2):  # the second is a finished answer
            answer = await behind.pull("ten:a", behind.token(), after=0, limit=next_)
            assert (answer.json["next"], answer.json.get("expiring")) == (cursor, expected)
        body = {"cursors": {"ten:a": "0"}, "limit": next_}
        answer = await behind.ask("POST", "/v1/pull", token=behind.token(), body=body)
        assert answer.json["channels"]["ten:a"].get("expiring") == expected
        await pull(behind, "ten:a", next_)
        await written(behind.hub.log)
    target = "/v1/ws?channels=ten:a&device=phone"
    async with behind.socket(target, token=behind.token()) as socket:
        head = (await socket.expect("hello"))["heads"]["ten:a"]
        assert head.get("expiring") == (expected if next_ else None)
        await socket.send({"type": "subscribe", "channels": {"ten:a": cursor}})
        head = (await socket.expect("subscribed"))["heads"]["ten:a"]
        assert head.get("expiring") == expected


async def test_answers_that_find_no_room_tell_it_as_well(behind: Server) -> None:
    """The first is shortened, the second comes without messages."""
    big = "x" * 900
    for _ in range(12):
        await behind.publish("ten:big", big)
    cursors = {"few:a": "0", "ten:big": "0", "ten:a": "0"}
    body = {"cursors": cursors, "limit": 100}
    answer = await behind.ask("POST", "/v1/pull", token=behind.token(), body=body)
    channels = answer.json["channels"]
    assert "expiring" not in channels["few:a"]
    assert len(channels["ten:big"]["messages"]) == 1
    assert channels["ten:big"]["expiring"] == {"messages": 2, "in_ms": 0}
    assert (channels["ten:a"]["messages"], channels["ten:a"]["more"]) == ([], True)
    assert channels["ten:a"]["expiring"] == {"messages": 3, "in_ms": 0}


async def test_an_ephemeral_channel_has_nothing_to_miss(behind: Server) -> None:
    await fill(behind, "typing:a", 12)
    answer = await behind.pull("typing:a", after=0, limit=1)
    assert (answer.json["more"], "expiring" in answer.json) == (True, False)


async def test_history_tells_nothing(behind: Server) -> None:
    answer = await behind.pull("ten:a", before=4, limit=1)
    assert (answer.json["more"], "expiring" in answer.json) == (True, False)


async def test_by_age_it_says_when(tmp_path: Path) -> None:
    """A window of an hour of which the last nine tenths are told: all but what is minutes old."""
    async with running_server(
        tmp_path, retention_age=3600.0, expiring_percent=90, retention_interval=3600.0
    ) as server:
        await fill(server, "news", 3)
        head = server.hub.log.heads["news"]
        assert "expiring" not in (await server.pull("news", after=0, limit=1)).json
        # Stored half an hour ago.
        head.first_at -= 1_800_000
        head.at -= 1_800_000
        told = (await server.pull("news", after=0, limit=2)).json["expiring"]
        assert told["messages"] == 1
        assert 1_700_000 < told["in_ms"] <= 1_800_000


async def gauge(server: Server, name: str) -> dict[str, float]:
    """By namespace, as /metrics has it."""
    text = (await server.ask("GET", "/metrics")).body.decode()
    return {
        sample.labels["namespace"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


@pytest.mark.usefixtures("looks_are_quick")
async def test_whoever_watches_all_sees_channels_that_devices_fall_out_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LATE_S", 0.0)
    monkeypatch.setattr(watch, "ALL_S", 0.0)
    async with running(tmp_path) as server:

        async def becomes(name: str, expected: dict[str, float]) -> None:
            with patience():
                while await gauge(server, name) != expected:
                    await trio.sleep(0.01)

        await becomes("pushd_channels_falling_out", {"": 0})
        # A channel of ten that is half full, two that are full.
        for channel, count in [("ten:half", 5), ("ten:a", 10), ("ten:b", 10)]:
            await fill(server, channel, count)
            await pull(server, channel, 1)
        await written(server.hub.log)
        await fill(server, "ten:a", 1)
        await becomes("pushd_channels_falling_out", {"": 0, "ten": 1})
        assert [head.channel for head in server.hub.log.falling_out()] == ["ten:a"]
        await fill(server, "ten:b", 1)
        await becomes("pushd_channels_falling_out", {"": 0, "ten": 2})
        # One gets on, the other falls out: then it is too late to be told of.
        await pull(server, "ten:a", 11)
        await fill(server, "ten:b", 1)
        await becomes("pushd_channels_falling_out", {"": 0})
        assert await gauge(server, "pushd_channels_held") == {"": 0}
        await fill(server, "held:a", 4)
        await pull(server, "held:a", 2)
        await written(server.hub.log)
        await fill(server, "held:a", 4)
        await becomes("pushd_channels_held", {"": 0, "held": 1})
        await pull(server, "held:a", 8)
        await becomes("pushd_channels_held", {"": 0})
