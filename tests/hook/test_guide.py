"""The application of the guide, as it stands there, in a process of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import trio

from tests.support.app import running_server
from tests.support.http import patience
from tests.support.server import free_port

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "connect-hook.md"
SECRET = "the-very-secret-of-the-two-of-us"
PATH = "/v1/channels/news/messages?after=0"


def example(port: int) -> str:
    [text] = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text("utf-8"))
    assert SECRET in text
    assert "9000" in text
    return str(text).replace("9000", str(port))


async def test_the_application_of_the_guide(tmp_path: Path) -> None:
    port = free_port()
    program = tmp_path / "login.py"
    program.write_text(example(port), "utf-8")
    hook = {
        "auth_url": f"http://127.0.0.1:{port}/push-login",
        "auth_headers": ("cookie",),
        "auth_request_timeout": 60.0,
    }
    command = [sys.executable, str(program)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(
                command, capture_stderr=True, check=False, task_status=task_status
            )
        )
        with patience():
            await _listens(port)
        async with running_server(tmp_path, webhook_secret=SECRET, **hook) as server:
            assert (await server.ask("GET", PATH, token="s-4711")).status == 200
            assert (await server.ask("GET", PATH, token="s-9999")).status == 401
            headers = {"Cookie": "theme=dark; session=s-4712", "Origin": "http://localhost"}
            async with server.socket(header="Cookie: session=s-4712\r\n") as bob:
                assert (await bob.expect("hello"))["user"] == "bob"
                body = {"data": "hi"}
                path = "/v1/channels/chat:1/messages"
                answer = await server.ask("POST", path, body=body, headers=headers)
                assert answer.status == 201
            assert (await server.ask("POST", "/v1/channels/news/messages", token="s-4711",
                                     body=body)).status == 403  # fmt: skip
        async with running_server(tmp_path / "2", webhook_secret=SECRET[::-1], **hook) as wrong:
            assert (await wrong.ask("GET", PATH, token="s-4711")).status == 503
        process.terminate()


async def _listens(port: int) -> None:
    while True:
        try:
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        except OSError:
            await trio.sleep(0.05)
        else:
            return
