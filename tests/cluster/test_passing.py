"""What an edge does not know by itself, the owner answers through it, as if it had been asked."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from pushd.cluster.dialing import Dialed, dial
from pushd.cluster.edge import passing
from pushd.settings import Address
from tests.support.app import KEY, Server
from tests.support.nodes import Nodes, running_nodes

PATIENCE_S = 60.0

pytestmark = pytest.mark.usefixtures("patient_nodes")
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


async def test_nodes_meet_behind_a_path_prefix(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, path_prefix="/push") as nodes:
        path = "/push/v1/channels/news"
        answer = await nodes.edge.ask("POST", f"{path}/messages", token=KEY, body={"data": 1})
        assert answer.status == 201
        answer = await nodes.edge.ask("GET", path, token=KEY)
        assert (answer.status, answer.json["channel"]) == (200, "news")


async def test_without_an_owner_it_says_so(nodes: Nodes) -> None:
    await _gone(nodes.owner)
    for method in ("GET", "HEAD"):
        with trio.fail_after(PATIENCE_S):
            answer = await nodes.edge.ask(method, "/v1/channels", token=KEY)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
    assert (await nodes.edge.ask("GET", "/v1/channels", token=KEY)).code == "not_ready"
    assert (await nodes.edge.ask("GET", "/healthz")).status == 200


async def test_an_owner_that_breaks_off_or_says_nothing_is_told_of_as_away(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for many requests: the log tells of it, and is not flooded."""
    monkeypatch.setattr(passing, "REQUEST_S", 0.2)
    monkeypatch.setattr(passing, "CALM_S", 3600.0)
    edge = nodes.edge
    for reset in (True, False):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(_accept, reset)
            monkeypatch.setattr(passing, "dial", partial(_elsewhere, url))
            for _ in range(5):
                with trio.fail_after(PATIENCE_S):
                    answer = await edge.ask("GET", "/v1/channels", token=KEY)
                assert (answer.status, answer.code) == (503, "not_ready")
            nursery.cancel_scope.cancel()
    assert len([each for each in edge.log if "passed on" in each["event"]]) == 1


async def _elsewhere(url: str, _: str) -> Dialed:
    return await dial(url)


async def _accept(
    reset: bool, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """What is no owner: it takes requests, and answers nothing."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if reset:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()
        else:
            await trio.sleep_forever()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
    await trio.serve_listeners(serve, [listener])


async def test_who_is_not_served_as_an_administrator_is_not_so_through_an_edge(
    tmp_path: Path,
) -> None:
    """A session's channel that lives elsewhere is passed on; what only ``admin_listen`` serves is
    not, whatever it is named."""
    async with running_nodes(tmp_path, admin_listen=Address("127.0.0.1", 0)) as nodes:
        for method, path in (
            ("GET", "/v1/channels/session:abc"),
            ("DELETE", "/v1/channels/session:abc"),
            ("GET", "/v1/channels/%73ession:abc/receipts"),
            ("POST", "/v1/channels/session:abc/trim"),
            ("GET", "/v1/channels/session:messages"),
        ):
            answer = await nodes.edge.ask(method, path, token=KEY, body={})
            assert (answer.status, "not served here" in answer.json["detail"]) == (404, True), path
        assert nodes.edge.hub.counters.passed_on == 0
        answer = await nodes.edge.ask(
            "POST", "/v1/channels/session:abc/messages", token=KEY, body={"data": 1}
        )
        assert answer.status == 201
        assert nodes.edge.hub.counters.passed_on == 1


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
