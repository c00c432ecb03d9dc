"""What a page keeps when it is loaded again: cursors in either store, and what waits to be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clientjs.tabs import Tab, client_site, world
from tests.support.browser import browser
from tests.support.server import ServerProcess

SAVED = {
    "local": "Object.entries(localStorage).some(([key, value]) =>"
    " key.endsWith(':cursor:news') && value === cursor)",
    "indexed": "import('/client/index.js').then(({ indexedStore }) =>"
    " indexedStore('cursors').load(['news'])).then(({ news }) => news === cursor)",
}


@pytest.mark.parametrize("store", SAVED)
async def test_cursors(tmp_path: Path, store: str) -> None:
    """Of a device that the server does not know: only the store can tell."""
    async with world(tmp_path) as at:
        tab = await at.tab(store=store, device="first", tabs=False)
        for number in range(3):
            last = await at.server.publish("news", number)
        await tab.listen("news", after="0")
        await tab.has("news", [0, 1, 2])
        for device in ("second", "third"):
            cursor = f"{last['epoch']}.{last['seq']}"
            await tab.page.run(f"globalThis.cursor = '{cursor}'; until(() => {SAVED[store]})")
            address = await tab.leave()
            sent = []
            for number in range(2):
                sent.append(f"{device} {number}")
                last = await at.server.publish("news", sent[-1])
            await tab.goes(address)
            base = f"http://127.0.0.1:{at.server.port}"
            token = at.server.token("alice")
            await tab.connect(base, token, store=store, device=device, tabs=False)
            await tab.listen("news")
            await tab.has("news", sent)


async def test_the_outbox_while_the_server_is_away(tmp_path: Path) -> None:
    """What was written is sent once, in its order, when the server is back."""
    async with (
        client_site() as origin,
        ServerProcess(tmp_path, origins=origin) as server,
        browser(tmp_path / "profile") as driven,
    ):
        base = "http://{}:{}".format(*server.address)
        token = server.token("alice", subscribe=("*",), publish=("*",))
        tab = Tab(await driven.open(origin + "/"))
        await tab.connect(base, token)
        await tab.page.run("push.channel('chat').publish('before')")
        await server.kill()
        expected = ["before"]
        for load in range(3):
            new = [f"{load} {number}" for number in range(20)]  # many within one millisecond
            expected += new
            given = ", ".join(f"'{text}'" for text in new)
            await tab.page.run(
                f"for (const text of [{given}])"
                " push.channel('chat').publish(text).catch(() => {}); 0"
            )
            await tab.page.run(f"until(() => push.unsent === {len(expected) - 1})")
            await tab.goes(await tab.leave())
            await tab.connect(base, token)
        await server.start()
        await tab.page.run("until(() => push.unsent === 0)")
        assert (
            await tab.page.run("Object.keys(localStorage).filter(k => k.includes(':out:'))") == []
        )
        assert await stored(server) == expected


async def stored(server: ServerProcess) -> list[Any]:
    async with await server.http() as http:
        answer = await http.get("/v1/channels/chat/messages?after=0&limit=1000")
    return [each["data"] for each in answer.json()["messages"]]
