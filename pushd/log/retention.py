"""Goes round all channels and asks the writer to cut what they hold beyond their bounds.

Looks only at heads in memory: a channel whose oldest message is young, and which holds neither too
many nor too much, costs a comparison. A million of them take about a minute, a little at a time.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Final

import structlog
import trio

from pushd.core.namespaces import Retention
from pushd.errors import PushdError
from pushd.log.believed import Believed
from pushd.log.changes import NoteClock, Request
from pushd.log.clockguard import ClockGuard, steady_clock
from pushd.log.crossing import Signal
from pushd.log.due import due_of, is_near
from pushd.log.expire import Due, Expire, Expired
from pushd.log.fading import Fader
from pushd.log.held import Held
from pushd.log.live import Live
from pushd.log.reader import Job
from pushd.log.requests import Head
from pushd.log.watch import Watch

_logger = structlog.get_logger("pushd.log")

# Channels looked at in one go (under a millisecond), and the rest after it.
SLICE: Final = 500
REST_S: Final = 0.02
# What one request to the writer may name.
DUES: Final = 32
# The clock is noted on disk when it is so far from what was noted last.
NOTE_S: Final = 600.0

UNBOUNDED: Final = Retention(None, None, None)


class RetentionService:
    """``run`` until cancelled. ``rules`` is asked for every channel of every round.

    ``believed``: what an earlier process knew of the time. ``age_waits``: the wall clock is not to
    be believed for now. ``held``: the channels that keep more, for slow devices.
    """

    def __init__(
        self,
        live: Live,
        interval_s: float,
        rules: Callable[[str], Retention],
        request: Callable[[Request], None],
        read: Callable[[Job], None],
        signal: Callable[[Signal], None],
        believed: Believed | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.age_waits = False
        self._believed = believed
        # Unix seconds, on disk; infinitely long ago when there is none.
        self._noted = (
            -math.inf if believed is None or believed.ids_ms is None else believed.wall_ms / 1000
        )
        self.held = Held(live, interval_s)
        self._fader = Fader(live, read, interval_s)
        self._watch = watch
        self._live = live
        self._interval_s = interval_s
        self._rules = rules
        self._request = request
        self._signal = signal

    async def run(self) -> None:
        # Late bound: tests move the clocks.
        known = None if self._believed is None else self._believed.wall_ms / 1000
        clock = ClockGuard(lambda: time.time(), lambda: steady_clock(), known)
        # At once: what is stored from now on has its times from a clock that may be wrong.
        self._note(clock.look() or known)
        self.age_waits = clock.waits
        while True:
            await trio.sleep(self._interval_s)
            now = clock.look()
            self.age_waits = now is None
            self._note(now)
            self._signal(Signal.TIDY_BY_STEADY_CLOCK if now is None else Signal.TIDY)
            try:
                await self._go_round(now)
            except PushdError as refusal:
                # A full disk, say: the next round tries again.
                _logger.info("retention waits", reason=refusal.detail)
            except Exception:
                _logger.exception("retention failed")

    def _note(self, now: float | None) -> None:
        """For the next start. When it is refused, the next round does it."""
        if now is None or abs(now - self._noted) < NOTE_S:
            return

        def done(answer: PushdError | None) -> None:
            if answer is not None:
                self._noted = -math.inf

        with contextlib.suppress(PushdError):
            self._request(NoteClock(int(now * 1000), done))
            self._noted = now

    async def _go_round(self, now: float | None) -> None:
        ring = self._live.ring
        left = len(ring)
        while left > 0:
            dues: list[Due] = []
            looks: list[Job] = []
            watched: list[Head] = []
            at = trio.current_time()
            now_ms = int((time.time() if now is None else now) * 1000)
            for _ in range(min(left, SLICE)):
                left -= 1
                head = ring.popleft()
                if self._live.heads.get(head.channel) is not head:
                    continue
                ring.append(head)
                keep = self._rules(head.channel)
                near = is_near(head, keep, now_ms, self._fader.spare_ms)
                if not near and head.watched is None:
                    continue
                looks += self._fader.jobs(head, keep, now_ms)
                if self._watch is not None and self._watch.wants(head, keep, now_ms, at):
                    watched.append(head)
                due = due_of(head, keep, now)
                if due is not None and not self.held.may_wait(head, due):
                    dues.append(due)
                    if len(dues) == DUES:
                        break
            while dues:
                expired = await self._expire(dues)
                self.held.note(dues, expired)
                del dues[: expired.came_to]
            await self._fader.look(looks)
            if self._watch is not None:
                await self._watch.look(watched)
            if left:
                await trio.sleep(REST_S)

    async def _expire(self, dues: list[Due]) -> Expired:
        answers: list[Expired | PushdError] = []
        told = trio.Event()

        def done(answer: Expired | PushdError) -> None:
            answers.append(answer)
            told.set()

        self._request(Expire(list(dues), done))
        await told.wait()
        [answer] = answers
        if isinstance(answer, PushdError):
            raise answer
        return answer
