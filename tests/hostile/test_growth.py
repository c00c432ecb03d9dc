"""Growth: names, devices, ids and lines by the thousand leave nothing behind and nobody waiting."""

from __future__ import annotations

import json
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import trio

from tests.hostile.node import serves_on
from tests.support.app import KEY, Server, running_server, until
from tests.support.http import ConnectionLost, patience, request
from tests.support.sessions import session

MANY = 3000


def sizes(server: Server) -> dict[str, int]:
    """Everything that names of strangers could make grow."""
    hub = server.hub
    return {
        "heads": len(hub.log.heads),
        "topics": len(hub.fanout.topics),
        "held": len(hub.pulls.held),
        "wheel": len(hub.wheel),
        "sessions": len(hub.sessions.by_id),
        "users": len(hub.sessions.by_user),
        "tails": hub.tails.size,
        "bodies": hub.bodies.used,
    }


async def test_reading_invented_names_creates_nothing(server: Server) -> None:
    token = server.token()
    async with server.peer() as peer:
        await peer.ask("GET", "/healthz")
        before = sizes(server)
        for number in range(0, MANY, 100):
            await peer.write(
                b"".join(
                    request("GET", f"/v1/channels/n{number + at}/messages?after=0", token=token)
                    for at in range(100)
                )
            )
            for _ in range(100):
                assert (await peer.answer()).status == 200
        for number in range(0, MANY, 100):
            names = {f"m{number + at}": "0" for at in range(100)}
            answer = await peer.ask("POST", "/v1/pull", token=token, body={"cursors": names})
            assert len(answer.json["channels"]) == 100
        assert sizes(server) == before
    await serves_on(server)


async def test_held_polls_of_invented_names_leave_nothing(server: Server) -> None:
    before = sizes(server)
    for number in range(50):
        async with server.peer() as peer:
            names = {f"h{number}-{at}": "0" for at in range(100)}
            body = {"cursors": names, "wait": 30}
            await peer.write(request("POST", "/v1/pull", token=KEY, body=body))
            await until(lambda: server.hub.pulls.held)
        await until(lambda: not server.hub.pulls.held)
    await until(lambda: not server.hub.connections)
    assert sizes(server) == before


async def test_subscribing_to_invented_names_is_bounded_and_leaves_nothing(server: Server) -> None:
    before = sizes(server)
    async with session(server) as socket:
        for number in range(30):
            names = {f"s{number}-{at}": "0" for at in range(100)}
            await socket.send({"type": "subscribe", "channels": names})
            await socket.expect("subscribed")
        [live] = server.hub.sessions.of_user("alice")
        assert len(live.subscriptions) == server.hub.settings.max_channels_per_session
    await until(lambda: not server.hub.connections)
    assert sizes(server) == before


async def test_a_device_per_request(server: Server) -> None:
    """As many devices as a user may have are remembered, the newest of them."""
    stored = await server.publish("news", 1)
    cursor = f"{stored['epoch']}.1"
    token = server.token()
    async with server.peer() as peer:
        for number in range(500):
            target = f"/v1/channels/news/messages?after={cursor}&device=d{number}"
            assert (await peer.ask("GET", target, token=token)).status == 200
    with patience():  # until the marks are on disk, where their number is bounded
        while len(devices := await _devices(server)) > 20:
            pass
    assert len(devices) == 20
    await serves_on(server)


async def _devices(server: Server) -> list[str]:
    answer = await server.ask("GET", "/v1/users/alice", token=KEY)
    [channel] = answer.json["channels"]
    return [each["device"] for each in channel["devices"]]


async def test_ids_and_topics_by_the_thousand(server: Server) -> None:
    """Each its own channel and its own id: stored, counted, and the answers stay in order."""
    lines = b"".join(
        json.dumps({"channel": f"t{number}", "id": f"id{number}", "data": number}).encode() + b"\n"
        for number in range(MANY)
    )
    headers = {"Content-Type": "application/x-ndjson"}
    for duplicate in (False, True):
        answer = await server.ask("POST", "/v1/publish", token=KEY, body=lines, headers=headers)
        results = [json.loads(line) for line in answer.body.splitlines()]
        assert [each["channel"] for each in results] == [f"t{n}" for n in range(MANY)]
        assert all(each.get("duplicate", False) is duplicate for each in results)
    assert len(server.hub.log.heads) == MANY
    await serves_on(server)


async def test_ndjson_whose_results_nobody_reads(tmp_path: Path) -> None:
    """The answers stop the requests; at the write deadline the peer is cut; others are served."""

    def small(listener: Any) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    async with running_server(tmp_path, write_timeout=0.5, tune=small) as server:
        body = b'{"channel":"lines","data":1}\n' * 5000
        headers = {"Content-Type": "application/x-ndjson"}
        data = request("POST", "/v1/publish", token=KEY, body=body, headers=headers)
        async with server.peer() as greedy, trio.open_nursery() as nursery:
            nursery.start_soon(_push, greedy, data)
            for _ in range(5):
                await serves_on(server)
            nursery.cancel_scope.cancel()
        await until(lambda: not server.hub.connections)
        await until(lambda: server.hub.bodies.used == 0)


async def _push(peer: Any, data: bytes) -> None:
    try:
        while True:
            await peer.write(data)
    except ConnectionLost:
        await trio.sleep_forever()


async def test_128_cursors_of_a_mebibyte_each(tmp_path: Path) -> None:
    """One mebibyte in all, each channel its turn; nobody else waits for it."""
    async with running_server(tmp_path, max_new_channels=1000) as server:
        names = [f"c{number}" for number in range(128)]
        for name in names:
            await server.publish(name, "x" * 60_000)
            await server.publish(name, "x" * 60_000)
        body = {"cursors": dict.fromkeys(names, "0"), "limit": 1000}
        async with server.peer() as peer:
            await peer.write(request("POST", "/v1/pull", token=KEY, body=body))
            await serves_on(server)
            answer = await peer.answer()
        assert answer.status == 200
        assert len(answer.body) < (1 << 20) + 128 * 300 + 130_000
        assert list(answer.json["channels"]) == names
        body["cursors"] = dict.fromkeys([*names, "one-more"], "0")
        refused = await server.ask("POST", "/v1/pull", token=KEY, body=body)
        assert (refused.status, refused.code) == (413, "too_large")


async def test_one_user_with_all_it_may_have_holds_nobody_up(tmp_path: Path) -> None:
    """Frames, pipelines and publishes without a pause, on twenty sessions: others are served."""
    # Else, after a burst, it would be closed for what it publishes.
    async with running_server(tmp_path, user_messages_per_second=None) as server:
        await _be_greedy(server)


async def _be_greedy(server: Server) -> None:
    token = server.token("greedy", publish=["g*"])

    async def frames() -> None:
        async with session(server, "greedy", publish=["g*"]) as socket:
            message = {"type": "publish", "to": {"channels": ["g"]}, "message": {"data": "x" * 500}}
            while True:
                for _ in range(50):
                    await socket.send(message)
                for _ in range(50):
                    await socket.message()

    async def pipelines() -> None:
        async with server.peer() as peer:
            asked = request("GET", "/v1/channels/g/messages?after=0&limit=1", token=token)
            while True:
                await peer.write(asked * 50)
                for _ in range(50):
                    assert (await peer.answer()).status == 200

    with patience():
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(frames)
                nursery.start_soon(pipelines)
            await until(lambda: "g" in server.hub.log.heads)
            for _ in range(5):
                await serves_on(server)
            nursery.cancel_scope.cancel()
    seqs = (await server.pull("g", after=0, limit=100)).json["messages"]
    assert all(after["seq"] == before["seq"] + 1 for before, after in pairwise(seqs))
