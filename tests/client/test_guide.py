"""docs/python-client.md: every example runs, against a real server."""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

import pushd.client
import pushd.testing
from pushd.handlers import registered

PAGE = Path(__file__).parents[2] / "docs" / "python-client.md"
BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text("utf-8"))
TIME_S = 180.0
HANDLERS = """
from pushd.handlers import Call, handler


@handler("ORDER_CREATE")
async def create(call: Call, order):
    return {"order": 17}
"""


class _Enough(Exception):
    """The example has handled a message; many would go on for ever."""


@pytest.fixture
async def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    """What the examples take for granted."""
    registered.clear()  # of others; the fixture own_handlers brings them back
    (tmp_path / "handlers_of_the_guide.py").write_text(HANDLERS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    handled: list[tuple[str, Any]] = []

    async def handle(channel: str, data: Any) -> None:
        handled.append((channel, data))
        raise _Enough

    async def load_snapshot(channel: str) -> None:
        raise AssertionError(channel)

    async with (
        pushd.testing.server(
            handlers="handlers_of_the_guide", namespaces={"room": {"presence": True}}
        ) as node,
        node.service() as service,
        node.client("alice", device="phone-7f3a") as client,
    ):

        async def ask_my_application_for_a_token() -> str:
            return node.token("alice")

        await service.publish("news", "first")
        await service.publish("user:alice", "yours")
        yield {
            "URL": node.url,
            "TOKEN": node.token("alice"),
            "STATE": tmp_path,
            "ask_my_application_for_a_token": ask_my_application_for_a_token,
            "client": client,
            "handle": handle,
            "handled": handled,
            "load_snapshot": load_snapshot,
            "node": node,
            "pushd": pushd,
            "service": service,
            "store": pushd.client.MemoryCursors(),
            **{name: getattr(pushd.client, name) for name in pushd.client.__all__},
        }


async def run(text: str, names: dict[str, Any]) -> None:
    code = compile(text, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = types.FunctionType(code, names)()
    if inspect.isawaitable(result):
        await result
    for name, made in list(names.items()):
        if name.startswith("test_"):
            await made()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
async def test_the_example_runs(number: int, names: dict[str, Any]) -> None:
    text = BLOCKS[number]
    with trio.fail_after(TIME_S):
        if "trio.run(" in text:
            await trio.to_thread.run_sync(exec, text, {"__name__": "__main__"})
        elif "handle(" in text:
            with pytest.raises(_Enough):
                await run(text, names)
            assert names["handled"]
        else:
            await run(text, names)


def test_the_page_has_examples() -> None:
    assert len(BLOCKS) >= 12
