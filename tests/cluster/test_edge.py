"""A client at an edge is served as the owner would: publishes, pulls, held polls, hints, marks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from pushd.answers import answer_of
from pushd.cluster.bus.bus import Bus
from pushd.cluster.edge.following import Following
from tests.support.app import KEY, Server, running_server, until
from tests.support.redis import RedisServer

CLUSTER_KEY = "the key of this test's cluster"

pytestmark = pytest.mark.usefixtures("patient_nodes")


class Pair(NamedTuple):
    """``owner`` has the log, ``edge`` follows it."""

    owner: Server
    edge: Server
    redis: RedisServer


@asynccontextmanager
async def pair(home: Path, **settings: Any) -> AsyncIterator[Pair]:
    """Two nodes and a real Redis."""
    async with RedisServer(home / "redis") as redis:
        common = {"redis": redis.url, "cluster_key": CLUSTER_KEY, **settings}
        async with (
            running_server(home / "owner", node_id="owner", **common) as owner,
            running_server(home / "edge", node_id="edge", edge=True, **common) as edge,
        ):
            yield Pair(owner, edge, redis)


async def test_a_publish_at_either_is_pulled_at_the_other(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes:
        for publish, pull in ((nodes.owner, nodes.edge), (nodes.edge, nodes.owner)):
            stored = await publish.publish("news", "one")
            answer = await pull.pull("news", after="0", atleast=stored["seq"])
            assert answer.json["messages"][-1]["data"] == "one"
            assert answer.json["next"] == f"{stored['epoch']}.{stored['seq']}"
        # An edge that has not been told of the second yet may give out the first alone.
        both = [await each.pull("news", after="0", atleast=2) for each in (nodes.owner, nodes.edge)]
        assert both[0].json == both[1].json


async def test_a_held_poll_at_an_edge_is_answered_by_a_publish_elsewhere(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes, trio.open_nursery() as nursery:
        answers = []

        async def poll() -> None:
            answers.append(await nodes.edge.pull("news", after="0", wait=60))

        nursery.start_soon(poll)
        await until(lambda: nodes.edge.hub.pulls.held)
        await nodes.owner.publish("news", "hello")
        await until(lambda: answers)
        assert [each["data"] for each in answers[0].json["messages"]] == ["hello"]


async def test_hints_reach_the_sockets_of_an_edge(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes:
        edge = nodes.edge
        async with edge.socket("/v1/ws?channels=news", token=edge.token()) as socket:
            await socket.expect("hello")
            stored = await nodes.owner.publish("news")
            hint = await socket.expect("hint")
            assert (hint["epoch"], hint["seq"]) == (stored["epoch"], stored["seq"])
            inbox = await nodes.owner.publish("user:alice:orders")
            told = await socket.expect("subscribed")
            assert told["heads"]["user:alice:orders"]["head"] == inbox["seq"]


async def test_marks_of_an_edge_are_at_the_owner(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes:
        stored = [await nodes.owner.publish("user:alice", number) for number in range(3)]
        cursor = f"{stored[1]['epoch']}.{stored[1]['seq']}"
        body = {"cursors": {"user:alice": cursor}, "device": "phone"}
        token = nodes.edge.token()
        answer = await nodes.edge.ask("POST", "/v1/ack", token=token, body=body)
        assert answer.status == 204, answer
        for server in (nodes.edge, nodes.owner):  # known here at once, there a little later

            async def is_there(server: Server = server) -> bool:
                answer = await server.pull("user:alice", token, device="phone", atleast=3)
                return [each["data"] for each in answer.json["messages"]] == [2]

            assert server is nodes.owner or await is_there()
            with trio.fail_after(60):
                while not await is_there():
                    await trio.sleep(0.01)


async def test_what_is_trimmed_redacted_or_deleted_is_so_at_an_edge(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes:
        log = nodes.owner.hub.log
        for number in range(5):
            stored = await nodes.owner.publish("news", number)
        old = f"{stored['epoch']}.1"
        first = await nodes.edge.pull("news", after=old, atleast=5)
        assert len(first.json["messages"]) == 4
        await answer_of(partial(log.redact, "news", 4))
        heads = nodes.edge.hub.log.heads
        await until(lambda: heads["news"].redactions)
        assert (await nodes.edge.pull("news", after=old)).json["messages"][2]["data"] is None
        await answer_of(partial(log.trim, "news", 4))
        await until(lambda: heads["news"].first == 4)
        reset = await nodes.edge.pull("news", after=old)
        assert reset.json == (await nodes.owner.pull("news", after=old)).json
        assert reset.code == "expired"
        await answer_of(partial(log.delete, "news"))
        await until(lambda: "news" not in heads)
        assert (await nodes.edge.pull("news", after=old)).code == "epoch_changed"


async def test_an_edge_that_is_behind_asks_before_it_says_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It hears of nothing by itself: all hints are lost, and the owner is hardly ever asked.
    monkeypatch.setattr(Bus, "publish_hints", lambda bus, hint: None)
    async with pair(tmp_path, cluster_sync=60.0) as nodes:
        stored = await nodes.owner.publish("news", "one")
        cursor = f"{stored['epoch']}.{stored['seq']}"
        answer = await nodes.edge.pull("news", after=cursor)
        assert (answer.status, answer.json["next"]) == (200, cursor)
        ahead = f"{stored['epoch']}.{stored['seq'] + 1}"
        assert (await nodes.edge.pull("news", after=ahead)).code == "cursor_ahead"
        await nodes.owner.publish("more", "two")
        body = {"cursors": {"more": "0"}, "atleast": {"more": 1}}
        answer = await nodes.edge.ask("POST", "/v1/pull", token=KEY, body=body)
        assert [each["data"] for each in answer.json["channels"]["more"]["messages"]] == ["two"]


async def test_a_thousand_subscribers_cost_the_owner_one_pull_per_increment(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path, max_connections_per_user=2000) as nodes:
        edge, owner = nodes.edge, nodes.owner
        async with trio.open_nursery() as nursery:
            polls = 1000
            answered: list[int] = []

            async def poll() -> None:
                answer = await edge.pull("news", after="0", wait=60)
                answered.append(len(answer.json["messages"]))

            for _ in range(polls):
                nursery.start_soon(poll)
            await until(lambda: len(edge.hub.pulls.held) == polls)
            before = owner.hub.counters.pulls
            await owner.publish("news", "for all of them")
            await until(lambda: len(answered) == polls)
        assert answered == [1] * polls
        assert owner.hub.counters.pulls - before == 1


async def test_who_publishes_at_an_edge_has_read_it_at_once(tmp_path: Path) -> None:
    """The next request, wherever it lands, counts nothing of one's own as unread."""
    async with pair(tmp_path) as nodes:
        token = nodes.edge.token("alice", publish=["user:alice:*"])
        path = "/v1/channels/user:alice:notes/messages"
        for number in range(10):
            body = {"data": number}
            assert (await nodes.edge.ask("POST", path, token=token, body=body)).status == 201
            for server in (nodes.owner, nodes.edge):
                inbox = (await server.ask("GET", "/v1/inbox", token=token)).json
                [notes] = [item for item in inbox["items"] if item["channel"].endswith("notes")]
                assert (notes["head"], notes["unread"]) == (number + 1, 0)


async def test_what_the_owner_takes_at_once_an_edge_takes(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes:
        for count, size in ((10_000, 1_000), (200, 60_000)):
            channels = [f"c{number}" for number in range(count)]
            body = {"to": {"channels": channels}, "message": {"data": "x" * size}}
            for node in (nodes.owner, nodes.edge):
                answer = await node.ask("POST", "/v1/publish", token=KEY, body=body)
                assert answer.status == 200, answer
                assert [each["channel"] for each in answer.json["results"]] == channels


async def test_rights_that_are_taken_at_the_owner_are_gone_at_an_edge(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes:
        edge, log = nodes.edge, nodes.owner.hub.log
        groups, token = edge.hub.log.groups, edge.token("alice")
        await answer_of(partial(log.change_members, "team", ["alice", "bob"], []))
        await until(lambda: groups.has("team", "alice"))
        await nodes.owner.publish("group:team", "hello")
        await until(lambda: "group:team" in edge.hub.log.heads)
        answer = await edge.pull("group:team", token, after="0")
        assert [each["data"] for each in answer.json["messages"]] == ["hello"]
        async with edge.socket("/v1/ws", token=token) as socket, trio.open_nursery() as nursery:
            hello = await socket.expect("hello")
            assert "group:team" in hello["heads"]
            held: list[str] = []

            async def poll() -> None:
                cursor = answer.json["next"]
                held.append((await edge.pull("group:team", token, after=cursor, wait=60)).code)

            nursery.start_soon(poll)
            await until(lambda: edge.hub.pulls.held)
            await answer_of(partial(log.change_members, "team", [], ["alice"]))
            gone = await socket.expect("unsubscribed")
            assert gone["channels"] == ["group:team"]
            await until(lambda: held)
            assert held == ["forbidden"]
            assert (await edge.pull("group:team", token, after="0")).code == "forbidden"
            await answer_of(partial(log.revoke, "user", "alice", time.time() + 60))
            bye = await socket.expect("bye")
            assert (bye["code"], bye["reason"]) == (4001, "revoked")
        assert (await edge.pull("all", token, after="0")).code == "unauthorized"
        await answer_of(partial(log.unrevoke, "user", "alice"))
        await until(lambda: not edge.hub.log.revocations)
        assert (await edge.pull("all", token, after="0")).status == 200


async def test_an_owner_where_much_changes_is_asked_no_more_often_than_it_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    least, asked, step = 0.5, list[float](), Following.step

    async def noted(self: Following) -> bool:
        asked.append(trio.current_time())
        return await step(self)

    async with pair(tmp_path) as nodes, trio.open_nursery() as nursery:
        monkeypatch.setattr("pushd.cluster.edge.edge.LEAST_S", least)
        monkeypatch.setattr(Following, "step", noted)

        async def change() -> None:
            for number in count():
                member = f"u{number % 100}"
                await answer_of(partial(nodes.owner.hub.log.change_members, "team", [member], []))
                await answer_of(partial(nodes.owner.hub.log.change_members, "team", [], [member]))

        nursery.start_soon(change)
        await until(lambda: len(asked) > 5)
        nursery.cancel_scope.cancel()
    # Half of it: the machine may stand still between the look at the clock and the question.
    assert all(later - before >= least / 2 for before, later in pairwise(asked[1:]))
