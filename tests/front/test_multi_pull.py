"""``POST /v1/pull``: many channels in one answer, each as its own pull would have it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import KEY, Server, running_server, until
from tests.support.http import Answer, request


async def ask(server: Server, token: str = KEY, **body: Any) -> Answer:
    return await server.ask("POST", "/v1/pull", token=token, body=body)


async def channels(server: Server, token: str = KEY, **body: Any) -> dict[str, Any]:
    answer = await ask(server, token, **body)
    assert answer.status == 200, answer.json
    found: dict[str, Any] = answer.json["channels"]
    return found


def data(entry: dict[str, Any]) -> list[Any]:
    return [message["data"] for message in entry["messages"]]


async def test_each_channel_as_its_own_pull(server: Server) -> None:
    for channel in "abc":
        for number in range(5):
            await server.publish(channel, f"{channel}{number}")
    epochs = {name: head.epoch for name, head in server.hub.log.heads.items()}
    cursors = {"c": f"{epochs['c']}.3", "a": "0", "nobody": "0", "b": "head"}
    found = await channels(server, cursors=cursors, limit=2)
    assert list(found) == list(cursors), "in the order asked for"
    for name, cursor in cursors.items():
        assert found[name] == (await server.pull(name, after=cursor, limit=2)).json


async def test_resets_and_errors_stand_with_their_channel(server: Server) -> None:
    await server.publish("a", 1)
    await server.publish("b", 1)
    token = server.token("alice", subscribe=["a", "b", "c"])
    cursors = {"a": "0", "b": "000000001.1", "secret": "0", "c": "5", "x/y": "0", "d*": "0"}
    found = await channels(server, token, cursors=cursors, wait=60)
    assert data(found["a"]) == [1]
    alone = (await server.pull("b", after="000000001.1")).json
    assert found["b"] == {"reset": {k: v for k, v in alone.items() if k not in ("type", "title")}}
    codes = [found[name]["error"]["code"] for name in ("secret", "c", "x/y", "d*")]
    assert codes == ["forbidden", "bad_request", "bad_request", "bad_request"]
    assert not server.hub.pulls.held, "what is wrong is told at once"


async def test_mine(server: Server) -> None:
    token = server.token("alice", device="d1")
    for channel in ("user:alice", "user:alice:orders", "user:bob", "all", "news"):
        await server.publish(channel, channel)
    found = await channels(server, token, mine=True)
    assert list(found) == ["all", "user:alice", "user:alice:orders"]
    assert data(found["user:alice"]) == ["user:alice"], "inboxes from the start"
    assert data(found["all"]) == [], "everything else from now on"
    # What a client passes back is what it has, and what its device goes on from.
    cursors = {name: entry["next"] for name, entry in found.items()}
    assert all(
        data(entry) == [] for entry in (await channels(server, token, cursors=cursors)).values()
    )
    await server.publish("user:alice", "again")
    assert data((await channels(server, token, mine=True))["user:alice"]) == ["again"]
    other = await channels(server, server.token("alice"), mine=True, device="d2")
    assert data(other["user:alice"]) == ["user:alice", "again"], "another device"


async def test_mine_and_cursors_of_the_same_channel(server: Server) -> None:
    await server.publish("user:alice", 1)
    await server.publish("user:alice", 2)
    epoch = server.hub.log.heads["user:alice"].epoch
    cursors = {"user:alice": f"{epoch}.1"}
    found = await channels(server, server.token("alice"), cursors=cursors, mine=True)
    assert list(found) == ["user:alice", "all"]
    assert data(found["user:alice"]) == [2]


@pytest.mark.parametrize("moved", ["news", "user:alice", "all", "user:alice:brandnew"])
async def test_held_until_any_of_them_moves(server: Server, moved: str) -> None:
    token = server.token("alice")
    async with server.peer() as peer:
        body = {"cursors": {"news": "0", "other": "0"}, "mine": True, "wait": 60}
        for number in (1, 2):
            await peer.write(request("POST", "/v1/pull", token=token, body=body))
            await until(lambda: server.hub.pulls.held)
            await server.publish("elsewhere", number)
            await server.publish(moved, number)
            answer = (await peer.answer()).json
            found = answer["channels"]
            assert data(found[moved])[-1] == number
            assert {name for name in found if found[name]["messages"]} == {moved}
            assert answer["notices"] == []
            body["cursors"] = {name: entry["next"] for name, entry in found.items()}
    await until(lambda: not server.hub.fanout.topics)
    assert not server.hub.pulls.held


async def test_held_until_the_time_is_up(server: Server) -> None:
    found = await channels(server, cursors={"a": "0", "b": "head"}, wait=0.05)
    assert [data(entry) for entry in found.values()] == [[], []]
    assert not server.hub.fanout.topics


async def test_held_no_longer_than_the_server_says(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_wait=0.05) as server:
        assert data((await channels(server, cursors={"a": "0"}, wait=3600))["a"]) == []


async def test_a_token_that_expires_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server.peer() as peer:
        body = {"mine": True, "wait": 60}
        await peer.write(request("POST", "/v1/pull", token=server.token("alice"), body=body))
        await until(lambda: server.hub.pulls.held)
        later = time.time() + 7200
        monkeypatch.setattr(time, "time", lambda: later)
        await server.publish("user:alice", "secret")
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "token_expired")
        assert b"secret" not in answer.body


async def test_a_client_that_leaves_is_forgotten(server: Server) -> None:
    async with server.peer() as peer:
        body = {"cursors": dict.fromkeys("abcdef", "0"), "wait": 60}
        await peer.write(request("POST", "/v1/pull", token=KEY, body=body))
        await until(lambda: server.hub.pulls.held)
        assert len(server.hub.fanout.topics) == 6
    await until(lambda: not server.hub.pulls.held)
    assert not server.hub.fanout.topics


@pytest.mark.parametrize("memory", [0, 1 << 28], ids=["from the file", "from memory"])
async def test_all_together_are_cut_at_their_bytes(tmp_path: Path, memory: int) -> None:
    limits: dict[str, Any] = {"max_pull_bytes": 20_000, "tail_cache": memory}
    async with running_server(tmp_path, **limits) as server:
        for channel in "abcd":
            for _ in range(2):
                await server.publish(channel, channel * 4000)
        cursors: dict[str, str] = dict.fromkeys("abcd", "0")
        received: dict[str, int] = dict.fromkeys("abcd", 0)
        for _ in range(8):
            answer = await ask(server, cursors=cursors)
            assert len(answer.body) < 21_500, "of the last that fits only in part, one message"
            for name, entry in answer.json["channels"].items():
                received[name] += len(entry["messages"])
                assert entry["more"] == (received[name] < 2)
                cursors[name] = entry["next"]
            if not any(entry["more"] for entry in answer.json["channels"].values()):
                break
        assert received == dict.fromkeys("abcd", 2)


@pytest.mark.parametrize("busy", [False, True])
async def test_who_is_far_behind_in_one_channel_gets_on(tmp_path: Path, busy: bool) -> None:
    """However many others there are, quiet ones or one that always has news."""
    async with running_server(tmp_path, max_pull_bytes=5000) as server:
        for _ in range(10):
            await server.publish("z", "x" * 1000)
        cursors = dict.fromkeys([*(f"c{number}" for number in range(100)), "z"], "0")
        received = 0
        while received < 10:
            if busy:
                await server.publish("c0", "news")
            found = await channels(server, cursors=cursors)
            assert found["z"]["messages"]
            received += len(found["z"]["messages"])
            cursors = {name: entry["next"] for name, entry in found.items()}


async def test_one_message_comes_even_if_it_alone_is_too_much(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_pull_bytes=1024) as server:
        await server.publish("a", "x" * 5000)
        await server.publish("b", "x" * 5000)
        found = await channels(server, cursors={"a": "0", "b": "0"})
        assert sum(len(entry["messages"]) for entry in found.values()) == 1


BAD: list[tuple[dict[str, Any], int]] = [
    ({}, 400),
    ({"cursors": {}}, 400),
    ({"cursors": {}, "mine": False}, 400),
    ({"cursors": ["news"]}, 400),
    ({"cursors": {"news": 0}}, 400),
    ({"cursors": {"news": None}}, 400),
    ({"cursors": {"a": "0"}, "limit": 0}, 400),
    ({"cursors": {"a": "0"}, "limit": 1001}, 400),
    ({"cursors": {"a": "0"}, "limit": True}, 400),
    ({"cursors": {"a": "0"}, "limit": 1.5}, 400),
    ({"cursors": {"a": "0"}, "wait": -1}, 400),
    ({"cursors": {"a": "0"}, "wait": "1"}, 400),
    ({"cursors": {"a": "0"}, "device": "a/b"}, 400),
    ({"cursors": {"a": "0"}, "more": 1}, 400),
    ({"mine": True}, 400),  # asked by a service
    ({"cursors": {f"c{at}": "0" for at in range(129)}}, 413),
]


@pytest.mark.parametrize(("body", "status"), BAD, ids=lambda value: json.dumps(value)[:40])
async def test_bad_bodies(server: Server, body: dict[str, Any], status: int) -> None:
    answer = await ask(server, **body)
    assert (answer.status, answer.code) == (status, {400: "bad_request", 413: "too_large"}[status])


async def test_as_many_cursors_as_allowed(server: Server) -> None:
    assert len(await channels(server, cursors={f"c{at}": "0" for at in range(128)})) == 128
    assert server.hub.log.heads == {}
    assert not server.hub.fanout.topics


async def test_a_token_for_another_device(server: Server) -> None:
    answer = await ask(server, server.token("alice", device="d1"), mine=True, device="d2")
    assert (answer.status, answer.code) == (403, "forbidden")
