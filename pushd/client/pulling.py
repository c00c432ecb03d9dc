"""When to pull: joins the decisions of ``state`` with the clock and with what a server says.

One pull at a time, and the next only after the consumer has processed everything: a pull tells
the server that all before its cursor was delivered, so it must not run ahead of the consumer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

import trio

from pushd.client.adopt import Adopter
from pushd.client.answers import Frame, MultiPulled, Refusal, denied_names
from pushd.client.ask import Ask
from pushd.client.backoff import Backoff
from pushd.client.confirm import Confirmer
from pushd.client.events import Event, ReadElsewhere, Received
from pushd.client.ladder import TransportKind
from pushd.client.mailbox import Mailbox, Signal
from pushd.client.needs import Transport
from pushd.client.options import FollowOptions
from pushd.client.problems import is_foreign, is_transient
from pushd.client.session import final_error
from pushd.client.state import FollowState
from pushd.errors import Forbidden, PushdError

DEFAULT_INTERVAL_S: Final = 20.0
_INTERVAL_RANGE_S: Final = (1.0, 300.0)
# A poll that comes back empty sooner than this was not held.
_HELD_S: Final = 1.0
_GONE: Final = Refusal("forbidden", "This user may not read it any longer.")


class Puller:
    """Pulls when a hint says so, every interval in any case, and all the time without hints."""

    def __init__(
        self,
        transport: Transport,
        state: FollowState,
        mailbox: Mailbox,
        confirmer: Confirmer,
        adopter: Adopter,
        options: FollowOptions,
        rng: random.Random,
        ended: Callable[[Exception], None],
    ) -> None:
        """``ended`` is told what ends the following for good."""
        self._transport, self._state, self._mailbox = transport, state, mailbox
        self._confirmer, self._adopter = confirmer, adopter
        self._options, self._rng, self.ended = options, rng, ended
        self._changed = Signal()
        self._held: trio.CancelScope | None = None
        self._polling = not options.transports
        self._stalled = False
        self._worked = False
        self._trouble: PushdError | None = None
        self._trouble_backoff = Backoff(1.0, 30.0, rng)
        self._stall_backoff = Backoff(0.5, 10.0, rng)
        self._interval_s = options.interval_s or DEFAULT_INTERVAL_S
        now = trio.current_time()
        # When the channels that are behind are pulled, when all are, and not before when.
        self._pull_at = now if state.behind else math.inf
        self._full_at = now + self._interval_s
        self._not_before = now

    # -- what the hint session tells (link.Listener) -------------------------------------------

    def places(self) -> dict[str, str]:
        # A session's own channels need no asking, and the next session has none of this one's.
        places = self._state.places.items()
        return {name: cursor for name, cursor in places if not name.startswith("session:")}

    def live(self, kind: TransportKind, hello: Frame, left_out: frozenset[str]) -> None:
        low, high = _INTERVAL_RANGE_S
        if self._options.interval_s is None:
            self._interval_s = min(max(hello.pull.interval_s, low), high)
        self._full_at = min(self._full_at, trio.current_time() + self._interval_s)
        self._confirmer.met(hello.device)
        self._polling = False
        names = {"websocket": "a WebSocket", "sse": "an event stream"}
        self._mailbox.put_status("live", f"hints arrive over {names[kind]}")
        self._state.enter(hello.session)
        self._learn(hello)
        self._state.suspect(set(self._state.channels) - set(hello.heads) - left_out)
        self._pull_within(hello.pull.jitter_ms)
        self._changed.notify()  # the interval may be shorter now
        # A poll that is held would tell nothing that the hello does not.
        if self._held is not None:
            self._held.cancel()

    def subscribed(self, frame: Frame) -> None:
        self._learn(frame)
        self._pull_within(0)

    def unsubscribed(self, frame: Frame) -> None:
        for name in frame.channels:
            self._adopter.forget(name)
            self._mailbox.put(self._state.drop(name, _GONE))
        self._end_when_empty()

    def hinted(self, frame: Frame) -> None:
        self._adopter.heard(frame.channel)
        if self._state.heard(frame.channel, frame.epoch, frame.seq):
            self._pull_within(frame.jitter_ms)

    def was_read(self, frame: Frame) -> None:
        if frame.cursor:
            self._mailbox.put_read(ReadElsewhere(frame.channel, frame.cursor))

    def lost(self, reason: str, *, was_live: bool) -> None:
        if was_live:
            self._mailbox.put_status("lost", reason)
        elif not self._polling:
            self._polling = True
            self._mailbox.put_status("polling", reason)
            self._changed.notify()

    def _learn(self, frame: Frame) -> None:
        for name, refusal in denied_names(frame.denied).items():
            # Of more channels than a session follows, some are pulled without hints.
            if refusal.code != "too_large":
                self._mailbox.put(self._state.drop(name, refusal))
        for name, head in frame.heads.items():
            self._adopter.met(name, head)
        self._changed.notify()
        self._end_when_empty()

    def _pull_within(self, jitter_ms: int) -> None:
        """A large channel's clients spread their pulls over ``jitter_ms``."""
        if self._state.behind:
            delay = self._rng.uniform(0.0, max(jitter_ms, 0) / 1000)
            self._pull_at = min(self._pull_at, trio.current_time() + delay)
            self._changed.notify()

    def _end_when_empty(self) -> None:
        if self._state.is_empty:
            self.ended(Forbidden("The server refuses every channel that was to be followed."))

    # -- pulling ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Pull until cancelled."""
        self._end_when_empty()
        while True:
            while (due := self._due_at()) > trio.current_time() and not self._adopter.pending:
                with trio.move_on_at(due):
                    await self._changed.wait()
            if self._adopter.pending:
                await self._adopter.settle()
                self._pull_within(0)
                continue
            await self._pull_once()
            await trio.lowlevel.checkpoint()
            await self._mailbox.wait_empty()

    def _due_at(self) -> float:
        if self._polling:
            return self._not_before
        return max(min(self._full_at, self._pull_at), self._not_before)

    async def _pull_once(self) -> None:
        began = trio.current_time()
        everything = self._polling or began >= self._full_at
        # What is known to be there needs no waiting.
        wait_s = self._options.wait_s if self._polling and not self._state.behind else 0.0
        ask = self._state.begin(everything=everything)
        self._pull_at = math.inf
        answer = None
        with trio.CancelScope() as scope:
            self._held = scope if wait_s else None
            try:
                answer = await self._transport.pull(ask, self._options.limit, wait_s)
            except PushdError as error:
                self._pull_failed(error)
        self._held = None
        now = trio.current_time()
        if answer is None:
            self._state.failed(ask)
        else:
            await self._take(ask, answer, held=wait_s > 0 and now - began >= _HELD_S)
            if everything:
                # A little early each time: clients that began together drift apart.
                self._full_at = now + self._interval_s * self._rng.uniform(0.8, 1.0)
        self._pull_at = min(self._pull_at, now) if self._state.behind else math.inf

    def _pull_failed(self, error: PushdError) -> None:
        # A proxy without its server (404, a page for people) is no reason to end what worked.
        if not (is_transient(error) or (self._worked and is_foreign(error))):
            self.ended(error)
            return
        if self._trouble is None:
            self._mailbox.put_status("retrying", error.detail)
        self._trouble = error
        delay = self._trouble_backoff.next_delay(error.retry_after)
        self._not_before = trio.current_time() + delay

    async def _take(self, ask: Ask, answer: MultiPulled, *, held: bool) -> None:
        self._worked = True
        if self._trouble is not None:
            self._mailbox.put_status("recovered", "the server answers again")
            self._trouble = None
            self._trouble_backoff.reset()
        events: list[Event] = []
        try:
            for name, part in answer.channels.items():
                if name in ask.cursors:
                    events += self._state.answered(name, ask.cursors[name], part)
                elif not await self._adopter.placed(name):
                    events += self._state.answered_unasked(name, part)
        except PushdError as error:
            self.ended(error)
        self._state.settled(ask)
        self._state.suspect(ask.wanted - set(answer.channels))
        self._pace(events, held=held)
        await self._confirmer.before(events)
        self._mailbox.put(events)
        for notice in answer.notices:
            self._notice(notice)
        self._end_when_empty()

    def _notice(self, notice: Frame) -> None:
        if notice.type == "read":
            self.was_read(notice)
        elif notice.type == "bye":
            if (final := final_error(notice)) is not None:
                self.ended(final)
            elif notice.retry_after_ms is not None:
                delay = notice.retry_after_ms / 1000 + self._rng.uniform(0.0, 1.0)
                self._not_before = max(self._not_before, trio.current_time() + delay)

    def _pace(self, events: list[Event], *, held: bool) -> None:
        """Going round without getting anywhere slows down; the first time may be chance."""
        in_circles = self._state.behind or (self._polling and not held)
        if not in_circles or any(isinstance(event, Received) for event in events):
            self._stalled = False
            self._stall_backoff.reset()
            return
        if self._stalled:
            self._not_before = trio.current_time() + self._stall_backoff.next_delay()
        self._stalled = True
