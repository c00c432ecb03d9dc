"""Following channels: hints say when, pulls say what, and both may fail at any time.

Three tasks share one state: the hint session (``hints``), the puller (``pulling``) and the acks
(here). The consumer takes events from a mailbox.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from pushd.client.backoff import Backoff
from pushd.client.events import Event
from pushd.client.groups import one_exception
from pushd.client.hints import HintLoop
from pushd.client.mailbox import Mailbox
from pushd.client.problems import is_transient
from pushd.client.pulling import FollowOptions, Puller, Transport
from pushd.client.state import FollowState
from pushd.errors import PushdError

_MOST_ACKS: Final = 128
_LAST_ACK_S: Final = 2.0


class Follow:
    """Async iterator of events. Asking for the next one says that the last one is processed."""

    def __init__(
        self, transport: Transport, state: FollowState, options: FollowOptions, rng: random.Random
    ) -> None:
        self._transport = transport
        self._state = state
        self._ack_after_s = options.ack_after_s
        self._backoff = Backoff(1.0, 30.0, rng)
        self._mailbox = Mailbox(state.took)
        self._tasks = trio.CancelScope()
        self._puller = Puller(transport, state, self._mailbox, options, rng, self._ended)
        self._hints = HintLoop(transport.connect, self._puller, transport.split, rng)
        self._ack_refused = False

    @property
    def cursors(self) -> dict[str, str]:
        """After what has been processed, by channel: save these."""
        return self._state.cursors

    @property
    def ready(self) -> int:
        """Events that can be had without waiting."""
        return len(self._mailbox)

    def __aiter__(self) -> Follow:
        return self

    async def __anext__(self) -> Event:
        """Raises what ended the following for good, after the last event before it."""
        return await self._mailbox.next()

    async def run(self) -> None:
        """The background: until cancelled, or until the server ends it."""
        with self._tasks:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hints.run)
                nursery.start_soon(self._puller.run)
                nursery.start_soon(self._ack_loop)

    def _ended(self, error: PushdError) -> None:
        self._mailbox.fail(error)
        self._tasks.cancel()

    # -- telling the server what has been processed ---------------------------------------------

    async def _ack_loop(self) -> None:
        while not self._ack_refused:
            # Batched, and often not needed: the next pull tells its cursor, too.
            while not self._to_ack():
                await self._mailbox.taken.wait()
            await trio.sleep(self._ack_after_s)
            while not (await self.ack_now() or self._ack_refused):
                await trio.sleep(self._backoff.next_delay())
            self._backoff.reset()

    def _to_ack(self) -> dict[str, str]:
        """Nothing is recorded for a client without a device."""
        return self._state.unacked(_MOST_ACKS) if self._puller.has_device else {}

    async def ack_now(self) -> bool:
        """Send what is unacked; False when it has to be sent again. Never raises for the server."""
        batch = self._to_ack()
        if not batch or self._ack_refused:
            return True
        try:
            await self._transport.ack(batch)
        except PushdError as error:
            # One channel is refused (reset, maybe), the others were recorded: a pull will tell.
            if "channel" not in error.extra:
                # A refusal stops the acks, not the following: pulls tell their cursors as well.
                self._ack_refused = not is_transient(error)
                return False
        self._state.acked(batch)
        return True


@asynccontextmanager
async def open_follow(
    transport: Transport,
    state: FollowState,
    options: FollowOptions,
    rng: random.Random | None = None,
) -> AsyncIterator[Follow]:
    """Follow in the background of the ``async with`` body; everything ends with it."""
    follow = Follow(transport, state, options, rng or random.Random())
    with one_exception():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow.run)
            try:
                yield follow
            finally:
                with trio.move_on_after(_LAST_ACK_S, shield=True):
                    await follow.ack_now()
                nursery.cancel_scope.cancel()
