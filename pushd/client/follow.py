"""Following channels: hints say when, pulls say what, and both may fail at any time.

Three tasks share one state: the hint session (``hints``), the puller (``pulling``) and what tells
store and server how far the consumer is (``confirm``). The consumer takes events from a mailbox.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

import trio

from pushd.client.adopt import Adopter
from pushd.client.begin import locate_all
from pushd.client.confirm import Confirmer
from pushd.client.events import Event
from pushd.client.groups import one_exception
from pushd.client.hints import HintLoop
from pushd.client.mailbox import Mailbox
from pushd.client.needs import Transport
from pushd.client.options import FollowOptions
from pushd.client.pulling import Puller
from pushd.client.state import FollowState
from pushd.client.stores import CursorStore

_LAST_WORD_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to follow and how. ``after``: where to begin where the store knows nothing."""

    channels: tuple[str, ...] = ()
    after: Mapping[str, str] = field(default_factory=dict)
    mine: bool = False
    store: CursorStore | None = None
    has_device: bool = False
    at_most_once: bool = False
    options: FollowOptions = field(default_factory=FollowOptions)


class Following:
    """The background of one ``Follow``; it must not know that one, see there."""

    def __init__(self, transport: Transport, plan: Plan, rng: random.Random) -> None:
        self._transport, self._plan, self._rng = transport, plan, rng
        self.state = FollowState({}, mine=plan.mine)
        self._confirmer = Confirmer(
            self.state, plan.store, transport.ack, plan.options, rng,
            has_device=plan.has_device, at_most_once=plan.at_most_once,
        )  # fmt: skip
        self.mailbox = Mailbox(self._confirmer.took)
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    async def run(self) -> None:
        """Until cancelled, or until something ends it for good. Raises nothing of that."""
        try:
            with self.scope:
                try:
                    await self._follow()
                finally:
                    with trio.move_on_after(_LAST_WORD_S, shield=True):
                        await self._confirmer.now()
        except Exception as error:
            self.mailbox.fail(error)
        finally:
            self.ended.set()

    async def _follow(self) -> None:
        plan = self._plan
        known = {**plan.after, **await self._confirmer.load(list(plan.channels))}
        await locate_all(self._transport, self.state, self.mailbox, plan.channels, known, self._rng)
        load = None if plan.store is None else self._confirmer.load
        adopter = Adopter(self.state, self.mailbox, plan.after, load)
        puller = Puller(
            self._transport, self.state, self.mailbox, self._confirmer, adopter, plan.options,
            self._rng, self._fail,
        )  # fmt: skip
        hints = HintLoop(self._transport, puller, plan.options, self._rng)
        with one_exception():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hints.run)
                nursery.start_soon(puller.run)
                nursery.start_soon(self._confirmer.run, self.mailbox.taken)

    def _fail(self, error: Exception) -> None:
        self.mailbox.fail(error)
        self.scope.cancel()


class Follow:
    """Async iterator of events. Asking for the next one says that the last one is processed.

    Use it in one of two ways: ``async for event in client.follow(…)``, or, when it has to be over
    at a certain point, ``async with client.follow(…) as events``. It begins with the first event
    that is asked for (or with the ``async with``), and ends with the body, with the client, when
    nothing refers to it any more, or when the server ends it: then it raises the reason.
    """

    def __init__(self, following: Following, nursery: Callable[[], trio.Nursery]) -> None:
        """``nursery``: gives the one that the background runs in."""
        self._following = following
        self._nursery = nursery
        self._token: trio.lowlevel.TrioToken | None = None

    @property
    def cursors(self) -> dict[str, str]:
        """After what has been processed, by channel."""
        return self._following.state.cursors

    @property
    def ready(self) -> int:
        """Events that can be had without waiting."""
        return len(self._following.mailbox)

    def __aiter__(self) -> Follow:
        return self

    async def __anext__(self) -> Event:
        """Raises what ended the following for good, after the last event before it.

        That is a PushdError of the server, or what a cursor store raised.
        """
        self._start()
        return await self._following.mailbox.next()

    async def __aenter__(self) -> Follow:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Save and ack what was processed, then end; for at most two seconds."""
        if self._token is not None:
            self._following.scope.cancel()
            with trio.CancelScope(shield=True):
                await self._following.ended.wait()

    def _start(self) -> None:
        if self._token is None:
            self._nursery().start_soon(self._following.run)
            self._token = trio.lowlevel.current_trio_token()

    def __del__(self) -> None:
        # An 'async for' that was left by 'break': nobody can ask for more. The garbage collector
        # may run anywhere, therefore by way of the token.
        if self._token is not None and not self._following.ended.is_set():
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._following.scope.cancel)
