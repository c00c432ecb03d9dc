"""client-js in a real browser, from a page of another origin, against a real server.

The page notes what it is given; the tests ask it. Nothing may be missing, twice or out of order.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clientjs.tabs import SOURCE, world
from tests.support.app import running_server, until

# Ways that the hints come; [] leaves held polls.
TRANSPORTS = [["websocket"], ["sse"], []]


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
        await until(lambda: len(at.server.hub.sessions.by_id) == 1)
        await first.page.call("Page.close")
        await at.server.publish("news", 5)
        await second.has("news", list(range(6)))
        await until(lambda: len(at.server.hub.sessions.by_id) == 1)
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
        for path in SOURCE.glob("*.js"):
            answer = await server.ask("GET", f"/client/{path.name}")
            assert (answer.status, answer.body) == (200, path.read_bytes())
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        etag = answer.headers["etag"]
        again = await server.ask("GET", f"/client/{path.name}", headers={"If-None-Match": etag})
        assert (again.status, again.body) == (304, b"")
        for missing in ("/client/nothing.js", "/client/..%2Fpackage.json", "/client/"):
            assert (await server.ask("GET", missing)).status == 404
