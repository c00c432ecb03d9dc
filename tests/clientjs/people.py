"""People at the demo pages, in a real browser: what they do, and what they see."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pushd.auth import mint_token
from pushd.cli.demo import PUBLISH, SUBSCRIBE, links, with_demo
from pushd.settings import Settings
from tests.support.app import SECRET, Server, running_server
from tests.support.browser import Browser, Page, browser

_UNTIL = """(async () => {
  while (!(%s)) await new Promise(done => setTimeout(done, 20))
})()"""


@dataclass
class Person:
    """One window, signed in."""

    user: str
    page: Page

    async def see(self, check: str) -> None:
        """Waits until an expression is true in the page."""
        await self.page.run(_UNTIL % check)

    async def say(self, text: str) -> None:
        given = json.dumps(text)
        await self.page.run(
            f"document.getElementById('text').value = {given};"
            "document.getElementById('composer').requestSubmit(); 0"
        )

    async def texts(self) -> list[str]:
        """What the open conversation shows, without names and times."""
        found: list[str] = await self.page.run(
            """[...document.querySelectorAll('.bubble')].map(each => {
              const copy = each.cloneNode(true)
              copy.querySelectorAll('.meta, .who').forEach(part => part.remove())
              return copy.textContent
            })"""
        )
        return found

    async def sees_texts(self, expected: list[str]) -> None:
        """Waits for so many, then compares: each once, in order."""
        await self.see(f"document.querySelectorAll('.bubble').length >= {len(expected)}")
        found = await self.texts()
        assert found == expected, found

    async def opens(self, name: str) -> None:
        """A conversation of the list."""
        await self.page.run(
            "[...document.querySelectorAll('#rooms button')]"
            f".find(each => each.textContent.includes({json.dumps(name)})).click(); 0"
        )
        await self.see(f"document.getElementById('title').textContent === {json.dumps(name)}")

    async def presses(self, text: str) -> None:
        """A button of this text."""
        await self.page.run(
            "[...document.querySelectorAll('button')]"
            f".find(each => each.textContent === {json.dumps(text)}).click(); 0"
        )

    async def is_live(self, transport: str) -> None:
        await self.see(f"push.state.transport === '{transport}'")

    async def photograph(self, path: Path, width: int, height: int, *, dark: bool) -> None:
        """As a screen of this size shows it; nothing may be wider than that."""
        await self.page.call("Page.bringToFront")  # else nothing is drawn
        await self.page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.page.call("Emulation.setEmulatedMedia", features=[scheme])
        shown = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        await self.page.run(shown)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await self.page.run(wide) == 0, "it can be scrolled sideways"
        taken = await self.page.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(taken["data"]))


@dataclass
class World:
    """A server in development mode, a browser, and links that sign in."""

    server: Server
    browser: Browser

    async def window(self, page: str, user: str) -> Person:
        base = f"http://127.0.0.1:{self.server.port}"
        return await open_window(self.browser, base, page, user, SECRET)


async def open_window(driven: Browser, base: str, page: str, user: str, secret: str) -> Person:
    """``user`` follows the link to ``page``."""

    def token_of(each: str) -> str:
        return mint_token(secret, each, subscribe=SUBSCRIBE, publish=PUBLISH)

    found = {(name, who): address for name, who, address in links(base, token_of, "")}
    address = found.get((page, user), f"{base}/demo/{page}#token={token_of(user)}")
    opened = await driven.open(address, arrives=f"{base}/demo/{page}")
    person = Person(user, opened)
    await person.see("globalThis.push && push.state.state !== 'connecting'")
    return person


@asynccontextmanager
async def world(tmp_path: Path, **settings: Any) -> AsyncIterator[World]:
    """Groups show who is in them, as 'pushctl serve --dev' has it."""
    namespaces = with_demo(Settings()).namespaces
    async with (
        running_server(tmp_path, dev=True, namespaces=namespaces, **settings) as server,
        browser(tmp_path / "profile") as driven,
    ):
        yield World(server, driven)
