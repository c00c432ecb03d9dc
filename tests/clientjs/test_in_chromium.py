"""client-js in a real browser, from a page of another origin, against a real server.

The page notes what it is given; the tests ask it. Nothing may be missing, twice or out of order.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.app import Server, running_server
from tests.support.browser import Browser, Page, browser, site

# Ways that the hints come; [] leaves held polls.
TRANSPORTS = [["websocket"], ["sse"], []]


@dataclass
class Tab:
    """A page with the client in it: ``push``, and ``got`` as data of what came, by channel."""

    page: Page

    async def connect(self, server: Server, token: str, **options: Any) -> None:
        base = f"http://127.0.0.1:{server.port}"
        given = json.dumps({"token": token, **options})
        await self.page.run(
            f"""(async () => {{
              const {{ connect }} = await import('{base}/client.js')
              globalThis.push = connect('{base}', {given})
              globalThis.got = {{}}
              globalThis.states = []
              globalThis.errors = []
              push.on('state', ({{ state }}) => states.push(state))
              push.on('error', ({{ error }}) => errors.push(String(error)))
              globalThis.listen = (name, options) => {{
                got[name] = []
                push.channel(name, options).on('message', m => {{ got[name].push(m.data) }})
              }}
              globalThis.until = async check => {{
                while (!check()) await new Promise(done => setTimeout(done, 5))
              }}
            }})()"""
        )

    async def listen(self, channel: str, **options: Any) -> None:
        await self.page.run(f"listen({json.dumps(channel)}, {json.dumps(options)})")

    async def has(self, channel: str, expected: list[Any]) -> None:
        """Waits for so many, then compares."""
        name = json.dumps(channel)
        await self.page.run(f"until(() => got[{name}].length >= {len(expected)})")
        assert await self.page.run(f"got[{name}]") == expected
        assert await self.page.run("errors") == []

    async def state(self, wanted: str) -> None:
        await self.page.run(f"until(() => push.state.state === '{wanted}')")


@dataclass
class World:
    server: Server
    browser: Browser
    origin: str

    async def tab(self, user: str = "alice", **options: Any) -> Tab:
        tab = Tab(await self.browser.open(self.origin + "/"))
        await tab.connect(self.server, self.server.token(user, publish=["*"]), **options)
        return tab


@asynccontextmanager
async def world(tmp_path: Path, **settings: Any) -> AsyncIterator[World]:
    async with (
        site() as origin,
        running_server(tmp_path, origins=(origin,), **settings) as server,
        browser(tmp_path / "profile") as driven,
    ):
        yield World(server, driven, origin)


@pytest.mark.parametrize("transports", TRANSPORTS, ids=lambda each: "-".join(each) or "polls")
async def test_messages_come_once_and_in_order(tmp_path: Path, transports: list[str]) -> None:
    async with world(tmp_path) as at:
        tab = await at.tab(transports=transports, tabs=False)
        for number in range(3):
            await at.server.publish("news", number)
        await tab.listen("news", after="0")
        await tab.has("news", [0, 1, 2])
        await tab.state("live" if transports else "fallback")
        for number in range(3, 120):
            await at.server.publish("news", number)
        await tab.has("news", list(range(120)))
        # Another channel while it is live.
        await at.server.publish("chat", "a")
        await tab.listen("chat", after="0")
        await at.server.publish("chat", "b")
        await tab.has("chat", ["a", "b"])


async def test_a_page_publishes_and_calls_back_to_its_history(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        tab = await at.tab(tabs=False)
        await tab.listen("chat", after="0")
        result = await tab.page.run("push.channel('chat').publish({text: 'hello'})")
        assert result["seq"] == 1
        await tab.has("chat", [{"text": "hello"}])
        page = await tab.page.run("push.channel('chat').history({limit: 5})")
        assert [each["sender"] for each in page["messages"]] == ["alice"]
        assert page["more"] is False
        assert await tab.page.run("push.unsent") == 0
        # What the server refuses for good is told, and no longer waits.
        refused = "push.channel('user:bob').publish(1).catch(error => error.code)"
        assert await tab.page.run(refused) == "forbidden"
        assert await tab.page.run("push.unsent") == 0


async def test_tabs_share_one_connection_and_hand_it_over(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        first = await at.tab()
        await first.listen("news", after="0")
        await first.state("live")
        second = await at.tab()
        await second.listen("news", after="0")
        await second.listen("chat", after="0")
        await second.state("live")
        for number in range(5):
            await at.server.publish("news", number)
            await at.server.publish("chat", number)
        await first.has("news", list(range(5)))
        await second.has("news", list(range(5)))
        await second.has("chat", list(range(5)))
        assert len(at.server.hub.sessions.by_id) == 1
        await first.page.call("Page.close")
        await at.server.publish("news", 5)
        await second.has("news", list(range(6)))
        with trio.fail_after(180):
            while len(at.server.hub.sessions.by_id) != 1:
                await trio.sleep(0.01)
        await at.server.publish("chat", 5)
        await second.has("chat", list(range(6)))


async def test_a_reset_is_an_event_and_following_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        for number in range(10):
            await at.server.publish("news", number)
        head = at.server.hub.log.heads["news"]
        await at.server.ask(
            "POST", "/v1/channels/news/trim", token="test-key-of-a-service", body={"before": 8}
        )
        tab = await at.tab(tabs=False)
        await tab.page.run(
            """globalThis.resets = []
            push.channel('news').on('reset', ({ code, skipped }) => {
              resets.push([code, skipped])
            })"""
        )
        await tab.listen("news", after=f"{head.epoch}.3")
        await tab.has("news", [7, 8, 9])
        assert await tab.page.run("resets") == [["expired", 4]]


async def test_the_files_are_what_the_package_has(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        answer = await server.ask("GET", "/client.js")
        assert answer.body == b"export * from './client/index.js'\n"
        assert answer.headers["access-control-allow-origin"] == "*"
        source = Path(__file__).parents[2] / "client-js" / "src"
        for path in source.glob("*.js"):
            answer = await server.ask("GET", f"/client/{path.name}")
            assert (answer.status, answer.body) == (200, path.read_bytes())
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        etag = answer.headers["etag"]
        again = await server.ask("GET", f"/client/{path.name}", headers={"If-None-Match": etag})
        assert (again.status, again.body) == (304, b"")
        for missing in ("/client/nothing.js", "/client/..%2Fpackage.json", "/client/"):
            assert (await server.ask("GET", missing)).status == 404
