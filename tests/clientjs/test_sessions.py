"""Sessions of a real browser: tokens that run out, goodbyes, and what is a session's own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.clientjs.tabs import Tab, World, world
from tests.support.app import until
from tests.support.browser import START_S


async def only_session(at: World, tab: Tab) -> Any:
    """The one that both sides know. A stream is opened anew for more channels, so wait for it."""
    with trio.fail_after(START_S):
        while True:
            known = await tab.page.run("push.state.state === 'live' ? session : ''")
            found = [*at.server.hub.sessions.of_user("alice")]
            if [each.id for each in found] == [known]:
                return found[0]
            await trio.sleep(0.01)


async def test_a_token_is_renewed_in_time(tmp_path: Path) -> None:
    """The page's clock is ahead, so that an hour seems to be three seconds: it goes on."""
    async with world(tmp_path) as at:
        tokens = [at.server.token("alice", ttl_s=life) for life in (3600, 7200)]
        tab = await at.tab(token=tokens, left_s=3)
        await tab.listen("news", after="0")
        await tab.state("live")
        session = await only_session(at, tab)
        later = time.time() + 3700
        await until(lambda: session.identity.expires > later)
        await at.server.publish("news", 1)
        await tab.has("news", [1])
        assert await only_session(at, tab) is session
        assert await tab.page.run("asked") == 2
        assert "connecting" not in (await tab.page.run("states"))[1:]


async def test_a_token_runs_out(tmp_path: Path) -> None:
    """The server ends the session (4001): another token, another session, nothing missed."""
    async with world(tmp_path) as at:
        tab = await at.tab(token=[at.server.token("alice"), at.server.token("alice")])
        await tab.listen("news", after="0")
        await tab.state("live")
        old = await only_session(at, tab)
        old.identity = replace(old.identity, expires=time.time() + 0.1)
        old.rearm()
        await until(lambda: old.id not in at.server.hub.sessions.by_id)
        await at.server.publish("news", 1)
        await tab.has("news", [1])
        await tab.state("live")
        assert await tab.page.run("asked") == 2
        assert await tab.page.run("states") == ["live", "connecting", "live"]


async def test_no_other_token(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        tab = await at.tab()
        await tab.state("live")
        (await only_session(at, tab)).bye(4001, "revoked")
        await tab.state("closed")
        assert await tab.page.run("errors") == ["unauthorized"]


BYES = [
    (1001, "going away", None), (1012, "restart", None), (1013, "overloaded", None),
    (4008, "heartbeat missed", None), (4029, "rate_limited", None), (4009, "upgrade", True),
]  # fmt: skip
LAST = [(4003, "forbidden", None, "forbidden"), (4009, "kicked", False, "kicked")]


@pytest.mark.parametrize("transports", [["websocket"], ["sse"]], ids=lambda each: each[0])
async def test_byes(tmp_path: Path, transports: list[str]) -> None:
    """It comes again, and misses nothing; but for the ones that are the last word."""
    async with world(tmp_path) as at:
        sent: list[int] = []
        for code, reason, again, error in LAST:
            tab = await at.tab(tabs=False, device=f"d{code}", transports=transports)
            await tab.listen("news", after="0")
            for number, (bye, why, reconnect) in enumerate(BYES):
                await reconnects(at, tab, bye, why, reconnect)
                sent.append(code + number)
                await at.server.publish("news", sent[-1])
                await tab.has("news", sent)
            (await only_session(at, tab)).bye(code, reason, reconnect=again)
            await tab.state("closed")
            assert await tab.page.run("errors") == [error]
            await until(lambda: not at.server.hub.sessions.by_id)


async def reconnects(at: World, tab: Tab, code: int, reason: str, again: bool | None) -> None:
    old = await only_session(at, tab)
    old.bye(code, reason, reconnect=again)
    await tab.page.run(f"until(() => session !== '{old.id}' && push.state.state === 'live')")


async def test_what_is_a_sessions_own(tmp_path: Path) -> None:
    """It is delivered; after a reconnect nothing is said of the old one, and the new one works."""
    async with world(tmp_path) as at:
        tab = await at.tab(own=True)
        await tab.listen("*")
        for number in range(3):
            session = await only_session(at, tab)
            assert await tab.page.run("session") == session.id
            await at.server.publish(f"session:{session.id}", number)
            await tab.has("*", list(range(number + 1)))
            assert f"session:{session.id}" in await tab.page.run("Object.keys(push.cursors)")
            await reconnects(at, tab, 1012, "restart", None)
            own = await tab.page.run("Object.keys(push.cursors)")
            assert not [name for name in own if name.startswith("session:")]
        await tab.page.run("push.ask('POST', '/v1/pull', { cursors: push.cursors })")
        assert await tab.page.run("errors") == []
