"""What a client reads: messages, the user's own channels, who is there, what channels there are."""

from __future__ import annotations

from collections.abc import Mapping

from pushd.client.answers import ChannelInfo, ChannelItem, Pulled, decode
from pushd.client.http import Http, channel_path
from pushd.client.paging import Pages
from pushd.client.people import Inbox, Presence
from pushd.client.transport import HttpTransport
from pushd.errors import EpochChanged


class Reading:
    """The half of ``Client`` that reads. Raises like all of it."""

    _http: Http
    _device: str | None

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
        return await Pages(self._http, "/v1/channels", params, ChannelItem).all()

    async def channel(self, channel: str) -> ChannelInfo:
        """How much is in one channel, its rules, its slowest device; needs such a key.

        NotFound: nothing was ever published to it, or it was deleted.
        """
        return decode(await self._http.get(channel_path(channel), {}), ChannelInfo)

    async def inbox(self) -> Inbox:
        """The user's own channels, and what is unread in each and in all. For users."""
        params: dict[str, str | int] = {"limit": 1000}
        if self._device is not None:
            params["device"] = self._device
        first = decode(await self._http.get("/v1/inbox", params), Inbox)
        items, page = [*first.items], first
        while page.next is not None:
            page = decode(await self._http.get("/v1/inbox", {**params, "next": page.next}), Inbox)
            items += page.items
        return Inbox(items, first.unread)

    async def presence(self, channel: str) -> Presence:
        """Who follows a channel of a namespace with ``presence``, for whoever may read it.

        Then follow ``presence`` of the answer after its ``cursor``: it tells who comes and goes.
        """
        path, params = f"{channel_path(channel)}/presence", {"limit": 1000}
        first = decode(await self._http.get(path, params), Presence)
        items, page = [*first.items], first
        while page.next is not None:
            page = decode(await self._http.get(path, {**params, "next": page.next}), Presence)
            items += page.items
        return Presence(channel, first.presence, first.cursor, first.count, items, state=page.state)

    def _transport(self) -> HttpTransport:
        return HttpTransport(self._http, self._device)
