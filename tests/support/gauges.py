"""Waiting until the server is in the state that a test needs, as the server itself tells it."""

from __future__ import annotations

import re
from urllib.parse import quote

import trio

from tests.support.ledger import decode_page
from tests.support.server import ServerProcess

BOUND_S = 120.0  # patience, not an expectation


async def gauge_reaches(server: ServerProcess, name: str, value: int) -> None:
    """Ask until the gauge has exactly this value. For states that nothing else tells."""
    pattern = re.compile(rf"^{name} (\S+)$".encode(), re.MULTILINE)
    with trio.fail_after(BOUND_S):
        while not await _has(server, pattern, value):
            pass


async def _has(server: ServerProcess, pattern: re.Pattern[bytes], value: int) -> bool:
    # /metrics is served by the web framework, for which a connection serves once.
    async with await server.http() as http:
        body = (await http.get("/metrics")).ok()
    found = pattern.search(body)
    assert found, body
    return float(found[1]) == value


async def head_reaches(server: ServerProcess, channel: str, seq: int) -> None:
    """Poll from the head until the channel is as far."""
    target = f"/v1/channels/{quote(channel, safe='')}/messages?after=head&wait=20"
    async with await server.http() as http:
        while decode_page((await http.get(target)).ok()).head < seq:
            pass
