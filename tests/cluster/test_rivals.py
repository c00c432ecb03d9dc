"""Two nodes with a log each on one cluster: the second is refused, and says by whom."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pushd.cluster.bus.sealed import Sealed
from pushd.cluster.bus.texts import OwnerRecord
from pushd.errors import CannotStart
from pushd.nodetokens import NodeTokens
from tests.support.app import running_server
from tests.support.nodes import CLUSTER_KEY, running_nodes
from tests.support.redis import RedisServer
from tests.support.server import free_port

PATIENCE_S = 60.0
NAME = "pushd:owner"

pytestmark = pytest.mark.usefixtures("patient_nodes")


async def test_an_owner_is_refused_while_another_one_serves(tmp_path: Path) -> None:
    async with running_nodes(tmp_path) as nodes:
        stored = await nodes.edge.publish("news", 1)
        for node in ("mistake", "owner"):  # also one that has the other's name
            given = {"redis": nodes.redis.url, "cluster_key": CLUSTER_KEY, "node_id": node}
            with (
                trio.fail_after(PATIENCE_S),
                pytest.RaisesGroup(
                    CannotStart, flatten_subgroups=True, allow_unwrapped=True
                ) as caught,
            ):
                async with running_server(tmp_path / node / "other", **given):
                    pass
            [error] = _leaves(caught.value)
            assert f"owner at http://127.0.0.1:{nodes.owner.port}" in str(error)
        assert (await nodes.edge.publish("news", 2))["epoch"] == stored["epoch"]
        # Of another cluster it is none of its business.
        given["cluster_name"] = "another"
        async with running_server(tmp_path / "another", **given):
            pass


@pytest.mark.parametrize("why", ["its node is dead", "nobody with the key signed it", "an edge"])
async def test_a_record_alone_keeps_nobody_from_starting(tmp_path: Path, why: str) -> None:
    async with running_nodes(tmp_path / "others") as others, RedisServer(tmp_path / "r") as redis:
        port = {"an edge": others.edge.port}.get(why, others.owner.port)
        if why == "its node is dead":
            port = free_port()
        tokens = NodeTokens((b"wrong " if why.startswith("nobody") else b"") + KEY, "x")
        record = OwnerRecord("x", f"http://127.0.0.1:{port}", "0-0", 0.0)
        await redis.run("SET", NAME, Sealed(tokens).write(NAME, record))
        given = {"redis": redis.url, "cluster_key": CLUSTER_KEY, "node_id": "owner"}
        async with running_server(tmp_path / "owner", **given) as server:
            await server.publish("news", 1)


KEY = CLUSTER_KEY.encode()


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]
