"""/docs in a real browser: links open what they name, the filter finds, the example works."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.app import KEY, Server, running_server, until
from tests.support.browser import Browser, browser, site

OPEN = "[...document.querySelectorAll('details[open] > div')].map(each => each.id)"
SHOWN = "all.filter(each => !each.hidden).map(each => each.lastElementChild.id)"
NARROW = """new Promise(done => {
  const narrow = matchMedia("(width: 360px)");
  narrow.onchange = () => { if (narrow.matches) done(0); };
  narrow.onchange();
})"""


@pytest.fixture
async def driven(tmp_path: Path) -> AsyncIterator[Browser]:
    async with browser(tmp_path / "profile") as started:
        yield started


async def test_links_lead_to_what_is_closed_and_the_filter_finds_it(
    server: Server, driven: Browser
) -> None:
    page = await driven.open(f"http://127.0.0.1:{server.port}/docs#pull_many")
    assert await page.run(OPEN) == ["pull_many"]
    command = await page.run("document.querySelector('#pull_many pre.try').textContent")
    assert f'"http://127.0.0.1:{server.port}/v1/pull"' in command

    type_in = "find.value = %s; find.dispatchEvent(new Event('input')); 0"
    await page.run(type_in % json.dumps("TRIM  channel"))
    assert "trim_channel" in (shown := await page.run(SHOWN))
    assert "healthz" not in shown
    links = "[...nav.querySelectorAll('li:not([hidden]) > a')].map(each => each.hash)"
    assert "#trim_channel" in (named := await page.run(links))
    assert "#healthz" not in named
    # A link to what is hidden brings it back.
    await page.run(
        "new Promise(done => { addEventListener('hashchange', done); location.hash = 'healthz' })"
    )
    assert "healthz" in await page.run(SHOWN)
    await page.run(type_in % json.dumps("nothing-has-this"))
    assert await page.run(SHOWN) == []
    assert await page.run("none.hidden") is False


async def test_nothing_is_wider_than_a_phone(server: Server, driven: Browser) -> None:
    for path in ("/", "/docs", "/console/"):
        page = await driven.open(f"http://127.0.0.1:{server.port}{path}")
        await page.call(
            "Emulation.setDeviceMetricsOverride",
            width=360, height=740, deviceScaleFactor=1, mobile=True,
        )  # fmt: skip
        await page.run(NARROW)  # the page learns of it a little later
        await page.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
        assert await page.run("document.documentElement.scrollWidth") == 360, path


async def test_no_script_but_the_pages_own_runs(server: Server, driven: Browser) -> None:
    page = await driven.open(f"http://127.0.0.1:{server.port}/docs")
    await page.run(
        "var added = document.createElement('script'); added.textContent = 'var broken = 1';"
        "document.body.append(added); 0"
    )
    assert await page.run("typeof broken") == "undefined"
    assert await page.run("document.querySelectorAll('button.copy').length > 20")


async def test_the_example_for_web_pages_follows(tmp_path: Path, driven: Browser) -> None:
    """Word for word as it stands on the page, from a page of another origin."""
    async with site() as origin, running_server(tmp_path, origins=(origin,)) as server:
        for number in (1, 2, 3):
            await server.publish("news", number)
        docs = await driven.open(f"http://127.0.0.1:{server.port}/docs")
        text = await docs.run("document.getElementById('web-page-example').textContent")
        page = await driven.open(origin + "/")
        await page.run(text)
        base, token = f"http://127.0.0.1:{server.port}", server.token("alice", subscribe=["news"])
        await page.run(
            f"""Math.random = () => 0;  // the shortest waits
            var told = [], arrived = () => {{}};
            var tell = (...given) => {{ told.push(given); arrived(); }};
            var cursors = {{"news": "0", "secret": "0"}};
            follow({json.dumps(base)}, async () => {json.dumps(token)}, cursors,
              (channel, message) => tell(channel, message.data),
              (channel, reset) => tell(channel, reset.code),
              (channel, error) => tell(channel, error.code));
            var until = count => new Promise(resolve => {{
              arrived = () => {{
                if (told.length < count) return;
                arrived = () => {{}};  // what comes now is for the next one
                resolve(told.splice(0));
              }};
              arrived();
            }});0"""
        )
        told = await page.run("until(4)")
        assert sorted(told, key=str) == [
            ["news", 1], ["news", 2], ["news", 3], ["secret", "forbidden"],
        ]  # fmt: skip
        await until(lambda: server.hub.sessions.by_id)
        await server.publish("news", 4)
        assert await page.run("until(1)") == [["news", 4]]

        # It comes again after the end of its session, and goes on after a reset.
        [session] = server.hub.sessions.of_user("alice")
        session.out.abort()
        await server.ask("DELETE", "/v1/channels/news", token=KEY)
        await server.publish("news", 5)
        assert await page.run("until(2)") == [["news", "epoch_changed"], ["news", 5]]
        stored = await server.publish("news", 6)
        assert await page.run("until(1)") == [["news", 6]]
        assert await page.run("cursors.news") == f"{stored['epoch']}.2"
