"""A real browser: Debian's Chromium without a window, driven over its DevTools protocol.

Pages come from ``site``: a server of one page on a port, hence an origin, of its own.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

CHROMIUM = "chromium"
START_S = 180.0  # patience for its start, and for one answer
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
)


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def call(self, method: str, **params: Any) -> Any:
        return await self._browser.call(method, params, self._session)

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise; AssertionError if it throws."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def shown(self) -> Any:
        """The address of the page when it has loaded; None: one goes and another comes."""
        try:
            return await self.run("document.readyState === 'complete' && location.href")
        except AssertionError:
            return None


class Browser:
    """The protocol: commands with ids, answers in any order, events (not looked at)."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}

    async def listen(self) -> None:
        try:
            while True:
                message = json.loads(await self._socket.get_message())
                if message.get("id") in self._waiting:
                    self._waiting.pop(message["id"]).send_nowait(message)
        except ConnectionClosed:
            return

    async def call(self, method: str, params: dict[str, Any], session: str | None = None) -> Any:
        number = next(self._ids)
        command = {"id": number, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[number] = send
        await self._socket.send_message(json.dumps(command))
        with trio.fail_after(START_S):
            answer = await receive.receive()
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    async def open(self, address: str, arrives: str | None = None) -> Page:
        """A new tab that has loaded this page. ``arrives``: where it then says that it is."""
        target = await self.call("Target.createTarget", {"url": "about:blank"})
        attached = await self.call(
            "Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}
        )
        page = Page(self, attached["sessionId"])
        await page.call("Page.navigate", url=address)
        with trio.fail_after(START_S):
            while await page.shown() != (arrives or address):
                await trio.sleep(0.01)
        return page


@asynccontextmanager
async def browser(directory: Path) -> AsyncIterator[Browser]:
    """One that is started for this, with a fresh profile in ``directory``."""
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={directory}", "about:blank"]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            lambda task_status: trio.run_process(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                task_status=task_status,
            )
        )
        try:
            address = await _devtools(directory / "DevToolsActivePort")
            async with open_websocket_url(address, max_message_size=1 << 26) as socket:
                driven = Browser(socket)
                nursery.start_soon(driven.listen)
                yield driven
        finally:
            process.kill()
            nursery.cancel_scope.cancel()


async def _devtools(file: Path) -> str:
    """Where it listens: it writes a file with port and path when it does."""
    with trio.fail_after(START_S):
        while True:
            if file.exists() and len(lines := file.read_text().split("\n")) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            await trio.sleep(0.02)


@asynccontextmanager
async def site(
    html: str = "<!doctype html><title>page</title>", files: Mapping[str, bytes] = {}
) -> AsyncIterator[str]:
    """The origin of a server whose every path is this page, but for modules at these."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            path = bytes(await stream.receive_some()).split(b" ", 2)[1].decode()
            kind = "text/javascript" if path in files else "text/html"
            body = files.get(path, html.encode())
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            await stream.send_all((head + "Connection: close\r\n\r\n").encode() + body)
        except (trio.BrokenResourceError, IndexError):
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()
