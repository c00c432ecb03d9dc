"""The two threads that talk to Redis, as the loop sees them: one thing, connected or not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import structlog
import trio

from pushd.cluster.bus.address import RedisAddress
from pushd.cluster.bus.arrivals import ArrivalQueue, Heard
from pushd.cluster.bus.busstate import BusState
from pushd.cluster.bus.commander import Commander, Said
from pushd.cluster.bus.commands import CommandQueue, RedisAway, Work
from pushd.cluster.bus.line import Line
from pushd.cluster.bus.listener import Listener

log = structlog.get_logger("pushd.cluster")

_A = TypeVar("_A")


def call_all(listeners: Iterable[Callable[..., None]], *args: object) -> None:
    """A listener's failure is logged, and harms nobody else."""
    for listener in listeners:
        try:
            listener(*args)
        except Exception:
            log.exception("a listener of the bus failed")


class Wires:
    """``found`` and ``lost`` are called on the loop when all connections are there, and when one
    of them is lost; ``heard`` with what was published. Construct and use it on the loop."""

    def __init__(
        self,
        address: RedisAddress,
        state: BusState,
        commands: CommandQueue,
        hints_channel: str,
        found: Callable[[], None],
        lost: Callable[[], None],
        heard: Callable[[Heard], None],
    ) -> None:
        self._address = address
        self._state = state
        self._commands = commands
        self._arrivals = ArrivalQueue(hints_channel)
        self._hints_channel = hints_channel
        self._found, self._lost, self._heard = found, lost, heard
        self._lines: list[Line] = []
        self._up: set[str] = set()
        self._ended = False

    def start(self, channels: Sequence[str]) -> None:
        """The threads run from now on, and hear what is published in ``channels``."""
        self._loop = trio.lowlevel.current_trio_token()
        self._lines = [
            Commander(
                self._address,
                lambda error: self._post(self._reported, ("commands", error)),
                self._commands,
                lambda said: self._post(self._said, said),
                self._hints_channel,
            )
        ]
        if channels:
            self._lines.append(
                Listener(
                    self._address,
                    lambda error: self._post(self._reported, ("messages", error)),
                    self._take_in,
                    channels,
                )
            )
        for line in self._lines:
            line.start()

    async def end(self) -> None:
        """The threads end, as far as there is time; they are daemons."""
        self._ended = True
        self._commands.end()
        for line in self._lines:
            line.stopping.set()
        await trio.to_thread.run_sync(self._join, abandon_on_cancel=True)

    def _join(self) -> None:
        for line in self._lines:
            line.join(2 * self._address.timeout_s)

    # -- called in the threads -------------------------------------------------------------------

    def _post(self, callback: Callable[[_A], None], value: _A) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._loop.run_sync_soon(callback, value)

    def _take_in(self, said: list[tuple[str, bytes]]) -> None:
        if self._arrivals.put(said):
            self._post(self._take_out, None)

    # -- on the loop -----------------------------------------------------------------------------

    def _take_out(self, _: None) -> None:
        heard = self._arrivals.take()
        self._state.hints_in += heard.heads
        self._state.lost += heard.lost
        for _each in range(heard.unread):
            self._state.ignore("a hint", self._hints_channel)
        self._heard(heard)

    def _reported(self, report: tuple[str, Exception | None]) -> None:
        """A line has its connection, or has lost it."""
        line, error = report
        if self._ended:
            return
        if error is None:
            self._up.add(line)
            if len(self._up) == len(self._lines):
                # The others' may have been lost as well, and nobody has used it since.
                self._commands.probe(Work([("PING",)], self._probed))
            return
        self._up.discard(line)
        was = self._state.connected
        self._state.failed(error, trio.current_time())
        works, forgotten = self._commands.shut()
        self._state.lost += forgotten
        for work in works:
            _answer(work, RedisAway(f"Redis is away: {error}"))
        if was:
            self._lost()

    def _probed(self, replies: list[Any] | RedisAway) -> None:
        if self._state.connected or self._ended or len(self._up) < len(self._lines):
            return
        if not isinstance(replies, RedisAway):
            self._state.found()
            self._commands.open()
            self._found()

    def _said(self, said: Said) -> None:
        self._state.lost += said.lost
        self._state.said(said.heads, said.seconds, said.error)
        for work, replies in zip(said.works, said.replies, strict=True):
            _answer(work, replies)


def _answer(work: Work, replies: list[Any] | RedisAway) -> None:
    if work.done is not None:
        call_all([work.done], replies)
