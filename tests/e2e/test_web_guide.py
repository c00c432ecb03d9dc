"""docs/web-pages.md: its scripts run in a real browser, from a page of another origin."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pushd.web.example import EXAMPLE
from tests.support.app import Server, running_server
from tests.support.browser import Page, browser, site
from tests.support.server import free_port

GUIDE = Path(__file__).parents[2] / "docs" / "web-pages.md"
FOLLOW, EVENTS, PUBLISH = re.findall(r"(?ms)^```js\n(.*?)^```$", GUIDE.read_text("utf-8"))


def test_the_guide_and_the_page_of_the_server_say_the_same() -> None:
    assert FOLLOW == EXAMPLE


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Server, Page]]:
    async with (
        site() as origin,
        running_server(tmp_path, origins=(origin,), sse_retry=0.05) as server,
        browser(tmp_path / "profile") as driven,
    ):
        page = await driven.open(origin + "/")
        await page.run(f"var base = 'http://127.0.0.1:{server.port}'; {EVENTS} {PUBLISH}")
        yield server, page


async def test_hints_by_events_until_another_token_is_needed(
    opened: tuple[Server, Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, page = opened
    short = json.dumps(server.token("alice", ttl_s=3600))
    await page.run(
        f"""var nudges = 0, nudged = () => {{}};
        var until = count => new Promise(done => {{
          nudged = () => {{ if (nudges >= count) done(nudges); }};
          nudged();
        }});
        var ended = hintsByEvents(base, async () => {short}, "news,all",
          () => {{ nudges += 1; nudged(); }});0"""
    )
    assert await page.run("until(1)") == 1
    await server.publish("news", 1)
    assert await page.run("until(2)") == 2
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    for session in server.hub.sessions.of_user("alice"):
        session.expire()
    await page.run("ended")
    assert server.hub.counters.errors["token_expired"] >= 1


async def published(page: Page, token: str, channel: str, base: str = "base") -> Any:
    given = f"{base}, {json.dumps(token)}, '{channel}', 1, 'id-1'"
    return await page.run(f"publish({given}).catch(error => error.message)")


async def test_publishing_ends_with_a_word(opened: tuple[Server, Page]) -> None:
    server, page = opened
    token = server.token("alice", publish=["news"])
    await page.run("window.setTimeout = run => { queueMicrotask(run); };0")  # no waiting
    first = await published(page, token, "news")
    assert await published(page, token, "news") == {**first, "duplicate": True}
    assert "may not publish" in await published(page, token, "others")
    nobody = f"'http://127.0.0.1:{free_port()}'"
    assert "Nobody knows" in await published(page, token, "news", nobody)


async def test_cursors_may_be_left_to_the_server(server: Server) -> None:
    token = server.token("alice", device="phone")
    cursors = {}

    async def pulled() -> list[object]:
        body = {"cursors": {}, "mine": True, "device": "phone"}
        answer = (await server.ask("POST", "/v1/pull", token=token, body=body)).json["channels"]
        cursors.update({name: part["next"] for name, part in answer.items()})
        return [each["data"] for each in answer["user:alice"]["messages"]]

    await server.publish("user:alice", 1)
    assert await pulled() == [1]
    assert await pulled() == [1], "nothing was acknowledged"
    ack = {"cursors": cursors, "device": "phone"}
    assert (await server.ask("POST", "/v1/ack", token=token, body=ack)).status == 204
    await server.publish("user:alice", 2)
    assert await pulled() == [2]
