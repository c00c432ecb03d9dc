"""Telling the store and the server what has been processed: after the fact, or before it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from pushd.client.backoff import Backoff
from pushd.client.events import Event
from pushd.client.mailbox import Signal
from pushd.client.options import FollowOptions
from pushd.client.problems import is_transient
from pushd.client.state import MOST_CHANNELS, FollowState
from pushd.client.stores import CursorStore
from pushd.errors import PushdError

_NO_POSITION: Final = ("0", "head")


class Confirmer:
    """Saves and acks positions, batched. The server keeps cursors for clients with a device."""

    def __init__(
        self,
        state: FollowState,
        store: CursorStore | None,
        ack: Callable[[dict[str, str]], Awaitable[None]],
        options: FollowOptions,
        rng: random.Random,
        *,
        has_device: bool,
        at_most_once: bool,
    ) -> None:
        self._state, self._store, self._ack = state, store, ack
        self._ack_after_s = options.ack_after_s
        self._backoff = Backoff(1.0, 30.0, rng)
        self._has_device, self._at_most_once = has_device, at_most_once
        self._ack_refused = False
        self._saved: dict[str, str] = {}

    def met(self, device: str | None) -> None:
        """The hello tells which device the token names."""
        self._has_device = self._has_device or device is not None

    def took(self, event: Event) -> None:
        """The consumer has processed this event."""
        if not self._at_most_once:
            self._state.took(event)

    async def load(self, channels: list[str]) -> Mapping[str, str]:
        """What the store knows of them."""
        if self._store is not None and channels:
            found = dict(await self._store.load(channels))
            self._saved.update(found)
            return found
        return {}

    async def before(self, events: list[Event]) -> None:
        """At most once: what is about to be handed out must never be handed out again.

        Returns once that is safe, however long it takes: in the store if there is one, else with
        the server.
        """
        if not self._at_most_once:
            return
        for event in events:
            self._state.took(event)
        await self._save()
        while self._store is None and not await self._ack_some():
            await trio.sleep(self._backoff.next_delay())
        self._backoff.reset()

    async def run(self, taken: Signal) -> None:
        """Until cancelled. ``taken`` wakes it when something was processed."""
        while True:
            # Batched, and the acks often not needed: the next pull tells its cursor, too.
            while not self._to_ack() and not self._to_save():
                await taken.wait()
            await trio.sleep(self._ack_after_s)
            await self._save()
            while not await self._ack_some():
                await trio.sleep(self._backoff.next_delay())
            self._backoff.reset()

    async def now(self) -> None:
        """At the end: one attempt."""
        await self._save()
        await self._ack_some()

    def _to_save(self) -> dict[str, str]:
        if self._store is None:
            return {}
        return {
            name: cursor
            for name, cursor in self._state.cursors.items()
            if cursor not in _NO_POSITION and self._saved.get(name) != cursor
        }

    async def _save(self) -> None:
        if self._store is not None and (cursors := self._to_save()):
            await self._store.save(cursors)
            self._saved.update(cursors)

    def _to_ack(self) -> dict[str, str]:
        """Nothing is recorded for a client without a device."""
        if not self._has_device or self._ack_refused:
            return {}
        return self._state.unacked(MOST_CHANNELS)

    async def _ack_some(self) -> bool:
        """Send what is unacked; False when it has to be sent again. Never raises for the server."""
        batch = self._to_ack()
        if not batch:
            return True
        try:
            await self._ack(batch)
        except PushdError as error:
            # One channel is refused (reset, maybe), the others were recorded: a pull will tell.
            if "channel" not in error.extra:
                # A refusal stops the acks, not the following: pulls tell their cursors as well.
                self._ack_refused = not is_transient(error)
                return self._ack_refused
        self._state.acked(batch)
        return True
