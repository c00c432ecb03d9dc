"""Stopping: everybody gets an answer or a goodbye; then the log closes. A watchdog ends a hang."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from functools import partial

import structlog
import trio

from pushd.front.acceptor import Acceptor
from pushd.hub import Hub
from pushd.sessions import Session

CHUNK = 64
GRACE_S = 15.0  # for the log to close after the drain, before the process is ended from outside
BYE_LONGEST_WAIT_MS = 2000

log = structlog.get_logger("pushd.server")


class Stopper:
    """Turns SIGTERM and SIGINT into events. The second one is impatient.

    SIGHUP calls ``on_hangup``; but when the terminal is closed that it was started from, it stops.
    """

    def __init__(self, drain_s: float) -> None:
        self.asked = trio.Event()
        self.at_once = trio.Event()
        self.drain_s = drain_s
        self.on_hangup: Callable[[], None] = _nothing
        self._had_terminal = _has_terminal()

    async def watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """The service. Ends by cancellation only."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP and (not self._had_terminal or _has_terminal()):
                    self.on_hangup()
                    continue
                if self.asked.is_set():
                    self.at_once.set()
                    continue
                _start_watchdog(self.drain_s + GRACE_S)
                self.asked.set()
                log.info("stopping", signal=signal.Signals(number).name, drain_s=self.drain_s)


def _nothing() -> None:
    pass


def _has_terminal() -> bool:
    """Whether there is a terminal that this process belongs to, and it is still open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _start_watchdog(seconds: float) -> None:
    """Whatever hangs, the process ends: what was acked is on disk by then in any case."""

    def end() -> None:
        log.error("shutdown took too long: ending the process", seconds=seconds)
        os._exit(3)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


async def drain(
    hub: Hub, acceptors: list[Acceptor], connections: trio.Nursery, stopper: Stopper
) -> None:
    """Not ready, no new connections, answers and goodbyes; at the deadline, the rest is cut."""
    hub.ready = False
    for acceptor in acceptors:
        acceptor.close()
        for connection in list(acceptor.live):
            connection.drain()
    held: list[Callable[[], None]] = [poll.moved for poll in hub.pulls.drain()]
    held += [delivery.expire for delivery in hub.deliveries.drain()]
    for at, answer in enumerate(held):
        _try(answer)
        if at % CHUNK == CHUNK - 1:
            await trio.lowlevel.checkpoint()
    with trio.move_on_after(stopper.drain_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, stopper.at_once, nursery.cancel_scope)
            # Half of the drain, so that the last ones told have time to close as well.
            await _say_goodbye(hub, min(hub.settings.drain_spread, stopper.drain_s / 2))
            for acceptor in acceptors:
                while acceptor.live:
                    await acceptor.one_ended()
            await hub.application.calls.settled()  # also those that nobody waits for
            nursery.cancel_scope.cancel()
    left = sum(len(acceptor.live) for acceptor in acceptors)
    if left:
        _tell(_own(hub))  # whoever has not been: better late than cut mute
        log.warning("connections cut", count=left)
    connections.cancel_scope.cancel()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _try(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception:  # the others shall still have their answer
        log.exception("a connection could not be drained")


async def _say_goodbye(hub: Hub, spread_s: float) -> None:
    """Spread out, so that clients do not all come back in the same moment."""
    sessions = _own(hub)
    for at in range(0, len(sessions), CHUNK):
        # Some may have left meanwhile.
        _tell([each for each in sessions[at : at + CHUNK] if each.id in hub.sessions.by_id])
        if at + CHUNK < len(sessions):
            await trio.sleep(spread_s * CHUNK / len(sessions))


def _own(hub: Hub) -> list[Session]:
    """Sessions of other nodes live on."""
    return [each for each in hub.sessions.by_id.values() if each.node is None]


def _tell(sessions: list[Session]) -> None:
    for session in sessions:
        _try(partial(session.bye, 1012, "restart", random.randint(0, BYE_LONGEST_WAIT_MS)))
