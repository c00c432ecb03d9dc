"""Pages of other origins, in a real browser: those on the list do everything, others nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.app import Server, running_server, until
from tests.support.browser import Browser, Page, browser, site

# What a page does; each answers with what it saw, and "refused" when the browser shows nothing.
SCRIPT = """
const base = "http://127.0.0.1:%(port)d", token = "%(token)s";
const bearer = {Authorization: "Bearer " + token};
const messages = base + "/v1/channels/news/messages";

async function publish(data) {
  const headers = {...bearer, "Content-Type": "application/json"};
  try {
    const answer = await fetch(messages, {method: "POST", headers, body: JSON.stringify({data})});
    return answer.status;
  } catch { return "refused"; }
}

async function pull() {
  try {
    const answer = await fetch(messages + "?after=0", {headers: bearer, cache: "no-store"});
    return (await answer.json()).messages.map(each => each.data);
  } catch { return "refused"; }
}

function overWebSocket() {
  return new Promise(resolve => {
    const socket = new WebSocket(base.replace("http", "ws") + "/v1/ws?channels=news",
      ["pushd.v1", "bearer." + token]);
    socket.onmessage = event => {
      const frame = JSON.parse(event.data);
      if (frame.type === "hello") publish("by websocket");
      if (frame.type === "hint") { resolve(frame.seq); socket.close(); }
    };
    socket.onclose = () => resolve("refused");
  });
}

function overEventSource() {
  return new Promise(resolve => {
    const source = new EventSource(base + "/v1/events?channels=news&token=" + token);
    source.addEventListener("hello", () => publish("by sse"));
    source.addEventListener("hint", event => {
      resolve(JSON.parse(event.data).seq);
      source.close();
    });
    source.onerror = () => { if (source.readyState === 2) resolve("refused"); };
  });
}

async function overFetch() {
  try {
    const answer = await fetch(base + "/v1/events?channels=news", {headers: bearer});
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("event: hint")) {
      const {value, done} = await reader.read();
      if (done) return "ended";
      if (!text && value) publish("by fetch");
      text += value;
    }
    await reader.cancel();
    return "hinted";
  } catch { return "refused"; }
}
"""
STEPS = ("publish(1)", "pull()", "overWebSocket()", "overEventSource()", "overFetch()")


@asynccontextmanager
async def world(
    tmp_path: Path, **given: Any
) -> AsyncIterator[tuple[Server, Browser, dict[str, str]]]:
    """A server, a browser, and two sites of which one is on the list."""
    async with (
        site() as listed,
        site() as other,
        running_server(tmp_path, origins=(listed,), **given) as server,
        browser(tmp_path / "profile") as driven,
    ):
        yield server, driven, {"listed": listed, "other": other}


async def opened(server: Server, driven: Browser, origin: str) -> Page:
    page = await driven.open(origin + "/")
    token = server.token("alice", publish=["news"])
    await page.run(SCRIPT % {"port": server.port, "token": token})
    assert await page.run("location.origin") == origin
    return page


async def test_only_pages_of_listed_origins_publish_pull_and_follow(tmp_path: Path) -> None:
    async with world(tmp_path) as (server, driven, sites):
        page = await opened(server, driven, sites["listed"])
        told = [await page.run(step) for step in STEPS]
        assert told == [201, [1], 2, 3, "hinted"]

        head = server.hub.log.heads["news"].seq
        page = await opened(server, driven, sites["other"])
        assert [await page.run(step) for step in STEPS] == ["refused"] * len(STEPS)
        assert server.hub.log.heads["news"].seq == head == 4
        await until(lambda: not server.hub.sessions.by_id)


async def test_a_page_learns_why_it_is_refused(tmp_path: Path) -> None:
    """Also when the server did not wait for the body; and headers of libraries are no trouble."""
    async with world(tmp_path) as (server, driven, sites):
        page = await opened(server, driven, sites["listed"])
        await page.run(
            """var ask = async (path, token, data, headers) => {
              const answer = await fetch(base + path, {method: "POST",
                headers: {Authorization: "Bearer " + token, "Content-Type": "application/json",
                  ...headers}, body: JSON.stringify({data})});
              return [answer.status, (await answer.json()).code ?? "stored"];
            };0"""
        )
        to_one = "'/v1/channels/news/messages', token"
        told = [
            await page.run(f"ask({given})")
            for given in (
                f"{to_one}, 'x'.repeat(8 << 20)",
                "'/v1/publish', 'wrong', 1",
                f"{to_one}, 1, {{traceparent: '00-1-2-00', 'Cache-Control': 'no-cache'}}",
            )
        ]
        assert told == [[413, "too_large"], [401, "unauthorized"], [201, "stored"]]


async def test_a_form_of_any_page_publishes_nothing(tmp_path: Path) -> None:
    """What needs no preflight carries no credential: a browser adds none of pushd's."""
    async with world(tmp_path) as (server, driven, sites):
        page = await opened(server, driven, sites["other"])
        await page.run("fetch(messages, {method: 'POST', mode: 'no-cors', body: 'hi'})")
        await until(lambda: server.hub.counters.errors["unauthorized"] == 1)
        assert "news" not in server.hub.log.heads


async def test_an_event_source_that_is_cut_resumes(tmp_path: Path) -> None:
    """It comes back by itself, says what it was told last, and misses nothing."""
    async with world(tmp_path, sse_retry=0.05) as (server, driven, sites):
        page = await opened(server, driven, sites["listed"])
        await page.run(
            """var told = [], hellos = 0, arrived = () => {};
            var source = new EventSource(base + "/v1/events?channels=news&token=" + token);
            source.addEventListener("hello", event => { hellos += 1; arrived(); });
            source.addEventListener("hint", event => {
              told.push(JSON.parse(event.data).seq); arrived();
            });
            var until = condition => new Promise(resolve => {
              arrived = () => { if (condition()) resolve(told.slice()); };
              arrived();
            });0"""
        )
        await page.run("until(() => hellos === 1)")
        await server.publish("news", 1)
        assert await page.run("until(() => told.length === 1)") == [1]

        [session] = server.hub.sessions.of_user("alice")
        session.out.abort()
        await until(lambda: session.id not in server.hub.sessions.by_id)
        await server.publish("news", 2)
        assert await page.run("until(() => told.includes(2))") == [1, 2]

        # With nothing new there is nothing to hint, and nothing is hinted twice.
        [session] = server.hub.sessions.of_user("alice")
        session.bye(1012, "restart", 10)
        await page.run("until(() => hellos === 3)")
        await server.publish("news", 3)
        assert await page.run("until(() => told.includes(3))") == [1, 2, 3]


async def test_an_event_source_whose_token_is_refused_gives_up(tmp_path: Path) -> None:
    async with world(tmp_path, sse_retry=0.05) as (server, driven, sites):
        page = await opened(server, driven, sites["listed"])
        await page.run(f"token_at_end = {json.dumps(server.token('alice', ttl_s=1))}")
        state = await page.run(
            """new Promise(resolve => {
              let hellos = 0;
              const source = new EventSource(base + "/v1/events?token=" + token_at_end);
              source.addEventListener("hello", () => { hellos += 1; });
              source.onerror = () => { if (source.readyState === 2) resolve(hellos); };
            })"""
        )
        assert state <= 1, "a token that has expired was welcomed again"
        assert server.hub.counters.errors["token_expired"] >= 1
