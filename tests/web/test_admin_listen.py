"""A listener of its own for everything that is not for clients."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pushd.server import serve
from pushd.settings import Address, Settings
from pushd.web.table import OPERATIONS
from tests.support.app import KEY, Server, running_server, until
from tests.support.http import Answer, ConnectionLost, Peer
from tests.support.server import free_port
from tests.web.test_table import body, target


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, admin_listen=Address("127.0.0.1", 0)) as running:
        yield running


def admin_port(server: Server) -> int:
    [entry] = [each for each in server.log if each["event"] == "admin side"]
    return int(entry["address"].rpartition(":")[2])


async def ask_admin(server: Server, method: str, path: str, **members: object) -> Answer:
    async with await Peer.open(("127.0.0.1", admin_port(server))) as peer:
        return await peer.ask(method, path, **members)


async def test_the_main_port_serves_clients_and_publishers_only(server: Server) -> None:
    await server.publish("news", 1)
    for operation in OPERATIONS:
        if operation.name in ("events", "ws"):
            continue
        answer = await server.ask(
            operation.method, target(operation), token=KEY, body=body(operation)
        )
        served = answer.status != 404 or "has no presence" in answer.json["detail"]
        assert served is operation.hot, operation.name
    for path in ("/", "/console", "/console/", "/docs", "/metrics", "/nothing"):
        answer = await server.ask("GET", path)
        assert (answer.status, answer.code) == (404, "not_found"), path
    assert server.hub.counters.handovers == 0, "the framework was not even loaded"
    for path in ("/client.js", "/client/index.js"):  # what pages load is for pages
        assert (await server.ask("GET", path)).status == 200, path


async def test_the_other_one_serves_everything(server: Server) -> None:
    stored = await ask_admin(
        server, "POST", "/v1/channels/news/messages", token=KEY, body={"data": 1}
    )
    assert stored.status == 201
    for path in ("/", "/docs", "/console/", "/metrics", "/openapi.json", "/healthz", "/readyz"):
        assert (await ask_admin(server, "GET", path)).status == 200, path
    channels = await ask_admin(server, "GET", "/v1/channels", token=KEY)
    assert [item["channel"] for item in channels.json["items"]] == ["news"]
    assert (await ask_admin(server, "GET", "/v1/stats")).status == 401


async def test_both_are_drained(tmp_path: Path) -> None:
    port = free_port()  # afterwards nobody else listens there
    async with running_server(tmp_path, admin_listen=Address("127.0.0.1", port)) as server:
        async with await Peer.open(("127.0.0.1", port)) as peer:
            assert (await peer.ask("GET", "/healthz")).status == 200
            server.stopper.asked.set()
            assert await peer.is_closed()
        await until(lambda: not server.hub.connections)
        with pytest.raises(ConnectionLost):
            await Peer.open(("127.0.0.1", port))


async def test_the_admin_side_has_room_when_the_other_is_full(tmp_path: Path) -> None:
    settings = {"admin_listen": Address("127.0.0.1", 0), "max_connections": 2}
    async with running_server(tmp_path, **settings) as server, server.peer(), server.peer():
        await until(lambda: server.hub.connections == 2)
        assert (await server.ask("GET", "/healthz")).status == 503
        assert (await ask_admin(server, "GET", "/v1/stats", token=KEY)).status == 200


async def test_which_of_the_two_addresses_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(
            data=tmp_path, listen=Address("127.0.0.1", 0), admin_listen=Address("127.0.0.1", port)
        )
        with pytest.raises(OSError, match="in use") as caught:
            await serve(settings)
    assert caught.value.filename == f"127.0.0.1:{port}"
