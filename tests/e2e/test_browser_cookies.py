"""Cookies that the application knows, in a real browser: pages of the list need no token, others
can do nothing with them. All sites here are one site for SameSite: it helps nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.app import Server, running_server, until
from tests.support.application import WEBHOOK_SECRET
from tests.support.browser import Browser, Page, browser, site
from tests.support.logins import COOKIE, Logins, logins

# Without a token anywhere. Each answers with what it saw.
SCRIPT = """
const base = "http://127.0.0.1:%(port)d", messages = base + "/v1/channels/news/messages";
const json = {"Content-Type": "application/json"};

async function publish(data) {
  try {
    const answer = await fetch(messages,
      {method: "POST", headers: json, credentials: "include", body: JSON.stringify({data})});
    return answer.status;
  } catch { return "refused"; }
}

async function pull() {
  try {
    const answer = await fetch(messages + "?after=0", {credentials: "include", cache: "no-store"});
    return (await answer.json()).messages.map(each => each.data);
  } catch { return "refused"; }
}

function overWebSocket() {
  return new Promise(resolve => {
    const socket = new WebSocket(base.replace("http", "ws") + "/v1/ws", "pushd.v1");
    socket.onmessage = event => { resolve(JSON.parse(event.data).user); socket.close(); };
    socket.onclose = () => resolve("refused");
  });
}

function overEventSource() {
  return new Promise(resolve => {
    const source = new EventSource(base + "/v1/events", {withCredentials: true});
    source.addEventListener("hello", event => {
      resolve(JSON.parse(event.data).user);
      source.close();
    });
    source.onerror = () => { if (source.readyState === 2) resolve("refused"); };
  });
}

// What needs no preflight, whatever the page: forms, plain text, images.
function submit(type) {
  const frame = document.createElement("iframe");
  frame.name = "hidden";
  document.body.append(frame);
  const form = document.createElement("form");
  Object.assign(form, {method: "POST", action: messages, enctype: type, target: "hidden"});
  const field = document.createElement("input");
  Object.assign(field, {name: '{"data":"form","x":"', value: '"}'});
  form.append(field);
  document.body.append(form);
  form.submit();
  return 0;
}

async function blindly() {
  const options = {method: "POST", mode: "no-cors", credentials: "include"};
  await fetch(messages, {...options, body: '{"data":"blind"}'});
  await fetch(messages, {...options, body: new Blob(['{"data":"blob"}'])});
  new Image().src = base + "/v1/events";
  return 0;
}
"""
STEPS = ("publish(1)", "pull()", "overWebSocket()", "overEventSource()")
FORMS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")


@asynccontextmanager
async def world(
    tmp_path: Path,
) -> AsyncIterator[tuple[Server, Logins, Browser, dict[str, str]]]:
    """A server that asks an application about cookies, a browser, and two sites."""
    async with (
        site() as listed,
        site() as other,
        logins() as known,
        running_server(
            tmp_path,
            origins=(listed,),
            auth_url=known.url,
            auth_headers=("cookie",),
            auth_request_timeout=60.0,
            webhook_secret=WEBHOOK_SECRET,
        ) as server,
        browser(tmp_path / "profile") as driven,
    ):
        yield server, known, driven, {"listed": listed, "other": other}


async def opened(server: Server, driven: Browser, origin: str) -> Page:
    page = await driven.open(origin + "/")
    await page.run(SCRIPT % {"port": server.port})
    await page.run(f"document.cookie = '{COOKIE}; path=/'")  # of this host, whatever the port
    return page


async def test_a_page_of_the_list_needs_no_token(tmp_path: Path) -> None:
    async with world(tmp_path) as (server, known, driven, sites):
        page = await opened(server, driven, sites["listed"])
        assert [await page.run(step) for step in STEPS] == [201, [1], "alice", "alice"]
        assert {each.json["headers"]["cookie"] for each in known.asked} == {COOKIE}
        assert {each.json["token"] for each in known.asked} == {None}


async def test_other_pages_can_do_nothing_with_the_cookie(tmp_path: Path) -> None:
    async with world(tmp_path) as (server, known, driven, sites):
        page = await opened(server, driven, sites["other"])
        assert [await page.run(step) for step in STEPS] == ["refused"] * len(STEPS)
        refusals = server.hub.counters.errors
        for form in FORMS:
            before = refusals["forbidden"]
            await page.run(f"submit('{form}')")
            await until(lambda before=before: refusals["forbidden"] > before)
        before = refusals["forbidden"]
        await page.run("blindly()")
        await until(lambda: refusals["forbidden"] >= before + 2 and refusals["unauthorized"])
        assert known.asked == [], "the application has not even heard of it"
        assert "news" not in server.hub.log.heads
        assert not server.hub.sessions.by_id


async def test_not_even_a_form_of_a_page_of_the_list_publishes(tmp_path: Path) -> None:
    async with world(tmp_path) as (server, known, driven, sites):
        page = await opened(server, driven, sites["listed"])
        for number, form in enumerate(FORMS, 1):
            await page.run(f"submit('{form}')")
            await until(lambda number=number: server.hub.counters.errors["forbidden"] >= number)
        assert "news" not in server.hub.log.heads
        assert known.asked == []
