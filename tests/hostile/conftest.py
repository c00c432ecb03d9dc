"""One real server per module, asked bad things; at the end its log is read and it must serve on."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from types import ModuleType

import pytest
import trio

from tests.hostile.node import Node, serves_on
from tests.support.http import patience


@pytest.fixture(scope="module")
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """``SETTINGS`` of the module: settings by name, as texts; ``CONFIG``: its pushd.toml."""
    module: ModuleType = request.module
    home = tmp_path_factory.mktemp("node")
    running = Node(home, **getattr(module, "SETTINGS", {}))
    config = getattr(module, "CONFIG", None)
    if config is not None:
        text = config(home) if callable(config) else config
        tomllib.loads(text)
        (home / "hostile.toml").write_text(text)
        running.process.environ["PUSHD_CONFIG"] = str(home / "hostile.toml")
    trio.run(running.process.start)
    try:
        yield running
        trio.run(_served, running)
    finally:
        trio.run(running.process.kill)
    running.process.check_log()


async def _served(running: Node) -> None:
    with patience():
        await serves_on(running)
        errors = await running.errors()
    assert errors.get("internal", 0) == 0, errors


@pytest.fixture(autouse=True)
def nothing_failed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Case by case, so that a traceback is seen where it was caused."""
    yield
    if "node" in request.fixturenames:
        node: Node = request.getfixturevalue("node")
        node.process.check_log()
