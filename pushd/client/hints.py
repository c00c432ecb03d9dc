"""Keeps one hint session alive: over the best transport that works, and again after every loss."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol

import trio

from pushd.client.backoff import Backoff
from pushd.client.credential import Credential
from pushd.client.ladder import Ladder, TransportKind
from pushd.client.link import Link, LinkLost, Listener
from pushd.client.options import FollowOptions
from pushd.client.problems import is_transient
from pushd.client.session import Session, SessionEnd
from pushd.errors import PushdError

# A session that lived so long, or that the server ended with a word, says that it works.
_WORKED_S: Final = 5.0
# Refused although the token was new: another one will not help.
_MOST_STALE: Final = 2


class Connector(Protocol):
    """How links are made."""

    credential: Credential

    def connect(
        self, kind: TransportKind, channels: list[str], replaces: str | None
    ) -> AbstractAsyncContextManager[Link]:
        """A link; raises LinkLost. ``replaces``: the session that this one takes over from."""

    def split(self, channels: list[str]) -> tuple[list[str], list[str]]:
        """Which channels the address can name, and which have to be subscribed."""


class HintLoop:
    """Runs until cancelled, or until the server ends it for good."""

    def __init__(
        self, connector: Connector, listener: Listener, options: FollowOptions, rng: random.Random
    ) -> None:
        self._connector, self._listener = connector, listener
        self._options, self._rng = options, rng
        self._ladder = Ladder(options.transports, rng)
        self._backoff = Backoff(1.0, 30.0, rng)
        self._last_session: str | None = None
        self._stale = 0
        self._reasons: list[str] = []

    async def run(self) -> None:
        """Until cancelled, until there is nothing to try, or until the server ends it for good."""
        while (kind := self._ladder.now) is not None:
            end = await self._one_session(kind)
            final = self._judge(end)
            if final is not None:
                self._listener.ended(final)
                return
            at_once = self._ladder.ended(
                kind, end.lived_s, blocked=end.blocked, orderly=end.orderly
            )
            self._reasons.append(end.reason)
            if end.lived_s is not None or not at_once:
                # Why none of them worked, best first.
                self._listener.lost("; ".join(self._reasons), was_live=end.lived_s is not None)
                self._reasons = []
            if (end.lived_s or 0) >= _WORKED_S or (end.lived_s is not None and end.orderly):
                self._backoff.reset()
            if not at_once:
                await trio.sleep(self._backoff.next_delay(end.retry_after_s))

    def _judge(self, end: SessionEnd) -> PushdError | None:
        """What ends it for good. A refused token does not, while there may be a better one."""
        if not end.stale_token:
            self._stale = 0
            return end.final
        self._stale = 1 if end.lived_s is not None else self._stale + 1
        renewable = self._connector.credential.refuse_current()
        return None if renewable and self._stale < _MOST_STALE else end.final

    async def _one_session(self, kind: TransportKind) -> SessionEnd:
        session = Session(
            kind, self._listener, self._connector.credential, self._options, self._rng
        )
        places = self._listener.places()
        named, rest = self._connector.split(list(places))
        unnamed = {name: places[name] for name in rest}
        async with trio.open_nursery() as nursery:
            if self._ladder.above is not None:
                nursery.start_soon(self._climb, self._ladder.above, session)
            await self._serve(session, partial(session.serve, rest=unnamed), named)
            nursery.cancel_scope.cancel()
        if kind == "websocket" and session.id is not None:
            self._last_session = session.id
        return session.result()

    async def _serve(
        self, session: Session, serve: Callable[[Link], Awaitable[None]], named: list[str]
    ) -> None:
        try:
            async with self._connector.connect(session.kind, named, self._last_session) as link:
                await serve(link)
        except LinkLost as lost:
            session.end_by(lost)
        except PushdError as error:
            # No token, or a server that says no in the words of HTTP.
            final = None if is_transient(error) else error
            session.end(error.detail, None, error.retry_after, final=final)

    async def _climb(self, kind: TransportKind, held: Session) -> None:
        """While a lower rung holds, look whether the better one works again; then move over."""
        while True:
            await trio.sleep(self._ladder.climb_in())
            probe = Session(
                kind, self._listener, self._connector.credential, self._options, self._rng
            )
            named, _ = self._connector.split(list(self._listener.places()))
            await self._serve(probe, partial(probe.serve, rest={}, probe=True), named)
            if probe.result().lived_s is not None:
                self._ladder.climb()
                held.end(f"{kind} works again", 1000)
                return
