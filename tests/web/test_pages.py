"""What Hypercorn and Quart serve: pages, lists, numbers; one request per connection."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pushd import __version__
from pushd.log.store import DATABASE
from pushd.settings.tables import ApiKeyTable
from tests.log.vaults import change
from tests.support.app import KEY, Server, running_server, until
from tests.support.http import request
from tests.support.sessions import session

DATE = "Sun, 22 Nov 2026 08:00:00 GMT"


@pytest.mark.parametrize("path", ["/", "/console/"])
async def test_pages(server: Server, path: str) -> None:
    answer = await server.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["connection"] == "close"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert answer.body.startswith(b"<!doctype html>")
    assert (__version__.encode() in answer.body) == (path == "/")
    assert b"{{" not in answer.body


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"Host": "push.example.com"}, "http://push.example.com"),
        ({"Host": "push.example.com", "X-Forwarded-Proto": "https"}, "https://push.example.com"),
        ({"Host": "[::1]:8081"}, "http://[::1]:8081"),
        ({"Host": "x.com", "X-Forwarded-Proto": "javascript"}, "http://localhost:8080"),
    ],
)
async def test_commands_name_the_address_that_the_page_was_asked_at(
    server: Server, headers: dict[str, str], address: str
) -> None:
    for path in ("/docs", "/console/"):
        page = (await server.ask("GET", path, headers=headers)).body.decode()
        assert f"{address}/v1/stats" in page
        assert headers["Host"] in address or headers["Host"] not in page


@pytest.mark.parametrize("host", ['x"><script>alert(1)</script>', "x;id"])
async def test_no_page_is_made_for_an_address_that_is_none(server: Server, host: str) -> None:
    answer = await server.ask("GET", "/docs", headers={"Host": host})
    assert (answer.status, answer.code) == (400, "bad_request")
    assert host.encode() not in answer.body


async def test_the_connection_is_closed_after_one_answer(server: Server) -> None:
    for path in ("/", "/v1/stats", "/nothing"):
        async with server.peer() as peer:
            await peer.write(request("GET", path, token=KEY))
            assert (await peer.answer()).headers["connection"] == "close"
            assert await peer.is_closed()
    await until(lambda: not server.hub.connections)


@pytest.mark.parametrize("path", ["/", "/v1/stats", "/v1/channels", "/metrics", "/nothing"])
async def test_head_has_no_body(server: Server, path: str) -> None:
    async with server.peer() as peer:
        await peer.write(request("HEAD", path, token=KEY))
        answer = await peer.answer(head=True)
        assert answer.status == (404 if path == "/nothing" else 200)
        assert int(answer.headers["content-length"]) > 0
        assert await peer.is_closed()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/channels/messages", 404),
        ("GET", "/v1/channels/news", 404),
        ("GET", "/v1/channels/news/messages/", 404),
        ("GET", "/v1/ws/", 404),
        ("GET", "/%00", 404),
        ("GET", "/%ff", 404),
        ("GET", "/..%2f..%2fetc%2fpasswd", 404),
        ("POST", "/", 405),
        ("DELETE", "/v1/stats", 405),
        ("PUT", "/v1/channels", 405),
    ],
)
async def test_what_is_not_served(server: Server, method: str, path: str, status: int) -> None:
    answer = await server.ask(method, path, token=KEY)
    assert answer.status == status
    assert answer.code == {404: "not_found", 405: "bad_request"}[status]
    if status == 405:
        assert "GET" in answer.headers["allow"]


async def test_the_console_without_its_slash(server: Server) -> None:
    answer = await server.ask("GET", "/console", headers={"Host": "push.example.com"})
    assert answer.status == 308
    assert answer.headers["location"] == "/console/"


async def test_a_body_in_chunks_is_handed_over_whole(server: Server) -> None:
    head = request("POST", "/v1/stats", token=KEY, headers={"Transfer-Encoding": "chunked"})
    head = head.replace(b"Content-Length: 0\r\n", b"")
    async with server.peer() as peer:
        await peer.write(head + b"3\r\nabc\r\n0\r\n\r\n")
        assert (await peer.answer()).status == 405
        assert await peer.is_closed()


async def test_http_1_0_without_a_host(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await peer.answer()).status == 200
        assert await peer.is_closed()


# -- numbers ------------------------------------------------------------------------------------


async def test_stats_tell_what_is_there(server: Server) -> None:
    for number in range(3):
        await server.publish(f"room:{number}", number)
    async with session(server), session(server), session(server, "bob"), server.peer() as peer:
        held = request("GET", "/v1/channels/news/messages?after=0&wait=30", token=KEY)
        await peer.write(held)
        await until(lambda: server.hub.pulls.held)
        stats = (await server.ask("GET", "/v1/stats", token=KEY)).json
    expected = {
        "version": __version__,
        "node": server.hub.node_id,
        "sessions": 3,
        "users": 2,
        "held_polls": 1,
        "channels": 3,
        "messages": 3,
        "backlog_bytes": 0,
        "age_retention": "on",
    }
    assert {name: stats[name] for name in expected} == expected
    assert stats["connections"] >= 5


async def test_stats_tell_that_age_retention_waits(tmp_path: Path) -> None:
    """After a start with a clock far ahead of what is on disk."""
    async with running_server(tmp_path) as server:
        await server.publish("news", 1)
    change(tmp_path / "log" / DATABASE, "UPDATE meta SET value = 1 WHERE key = 'believed_at'")
    async with running_server(tmp_path) as server:
        stats = (await server.ask("GET", "/v1/stats", token=KEY)).json
    assert stats["age_retention"] == "paused"


def metrics(text: bytes) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if not sample.labels
    }


async def test_metrics_count_what_happened(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # A finished answer is kept for the second that its Date names.
    monkeypatch.setattr("pushd.reaper.formatdate", lambda *_, **__: DATE)
    server.hub.responses.date = DATE.encode()
    token = server.token("alice", device="d1")
    async with session(server, target="/v1/ws?channels=news") as socket:
        stored = await server.publish("news", 1, id="m1")
        await server.publish("news", 1, id="m1")
        await socket.expect("hint")
        await server.pull("news", after=0)
        await server.pull("news", after=0)
        await server.pull("news", after="000000001.1")
        body = {"cursors": {"news": f"{stored['epoch']}.1"}}
        await server.ask("POST", "/v1/ack", token=token, body=body)
        await server.ask("GET", "/v1/nothing")
        answer = await server.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = metrics(answer.body)
    expected = {
        "pushd_publishes_total": 2,
        "pushd_messages_total": 1,
        "pushd_duplicates_total": 1,
        "pushd_pulls_total": 3,
        "pushd_pulls_cached_total": 1,
        "pushd_resets_total": 1,
        "pushd_hints_sent_total": 1,
        "pushd_fanout_passes_total": 1,
        "pushd_handshakes_total": 1,
        "pushd_handovers_total": 2,
        "pushd_sessions": 1,
        "pushd_users_online": 1,
        "pushd_channels": 1,
        "pushd_commit_seconds_count": 1,
    }
    counted = {name: found[name] for name in expected}
    assert {**counted, "pushd_commit_seconds_count": 1} == expected
    assert found["pushd_commit_seconds_count"] >= 1
    assert found["pushd_sent_bytes_total"] > 0
    assert found["pushd_tail_bytes"] > 0


def key(name: str, *scopes: str, patterns: tuple[str, ...] = ()) -> ApiKeyTable:
    return ApiKeyTable(name, hashlib.sha256(name.encode()).hexdigest(), scopes, patterns)


async def test_metrics_of_somebody_elses_machine_need_a_key(tmp_path: Path) -> None:
    keys = (key("reader-key", "read"), key("publisher-key", "publish"))
    async with running_server(tmp_path, keys=keys) as server:
        for header in ("X-Forwarded-For", "Forwarded"):
            for token, status in [
                (None, 401),
                ("wrong", 401),
                (server.token("alice"), 403),
                ("publisher-key", 403),
                ("reader-key", 200),
            ]:
                headers = {header: "192.0.2.1"}
                answer = await server.ask("GET", "/metrics", token=token, headers=headers)
                assert answer.status == status


# -- channels -----------------------------------------------------------------------------------


async def names(server: Server, query: str = "", token: str = KEY) -> tuple[list[str], Any]:
    answer = await server.ask("GET", f"/v1/channels{query}", token=token)
    assert answer.status == 200, answer.json
    return [item["channel"] for item in answer.json["items"]], answer.json["next"]


async def test_channels_page_by_page(server: Server) -> None:
    wanted = sorted(["news", "user:alice", "all", *(f"room:{number}" for number in range(7))])
    for channel in reversed(wanted):
        stored = await server.publish(channel, 1)
    found, after = [], ""
    while after is not None:
        page, after = await names(server, f"?limit=4&next={after}")
        assert len(page) <= 4
        found += page
    assert found == wanted
    assert await names(server, "?limit=10") == (wanted, None)
    assert await names(server, "?prefix=room:&limit=3") == (
        ["room:0", "room:1", "room:2"],
        "room:2",
    )
    assert await names(server, "?prefix=nothing") == ([], None)
    [item] = (await server.ask("GET", "/v1/channels?prefix=all", token=KEY)).json["items"]
    assert item == {"channel": "all", "epoch": stored["epoch"], "first": 1, "head": 1}


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "²"])
async def test_bad_limits(server: Server, limit: str) -> None:
    path = f"/v1/channels?limit={limit.encode().decode('latin-1')}"
    answer = await server.ask("GET", path.replace("Â²", "%C2%B2"), token=KEY)
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_a_key_sees_the_channels_of_its_patterns(tmp_path: Path) -> None:
    keys = (key("rooms-key", "read", patterns=("room:*",)),)
    async with running_server(tmp_path, keys=keys) as server:
        for channel in ("room:1", "news", "user:alice", "room:2"):
            await server.publish(channel, 1)
        assert await names(server, token="rooms-key") == (["room:1", "room:2"], None)
        refused = await server.ask("GET", "/v1/channels", token=server.token("alice"))
        assert (refused.status, refused.code) == (403, "forbidden")
