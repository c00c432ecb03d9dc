"""A page with client-js in it, of another origin than the server: it notes what it is given."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from tests.support.app import Server, running_server
from tests.support.browser import START_S, Browser, Page, browser, site

SOURCE = Path(__file__).parents[2] / "client-js" / "src"


_CONNECT = """(async () => {
  const { connect, indexedStore } = await import('/client/index.js')
  const base = %s
  const { token, store, left_s: left, ...options } = %s
  if (store) options.store = store === 'indexed' ? indexedStore('cursors') : store
  if (left) {
    const { exp } = JSON.parse(atob(token[0].split('.')[1].replace(/-/g, '+').replace(/_/g, '/')))
    let began
    options.env = { wall: () => (exp - left) * 1000 + Date.now() - (began ??= Date.now()) }
  }
  globalThis.asked = 0
  const tokens = () => token[Math.min(asked++, token.length - 1)]
  globalThis.push = connect(base, { token: Array.isArray(token) ? tokens : token, ...options })
  globalThis.got = {}
  globalThis.states = []
  globalThis.errors = []
  globalThis.session = undefined
  push.on('state', ({ state }) => states.push(state))
  push.on('error', ({ error }) => errors.push(error.code ?? String(error)))
  push.on('frame', frame => { if (frame.type === 'hello') session = frame.session })
  globalThis.listen = (name, options) => {
    got[name] = []
    const channel = name === '*' ? push.own : push.channel(name, options)
    channel.on('message', m => { got[name].push(m.data) })
    channel.on('dropped', ({ channel, code }) => errors.push(`${channel}: ${code}`))
  }
  globalThis.until = async check => {
    while (!await check()) await new Promise(done => setTimeout(done, 5))
  }
})()"""


@dataclass
class Tab:
    """A page with the client in it: ``push``, and ``got`` as data of what came, by channel."""

    page: Page

    async def connect(self, base: str, token: str | list[str], **options: Any) -> None:
        """The client comes from the page's own site, so that it does when the server is away.

        ``token``: several are given out by a function, the last one for ever. ``store`` may be
        ``indexed``. ``left_s``: the page's clock is ahead of the server's, so that the first token
        seems to have this much time left when the page looks at it.
        """
        given = {"token": token, **options}
        await self.page.run(_CONNECT % (json.dumps(base), json.dumps(given)))

    async def leave(self) -> str:
        """The page is gone; what is in its storage stays. Says where it was."""
        address: str = await self.page.run("location.href")
        await self.goes("about:blank")
        return address

    async def goes(self, address: str) -> None:
        await self.page.call("Page.navigate", url=address)
        with trio.fail_after(START_S):
            while await self.page.shown() != address:
                await trio.sleep(0.01)

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
        token = options.pop("token", None) or self.server.token(user, publish=["*"])
        await tab.connect(f"http://127.0.0.1:{self.server.port}", token, **options)
        return tab


def client_site() -> AbstractAsyncContextManager[str]:
    """The origin of an empty page that has the client's modules beside it."""
    return site(files={f"/client/{path.name}": path.read_bytes() for path in SOURCE.glob("*.js")})


@asynccontextmanager
async def world(tmp_path: Path, **settings: Any) -> AsyncIterator[World]:
    async with (
        client_site() as origin,
        running_server(tmp_path, origins=(origin,), **settings) as server,
        browser(tmp_path / "profile") as driven,
    ):
        yield World(server, driven, origin)
