"""The examples of the guide to calls, as they stand there: run against a server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pushd import handlers
from tests.support.app import Server, running_server
from tests.support.server import free_port

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "calls.md"
SECRET = "the-very-secret-of-the-two-of-us"
START_S = 300.0  # for a compiler on a machine that is busy
LANGUAGES = ["python", "js", "java"]
TOOLS = {"python": [sys.executable], "js": ["node"], "java": ["java"]}
NAMES = {"python": "hook.py", "js": "hook.mjs", "java": "Hook.java"}


def block(language: str, with_: str) -> str:
    """The one block of this language that has this in it."""
    blocks = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"))
    [found] = [text for text in blocks if with_ in text]
    return str(found)


@asynccontextmanager
async def example(language: str, home: Path) -> AsyncIterator[int]:
    """The application of the guide in a process of its own; its port."""
    port = free_port()
    program = home / NAMES[language]
    program.write_text(block(language, SECRET).replace("9000", str(port)), "utf-8")
    command = [*TOOLS[language], str(program)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(
                command, check=False, task_status=task_status, **quiet
            )
        )
        with trio.fail_after(START_S):
            await _listens(port)
        yield port
        process.kill()


async def _listens(port: int) -> None:
    while True:
        try:
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        except OSError:
            await trio.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_application_of_the_guide(tmp_path: Path, language: str) -> None:
    """It answers pushd, and nobody who does not know the secret."""
    tool = TOOLS[language][0]
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here")
    body = {"name": "ORDER_CREATE", "data": {"item": "tea"}, "id": "c-17"}
    async with example(language, tmp_path) as port:
        url = f"http://127.0.0.1:{port}/pushd"
        settings = {"webhook_url": url, "webhook_timeout": 60.0, "call_timeout": 60.0}
        async with running_server(tmp_path, webhook_secret=SECRET, **settings) as server:
            answer = await server.ask("POST", "/v1/call", token=server.token(), body=body)
            assert answer.status == 200, answer
            assert answer.json["data"]["order"] == 17
            other = {**body, "name": "NOBODY"}
            answer = await server.ask("POST", "/v1/call", token=server.token(), body=other)
            assert answer.code == "no_handler"
            if language == "python":
                assert server.hub.log.heads["orders"].seq == 1
        async with running_server(tmp_path, webhook_secret=SECRET[::-1], **settings) as forger:
            answer = await forger.ask("POST", "/v1/call", token=forger.token(), body=body)
            assert answer.code == "call_failed"


async def test_the_handlers_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guide_of_calls.py").write_text(block("python", "@handler"), "utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(handlers, "registered", {})
    monkeypatch.setattr("pushd.calls.loading.registered", handlers.registered)
    async with running_server(tmp_path, handlers="guide_of_calls") as server:
        assert await _ask(server, {"item": "tea"}) == (200, {"order": 17})
        assert await _ask(server, {"item": "tea", "count": 11}) == (422, {"most": 10})
        assert (await _ask(server, {"count": 1}))[0] == 400
        heads = server.hub.log.heads
        assert (heads["orders"].seq, heads["user:alice"].seq) == (1, 1)


async def _ask(server: Server, data: object) -> tuple[int, object]:
    body = {"name": "ORDER_CREATE", "data": data}
    answer = await server.ask("POST", "/v1/call", token=server.token("alice"), body=body)
    return answer.status, answer.json.get("data")
