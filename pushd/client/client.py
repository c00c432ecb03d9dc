"""The client for programs: publish, pull, follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import httpx

from pushd.client.answers import ChannelItem, ChannelPage, MultiPulled, Published, Pulled, decode
from pushd.client.follow import Follow, open_follow
from pushd.client.hints import Link
from pushd.client.http import Http, channel_path
from pushd.client.publishing import LineResults, RetryPolicy, new_id, publish
from pushd.client.pulling import FollowOptions
from pushd.client.state import FollowState
from pushd.client.websocket import open_link, split_channels, websocket_url
from pushd.errors import BadRequest

_MOST_FOLLOWED: Final = 128


class Client:
    """One server, one credential (API key or token). Use it as ``async with Client(…) as client``.

    All methods raise subclasses of PushdError: the server's refusals by their code, Unreachable
    when there is no answer, BadAnswer when it is not in the protocol's form.
    """

    def __init__(
        self,
        url: str,
        credential: str | None = None,
        *,
        device: str | None = None,
        retries: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``device``: the id of this installation, kept between runs. ``transport``: for tests."""
        self._http = Http(url, credential, transport)
        self._device = device
        self._retries = retries or RetryPolicy()

    async def __aenter__(self) -> Client:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.__aexit__(*exc)

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        type: str | None = None,  # noqa: A002 - the protocol's word
        id: str | None = None,  # noqa: A002
        sender: str | None = None,
    ) -> Published:
        """Store one message; returns once it is on disk.

        ``id`` makes it idempotent for 24 h; one is made when none is given, so that a retry after
        a lost answer stores nothing twice. ``sender`` may be given by services only.
        """
        given = {"type": type, "sender": sender}
        message = {name: value for name, value in given.items() if value is not None}
        message |= {"data": data, "id": new_id() if id is None else id}
        return await publish(self._http, channel, message, self._retries)

    def publish_lines(
        self, lines: Iterable[tuple[str, Mapping[str, Any]]], *, batch: int = 500
    ) -> LineResults:
        """Store many (channel, message) in order; ``async for`` gives one result for each.

        A message has ``data`` and may have ``type``, ``id``, ``sender``.
        """
        return LineResults(self._http, lines, self._retries, batch)

    async def pull(
        self,
        channel: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        wait: float | None = None,
    ) -> Pulled:
        """Messages after the cursor ``after``; raises a Reset when they are not all there.

        ``wait``: seconds the server may hold the answer until there is something new.
        """
        given = {"after": after, "limit": limit, "wait": f"{wait:g}" if wait else None}
        params = {name: value for name, value in given.items() if value is not None}
        path = f"{channel_path(channel)}/messages"
        raw = await self._http.get(path, params | self._device_parameter(), wait_s=wait or 0)
        return decode(raw, Pulled)

    async def channels(self, prefix: str = "") -> list[ChannelItem]:
        """The server's channels; needs a key that may read or administer."""
        params: dict[str, str | int] = {"prefix": prefix} if prefix else {}
        items: list[ChannelItem] = []
        while True:
            page = decode(await self._http.get("/v1/channels", params), ChannelPage)
            items += page.items
            if page.next is None:
                return items
            params["next"] = page.next

    def follow(
        self, cursors: Mapping[str, str], options: FollowOptions | None = None
    ) -> AbstractAsyncContextManager[Follow]:
        """Follow channels from their cursors (``0``, ``head`` or one that an answer gave).

        ``async with client.follow({"news": "head"}) as events: async for event in events: …``
        gives Received, Reset, Placed, Dropped and Status in order. Each message comes once per
        cursor; a cursor is acked after the next event is asked for.
        """
        if not 1 <= len(cursors) <= _MOST_FOLLOWED:
            raise BadRequest(f"Follow 1 to {_MOST_FOLLOWED} channels, not {len(cursors)}.")
        chosen = options or FollowOptions(has_device=self._device is not None)
        return open_follow(_HttpTransport(self._http, self._device), FollowState(cursors), chosen)

    def _device_parameter(self) -> dict[str, str | int]:
        return {} if self._device is None else {"device": self._device}


class _HttpTransport:
    """What ``pulling.Transport`` asks for, over one server's HTTP and WebSocket."""

    def __init__(self, http: Http, device: str | None) -> None:
        self._http = http
        self._device = device
        self._named = {} if device is None else {"device": device}

    async def pull(self, cursors: dict[str, str], limit: int, wait_s: float) -> MultiPulled:
        body: dict[str, Any] = {"cursors": cursors, "limit": limit, **self._named}
        if wait_s:
            body["wait"] = wait_s
        raw = await self._http.post("/v1/pull", body, wait_s=wait_s)
        return decode(raw, MultiPulled)

    async def ack(self, cursors: dict[str, str]) -> None:
        await self._http.post("/v1/ack", {"cursors": cursors, **self._named})

    def connect(self, channels: list[str]) -> AbstractAsyncContextManager[Link]:
        url = websocket_url(self._http.url, channels, self._device)
        return open_link(url, self._http.headers)

    def split(self, channels: list[str]) -> tuple[list[str], list[str]]:
        return split_channels(channels)
