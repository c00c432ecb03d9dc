"""The client for programs: publish, pull, follow."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType

import httpx
import trio

from pushd.client.administration import Groups, Nodes, Sessions, Users
from pushd.client.credential import Credential, TokenFunction
from pushd.client.follow import Follow, Following, Plan
from pushd.client.groups import body_exception
from pushd.client.http import Http
from pushd.client.options import FollowOptions
from pushd.client.reading import Reading
from pushd.client.retrying import RetryPolicy
from pushd.client.sending import Sending
from pushd.client.state import MOST_CHANNELS
from pushd.client.stores import CursorStore
from pushd.errors import BadRequest


class Client(Sending, Reading):
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
        self.users = Users(self._http)
        self.sessions = Sessions(self._http)
        self.groups = Groups(self._http)
        self.nodes = Nodes(self._http)
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

    def _background(self) -> trio.Nursery:
        if self._nursery is None:
            raise RuntimeError("Use the client within 'async with Client(…) as client'.")
        return self._nursery
