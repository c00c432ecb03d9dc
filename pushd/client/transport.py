"""What following needs of a server, over HTTP, WebSocket and event streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from pushd.client.answers import MultiPulled, Pulled, decode
from pushd.client.ask import Ask
from pushd.client.http import Http, channel_path
from pushd.client.ladder import TransportKind
from pushd.client.link import Link
from pushd.client.sse import open_events
from pushd.client.websocket import open_link, split_channels, websocket_url

# A pull that is not held is answered at once; a connection to a vanished peer never is.
_PULL_ANSWER_S: Final = 15.0


class HttpTransport:
    """Implements ``pulling.Transport``."""

    def __init__(self, http: Http, device: str | None) -> None:
        self._http = http
        self._device = device
        self._named = {} if device is None else {"device": device}
        self.credential = http.credential

    async def pull(self, ask: Ask, limit: int, wait_s: float) -> MultiPulled:
        body: dict[str, Any] = {"cursors": ask.cursors, "limit": limit, **self._named}
        if ask.atleast:
            body["atleast"] = ask.atleast
        if ask.mine:
            body["mine"] = True
        if wait_s:
            body["wait"] = wait_s
        raw = await self._http.post("/v1/pull", body, wait_s=wait_s, answer_s=_PULL_ANSWER_S)
        return decode(raw, MultiPulled)

    async def ack(self, cursors: dict[str, str]) -> None:
        await self._http.post("/v1/ack", {"cursors": cursors, **self._named})

    async def mark_read(self, channel: str, cursor: str) -> None:
        body = {"cursor": cursor, **self._named}
        await self._http.post(f"{channel_path(channel)}/read", body)

    async def locate(self, channel: str) -> Pulled:
        params: dict[str, str | int] = {"limit": 1, **self._named}
        return decode(await self._http.get(f"{channel_path(channel)}/messages", params), Pulled)

    @asynccontextmanager
    async def connect(
        self, kind: TransportKind, channels: list[str], replaces: str | None
    ) -> AsyncIterator[Link]:
        if kind == "sse":
            async with open_events(self._http, channels, self._device, replaces) as events:
                yield events
            return
        headers = await self.credential.headers()
        url = websocket_url(self._http.url, channels, self._device)
        async with open_link(url, headers) as link:
            yield link

    def split(self, channels: list[str]) -> tuple[list[str], list[str]]:
        return split_channels(channels)
