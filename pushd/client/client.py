"""The client for programs: publish, pull, follow."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

import httpx
import trio

from pushd.client.answers import (
    ChannelInfo,
    ChannelItem,
    ChannelPage,
    Published,
    Pulled,
    decode,
)
from pushd.client.credential import Credential, TokenFunction
from pushd.client.follow import Follow, Following, Plan
from pushd.client.groups import body_exception
from pushd.client.http import Http, channel_path
from pushd.client.options import FollowOptions
from pushd.client.publishing import LineResults, RetryPolicy, new_id, publish, publish_to
from pushd.client.state import MOST_CHANNELS
from pushd.client.stores import CursorStore
from pushd.client.transport import HttpTransport
from pushd.errors import BadRequest, EpochChanged


class Client:
    """One server, as one user or service. ``async with Client(url, token) as client: …``

    Any number of tasks may use it at once. All methods raise subclasses of PushdError: the
    server's refusals by their code, Unreachable when there is no answer, BadAnswer when it is not
    in the protocol's form, NoToken when the token function fails.
    """

    def __init__(
        self,
        url: str,
        token: str | TokenFunction | None = None,
        *,
        device: str | None = None,
        retries: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``token``: a client token, an API key, or an async function that gives a new token.

        The function is asked when there is none, some time before the last one expires, and when
        it is refused. ``device``: the id of this installation, kept between runs; with one, the
        server keeps the cursors. ``transport``: instead of the network, for tests. Raises
        BadSetting for a URL or a token that can be none.
        """
        self._http = Http(url, Credential(token), transport)
        self._device = device
        self._retries = retries or RetryPolicy()
        self._stack: AsyncExitStack | None = None
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Client:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._http)
            stack.enter_context(body_exception())
            self._nursery = await stack.enter_async_context(trio.open_nursery())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._stack is not None
        self._background().cancel_scope.cancel()
        self._nursery = None
        return await self._stack.__aexit__(kind, error, trace)

    # -- publishing ----------------------------------------------------------------------------

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
        message = _message(data, type, id, sender)
        return await publish(self._http, channel, message, self._retries)

    async def publish_to(
        self,
        data: Any,
        *,
        channels: Iterable[str] = (),
        users: Iterable[str] = (),
        groups: Iterable[str] = (),
        everybody: bool = False,
        type: str | None = None,  # noqa: A002
        id: str | None = None,  # noqa: A002
        sender: str | None = None,
    ) -> list[Published]:
        """Store one message in many places at once: in all of them, or (after an error) in none.

        ``users``: their inboxes; ``everybody``: the channel ``all``. One result for each target.
        """
        named = {"channels": channels, "users": users, "groups": groups}
        to: dict[str, Any] = {}
        for kind, names in named.items():
            if isinstance(names, str):
                raise BadRequest(f"{kind} takes several names: write [{names!r}].")
            if listed := list(names):
                to[kind] = listed
        if everybody:
            to["all"] = True
        return await publish_to(self._http, to, _message(data, type, id, sender), self._retries)

    def publish_lines(
        self, lines: Iterable[tuple[str, Mapping[str, Any]]], *, batch: int = 500
    ) -> LineResults:
        """Store many (channel, message) in order; ``async for`` gives one result for each.

        A message has ``data`` and may have ``type``, ``id``, ``sender``.
        """
        return LineResults(self._http, lines, self._retries, batch)

    # -- reading -------------------------------------------------------------------------------

    async def pull(
        self,
        channel: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        wait: float | None = None,
    ) -> Pulled:
        """Messages after the cursor ``after``; raises a Reset when they are not all there.

        ``after`` left out: where this device is. ``wait``: seconds the server may hold the answer
        until there is something new.
        """
        given = {"after": after, "limit": limit, "wait": f"{wait:g}" if wait else None}
        return await self._page(channel, given, wait or 0)

    async def history(
        self, channel: str, *, before: Pulled | int | None = None, limit: int = 50
    ) -> Pulled:
        """Older messages, oldest first: the newest ``limit``, or those before a page or a seq.

        ``more`` says that there are older ones: ``page = await client.history(c, before=page)``.
        Records nothing. Raises EpochChanged when the channel began a new life since that page.
        """
        if before is None:
            return await self._page(channel, {"last": limit})
        seq = before.oldest if isinstance(before, Pulled) else before
        page = await self._page(channel, {"before": seq, "limit": limit})
        if isinstance(before, Pulled) and page.epoch != before.epoch:
            raise EpochChanged(f"{channel!r} has begun a new life since that page.")
        return page

    async def _page(
        self, channel: str, given: Mapping[str, str | int | None], wait_s: float = 0
    ) -> Pulled:
        params = {name: value for name, value in given.items() if value is not None}
        if self._device is not None:
            params["device"] = self._device
        raw = await self._http.get(f"{channel_path(channel)}/messages", params, wait_s=wait_s)
        return decode(raw, Pulled)

    async def ack(self, cursors: Mapping[str, str]) -> None:
        """Record these positions as delivered to this device; ``follow`` does it by itself."""
        await self._transport().ack(dict(cursors))

    async def mark_read(self, channel: str, cursor: str) -> None:
        """Set this user's read mark; the user's other sessions are told. It never goes back."""
        await self._transport().mark_read(channel, cursor)

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

    async def channel(self, channel: str) -> ChannelInfo:
        """How much is in one channel, its rules, its slowest device; needs such a key.

        NotFound: nothing was ever published to it, or it was deleted.
        """
        return decode(await self._http.get(channel_path(channel), {}), ChannelInfo)

    # -- following -----------------------------------------------------------------------------

    def follow(
        self,
        *channels: str,
        after: str | Mapping[str, str] | None = None,
        mine: bool = False,
        store: CursorStore | None = None,
        at_most_once: bool = False,
        options: FollowOptions | None = None,
    ) -> Follow:
        """Follow up to 128 channels: ``async for event in client.follow("news", "user:alice")``.

        Gives Received, Reset, Placed, ReadElsewhere, Dropped and Status in order, for as long as
        it takes: connections are made, chosen and made again in the background.

        ``mine``: also what is the user's own: ``all`` and the inboxes (new ones, too).
        ``store``: where the cursors are kept; without one, the server keeps them for a client with
        a device. Where to begin: after the store's cursor, else after ``after`` (one cursor for
        all that are named here, or by channel, also for the user's own: ``0``, ``head`` or one that
        an answer gave), else where the server has this device, else at the start of inboxes and
        from now on in everything else.

        At least once: an event counts as processed when the next one is asked for, and what was
        not is given again after a crash. ``at_most_once``: it counts before it is handed out.
        """
        names = tuple(dict.fromkeys(channels))
        if len(names) > MOST_CHANNELS or not (names or mine):
            raise BadRequest(f"Follow 1 to {MOST_CHANNELS} channels, not {len(names)}.")
        starts = dict.fromkeys(names, after) if isinstance(after, str) else after
        plan = Plan(
            names, dict(starts or {}), mine, store, self._device is not None, at_most_once,
            options or FollowOptions(),
        )  # fmt: skip
        return Follow(Following(self._transport(), plan, random.Random()), self._background)

    def _transport(self) -> HttpTransport:
        return HttpTransport(self._http, self._device)

    def _background(self) -> trio.Nursery:
        if self._nursery is None:
            raise RuntimeError("Use the client within 'async with Client(…) as client'.")
        return self._nursery


def _message(data: Any, type_: str | None, id_: str | None, sender: str | None) -> dict[str, Any]:
    given = {"type": type_, "sender": sender}
    message = {name: value for name, value in given.items() if value is not None}
    return message | {"data": data, "id": new_id() if id_ is None else id_}
