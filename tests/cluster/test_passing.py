"""What an edge does not know by itself, the owner answers through it, as if it had been asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.support.app import KEY, Server
from tests.support.nodes import Nodes, running_nodes

PATIENCE_S = 60.0
PAGE = "https://app.example.com"


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with running_nodes(tmp_path, origins=(PAGE,)) as nodes:
        yield nodes


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/channels", None),
        ("GET", "/v1/channels/news", None),
        ("GET", "/v1/channels/nothing", None),
        ("GET", "/v1/users?online=true", None),
        ("GET", "/v1/sessions", None),
        ("GET", "/v1/groups", None),
        ("GET", "/v1/channels/news/presence", None),
        ("GET", "/v1/channels/news/receipts?seq=1", None),
        ("POST", "/v1/channels/news/trim", {"before": 1}),
        ("DELETE", "/v1/channels/news/messages/77", None),
        ("HEAD", "/v1/channels", None),
        ("PATCH", "/v1/channels/news", None),
        ("GET", "/v1/nonsense", None),
    ],
)
async def test_the_answer_is_the_owner_s(
    nodes: Nodes, method: str, path: str, body: object
) -> None:
    await nodes.owner.publish("news", 1)
    answers = []
    for node in (nodes.owner, nodes.edge):
        answer = await node.ask(method, path, token=KEY, body=body, headers={"Origin": PAGE})
        kept = ("content-type", "access-control-allow-origin", "allow", "cache-control")
        headers = {name: answer.headers.get(name) for name in kept}
        answers.append((answer.status, headers, answer.body))
    assert answers[0] == answers[1]
    assert nodes.edge.hub.counters.passed_on == 1


async def test_it_is_the_client_who_is_judged(nodes: Nodes) -> None:
    edge = nodes.edge
    assert (await edge.ask("GET", "/v1/channels")).status == 401
    assert (await edge.ask("GET", "/v1/channels", token=edge.token("alice"))).status == 403
    assert (await edge.ask("DELETE", "/v1/channels/news", token="no-key-of-anybody")).status == 401


async def test_a_group_changed_through_an_edge_is_followed_there(nodes: Nodes) -> None:
    owner, edge = nodes.owner, nodes.edge
    async with edge.socket(token=edge.token("alice")) as socket:
        await socket.expect("hello")
        answer = await edge.ask("PUT", "/v1/groups/staff/members/alice", token=KEY)
        assert answer.status in (200, 201, 204), answer
        told = await socket.expect("subscribed")
        assert list(told["heads"]) == ["group:staff"]
        assert owner.hub.log.groups.has("staff", "alice")
        stored = await edge.publish("group:staff", "hello")
        hint = await socket.expect("hint")
        assert (hint["channel"], hint["seq"]) == ("group:staff", stored["seq"])
        pulled = await edge.pull("group:staff", edge.token("alice"), after="0")
        assert [each["data"] for each in pulled.json["messages"]] == ["hello"]


async def test_what_is_the_same_everywhere_is_answered_here(nodes: Nodes) -> None:
    edge = nodes.edge
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/client.js"):
        assert (await edge.ask("GET", path)).status == 200, path
    assert (await edge.ask("GET", "/v1/nodes", token=KEY)).status == 200
    assert edge.hub.counters.passed_on == 0


async def test_without_an_owner_it_says_so(nodes: Nodes) -> None:
    await _gone(nodes.owner)
    for method in ("GET", "HEAD"):
        with trio.fail_after(PATIENCE_S):
            answer = await nodes.edge.ask(method, "/v1/channels", token=KEY)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
    assert (await nodes.edge.ask("GET", "/v1/channels", token=KEY)).code == "not_ready"
    assert (await nodes.edge.ask("GET", "/healthz")).status == 200


async def _gone(server: Server) -> None:
    """The node stops, and nothing listens on its port any more."""
    server.stopper.asked.set()
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", server.port)).aclose()
            except OSError:
                return
            await trio.sleep(0.01)
