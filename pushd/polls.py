"""Held polls: records that fan-out or the timing wheel finishes, no tasks."""

from __future__ import annotations

import random
from collections.abc import Callable

import trio

from pushd.core.permissions import Identity
from pushd.core.topics import NOTHING
from pushd.core.wheel import Expiring, TimingWheel
from pushd.fanout import Fanout
from pushd.limits import Shares
from pushd.log import Log
from pushd.metrics import Counters

WAIT_SHORTENED = 0.2  # waits end up to this much sooner, so that polls do not come in step


class HeldPoll(Expiring):
    """A pull that waits. ``finish`` is called once: something moved, time is up, or drain."""

    __slots__ = ("_channels", "_finish", "_polls", "done", "identity")

    def __init__(
        self,
        polls: Polls,
        channels: list[str],
        finish: Callable[[], None],
        identity: Identity | None,
    ) -> None:
        super().__init__()
        self.identity = identity
        self._polls = polls
        self._channels = channels
        self._finish = finish
        self.done = False

    def moved(self) -> None:
        """Something did: answer it."""
        if not self.done:
            self.cancel()
            self._polls.counters.polls_answered += 1
            self._finish()

    def expire(self) -> None:
        """Its time is up, or its right: answer it with what there is."""
        if not self.done:
            self.cancel()
            self._finish()

    def cancel(self) -> None:
        """Forget it, unanswered: its client has left."""
        if self.done:
            return
        self.done = True
        for channel in self._channels:
            self._polls.fanout.unwait(channel, self)
        self._polls.wheel.disarm(self)
        self._polls.held.pop(self, None)
        shares, identity = self._polls.shares, self.identity
        if shares is not None and identity is not None and identity.user is not None:
            shares.leave(identity.user)


class Polls:
    """All polls that wait on this node. ``held``: in the order in which they came."""

    def __init__(
        self,
        log: Log,
        fanout: Fanout,
        wheel: TimingWheel[Expiring],
        counters: Counters,
        shares: Shares | None,
    ) -> None:
        """``shares``: how many polls and sessions a user may have; None: any number."""
        self.log = log
        self.fanout = fanout
        self.wheel = wheel
        self.counters = counters
        self.shares = shares
        self.held: dict[HeldPoll, None] = {}
        self.draining = False

    def hold(
        self,
        channels: list[str],
        wait: float,
        finish: Callable[[], None],
        identity: Identity | None = None,
    ) -> HeldPoll | None:
        """Register a poll whose client is at all heads; call it on the turn that found that out.

        ``identity``: whose it is; when that is revoked, the poll is finished. None when it must be
        answered at once (the server is draining). Raises Overloaded beyond the user's share.
        """
        if self.draining:
            return None
        if self.shares is not None and identity is not None and identity.user is not None:
            self.shares.enter(identity.user)
        poll = HeldPoll(self, channels, finish, identity)
        for channel in channels:
            head = self.log.heads.get(channel)
            self.fanout.wait(channel, poll, NOTHING if head is None else (head.epoch, head.seq))
        self.held[poll] = None
        wait *= 1 - WAIT_SHORTENED * random.random()
        self.wheel.arm(poll, trio.current_time() + wait)
        self.counters.polls_held += 1
        return poll

    def drain(self) -> list[HeldPoll]:
        """From now on nothing is held; what is held is given back to be finished."""
        self.draining = True
        return list(self.held)
