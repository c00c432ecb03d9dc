"""Section 4, many channels: multi-pulls, and acknowledging without pulling."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.conformance.api import KEY, Answer, Api, fill, seqs
from tests.support.app import until


async def pull(api: Api, body: dict[str, Any], token: str = KEY) -> Answer:
    return await api.ask("POST", "/v1/pull", token=token, body=body)


async def ack(api: Api, cursors: dict[str, str], token: str, **more: Any) -> Answer:
    return await api.ask("POST", "/v1/ack", token=token, body={"cursors": cursors, **more})


async def test_many_channels_at_once(api: Api) -> None:
    epoch = await fill(api, 3)
    token = api.server.token("alice", subscribe=["news", "quiet"])
    await fill(api, 1, "user:alice")
    await fill(api, 1, "user:alice:orders")
    body = {
        "cursors": {"news": f"{epoch}.1", "quiet": "0", "secret": "0", "user:alice:x": "41"},
        "mine": True,
    }
    answer = await api.ask("POST", "/v1/pull", token=token, body=body)
    channels = answer.json["channels"]
    assert [each["seq"] for each in channels["news"]["messages"]] == [2, 3]
    assert channels["quiet"]["messages"] == []
    assert channels["secret"]["error"]["code"] == "forbidden"
    assert channels["user:alice:x"]["error"]["code"] == "bad_request"
    assert [each["seq"] for each in channels["user:alice"]["messages"]] == [1]
    assert [each["seq"] for each in channels["user:alice:orders"]["messages"]] == [1]
    assert channels["all"]["epoch"] == "none"
    assert answer.json["notices"] == []


@pytest.mark.parametrize("moves", ["news", "user:alice", "all", "user:alice:new"])
async def test_held_until_any_of_them_moves(api: Api, moves: str) -> None:
    epoch = await fill(api, 1)
    token = api.server.token("alice")
    body = {"cursors": {"news": f"{epoch}.1"}, "mine": True, "wait": 30}
    answers: list[Answer] = []

    async def wait() -> None:
        async with api.line() as line:
            answers.append(await line.ask("POST", "/v1/pull", token=token, body=body))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await until(lambda: api.server.hub.pulls.held)
        await api.publish(moves, "now")
        await until(lambda: answers)
    (message,) = answers[0].json["channels"][moves]["messages"]
    assert message["data"] == "now"


@pytest.mark.parametrize(("count", "status"), [(128, 200), (129, 413)])
async def test_how_many_cursors(api: Api, count: int, status: int) -> None:
    body = {"cursors": {f"c{number}": "0" for number in range(count)}}
    assert (await api.ask("POST", "/v1/pull", token=KEY, body=body)).status == status


async def test_what_is_given_goes_before_mine(api: Api) -> None:
    """And what is not given starts where the device was, else as a first contact."""
    token = api.server.token("alice", device="phone")
    epoch = await fill(api, 3, "user:alice")
    named = await fill(api, 2, "user:alice:orders")
    await fill(api, 2, "all")
    await ack(api, {"user:alice:orders": f"{named}.1"}, token)
    body = {"cursors": {"user:alice": f"{epoch}.2"}, "mine": True}
    channels = (await pull(api, body, token)).json["channels"]
    found = {name: [m["seq"] for m in each["messages"]] for name, each in channels.items()}
    assert found == {"user:alice": [3], "all": [], "user:alice:orders": [2]}


async def test_a_multi_pull_records_the_cursors_that_it_was_given(api: Api) -> None:
    token = api.server.token("alice")
    epoch = await fill(api, 4)
    for cursor, expected in (
        ("0", []),
        ("head", []),
        (f"{epoch}.2", [3, 4]),
        (f"{epoch}.1", [3, 4]),
        (f"{epoch}.9", [3, 4]),
    ):
        await pull(api, {"cursors": {"news": cursor}, "device": "phone"}, token)
        assert seqs(await api.pull("news", token, device="phone")) == expected, cursor
    assert seqs(await api.pull("news", token, device="tablet")) == []


async def test_each_channel_has_its_limit_and_all_have_a_megabyte(api: Api) -> None:
    for channel in ("a", "b", "c"):
        for _ in range(8):
            await api.publish(channel, "x" * 60_000)
    body: dict[str, Any] = {"cursors": dict.fromkeys("abc", "0"), "limit": 5}
    channels = (await pull(api, body)).json["channels"]
    assert [len(channels[name]["messages"]) for name in "abc"] == [5, 5, 5]
    answer = await pull(api, {**body, "limit": 1000})
    assert len(answer.body) <= 1024 * 1024 + 1024
    channels = answer.json["channels"]
    counts = [len(channels[name]["messages"]) for name in "abc"]
    assert counts[0] == 8
    assert sum(counts) in (16, 17)
    assert [channels[name]["more"] for name in "abc"] == [count < 8 for count in counts]
    # Nothing is lost: it is asked for again.
    cursors = {name: channels[name]["next"] for name in "abc"}
    rest = (await pull(api, {"cursors": cursors, "limit": 1000})).json["channels"]
    assert [len(rest[name]["messages"]) for name in "abc"] == [8 - count for count in counts]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"cursors": {}},
        {"mine": True},
        {"cursors": {"news": "0"}, "limit": 0},
        {"cursors": {"news": "0"}, "limit": 1001},
        {"cursors": {"news": "0"}, "wait": -1},
        {"cursors": {"news": "0"}, "wait": "long"},
        {"cursors": {"news": 0}},
        {"cursors": ["news"]},
        {"cursors": {"news": "0"}, "channels": ["news"]},
        {"cursors": {"news": "0"}, "device": "a b"},
    ],
    ids=str,
)
async def test_multi_pulls_that_cannot_be(api: Api, body: dict[str, Any]) -> None:
    await fill(api, 1)
    assert (await pull(api, body)).code == "bad_request", "a service has nothing that is its own"


async def test_whatever_can_be_told_is_told_at_once(api: Api) -> None:
    """A message, a reset or an error of one of them: the others are not waited for."""
    epoch = await fill(api, 2)
    for cursors in (
        {"quiet": "0", "news": f"{epoch}.1"},
        {"quiet": "0", "news": f"{epoch}.9"},
        {"quiet": "0", "news": "41"},
        {"quiet": "0", "a b": "0"},
    ):
        answer = await pull(api, {"cursors": cursors, "wait": 30})
        assert set(answer.json["channels"]) == set(cursors)
    # What may not be read is an error, too, and nothing of it is recorded.
    token = api.server.token("alice", device="phone", subscribe=["quiet"])
    body = {"cursors": {"quiet": "0", "news": f"{epoch}.2"}, "wait": 30}
    answer = await pull(api, body, token)
    assert answer.json["channels"]["news"]["error"]["code"] == "forbidden"
    await api.publish("news", 3)
    reader = api.server.token("alice", device="phone", subscribe=["news"])
    assert seqs(await api.pull("news", reader)) == [], "still a first contact"


async def test_an_ack_records_without_pulling(api: Api) -> None:
    epoch = await fill(api, 5)
    token = api.server.token("alice", device="phone")
    body = {"cursors": {"news": f"{epoch}.3"}}
    assert (await api.ask("POST", "/v1/ack", token=token, body=body)).status == 204
    assert seqs(await api.pull("news", token)) == [4, 5]
    lower = {"cursors": {"news": f"{epoch}.1"}}
    assert (await api.ask("POST", "/v1/ack", token=token, body=lower)).status == 204
    assert seqs(await api.pull("news", token)) == [4, 5], "delivered only rises"


async def test_the_good_cursors_of_an_ack_are_recorded_all_the_same(api: Api) -> None:
    token = api.server.token("alice", device="phone", subscribe=["news", "sport"])
    epoch = await fill(api, 3)
    sport = await fill(api, 3, "sport")
    answer = await ack(api, {"news": f"{epoch}.2", "secret": "0", "sport": f"{sport}.9"}, token)
    assert (answer.code, answer.json["channel"]) == ("forbidden", "secret"), "the first of these"
    assert seqs(await api.pull("news", token)) == [3]
    answer = await ack(api, {"sport": f"{sport}.9", "news": f"{epoch}.3"}, token)
    assert (answer.code, answer.json["channel"]) == ("cursor_ahead", "sport")
    assert seqs(await api.pull("news", token)) == []
    assert seqs(await api.pull("sport", token)) == []


@pytest.mark.parametrize("cursor", ["head", "41", "", "0mhx3f9ab", "none.1"])
async def test_an_ack_names_what_was_received(api: Api, cursor: str) -> None:
    await fill(api, 2)
    answer = await ack(api, {"news": cursor}, api.server.token("alice", device="phone"))
    assert (answer.code, answer.json["channel"]) == ("bad_request", "news")


async def test_of_which_device_an_ack_is(api: Api) -> None:
    token = api.server.token("alice")
    epoch = await fill(api, 3)
    assert (await ack(api, {"news": f"{epoch}.2"}, token, device="phone")).status == 204
    assert (await ack(api, {"news": f"{epoch}.1"}, token)).status == 204, "nothing is recorded"
    assert (await ack(api, {"news": f"{epoch}.3"}, KEY)).status == 204, "nothing is recorded"
    assert seqs(await api.pull("news", token, device="phone")) == [3]
    assert seqs(await api.pull("news", token, device="tablet")) == []
    assert seqs(await api.pull("news", token)) == []


@pytest.mark.parametrize(("count", "status"), [(128, 204), (129, 413)])
async def test_how_many_acks(api: Api, count: int, status: int) -> None:
    cursors = {f"c{number}": "0" for number in range(count)}
    assert (await ack(api, cursors, KEY)).status == status
