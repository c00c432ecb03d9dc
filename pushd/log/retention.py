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
from pushd.log.believed import AWAY_MS, Believed
from pushd.log.changes import Due, Expire, NoteClock, Request
from pushd.log.crossing import Signal
from pushd.log.live import Live
from pushd.log.requests import Head

_logger = structlog.get_logger("pushd.log")

# Channels looked at in one go (under a millisecond), and the rest after it.
SLICE: Final = 500
REST_S: Final = 0.02
# What one request to the writer may name.
DUES: Final = 32
# The clock is noted on disk when it is so far from what was noted last.
NOTE_S: Final = 600.0

UNBOUNDED: Final = Retention(None, None, None)


class ClockGuard:
    """Believes the wall clock only while it goes as fast as the steady one.

    After a jump it is not believed until it is back, or has gone on steadily for ``SETTLE_S``. At
    first ``known`` (Unix seconds) counts as the last time at which they agreed, and the wall clock
    may be behind it, or ahead by ``AWAY_S``: how long nobody looked is not known.
    """

    TOLERANCE_S: Final = 60.0
    AWAY_S: Final = AWAY_MS / 1000
    SETTLE_S: Final = 3_600.0

    def __init__(
        self, wall: Callable[[], float], steady: Callable[[], float], known: float | None = None
    ) -> None:
        self._wall, self._steady = wall, steady
        # The two at the last look at which they agreed.
        self._agreed = (wall() if known is None else known), steady()
        self._bounds = (-self.TOLERANCE_S, self.TOLERANCE_S)
        # Since when, and how far, the wall clock has been off.
        self._jump: tuple[float, float] | None = None
        if known is not None:
            self._bounds = (-math.inf, self.AWAY_S)
            if (ahead := wall() - known) > self.AWAY_S:
                self._jump = steady(), ahead
                _logger.warning(
                    "the wall clock is far ahead of the last known time: for an hour nothing is"
                    " removed for its age",
                    seconds=ahead,
                )

    @property
    def waits(self) -> bool:
        """At the last look the wall clock was not to be believed."""
        return self._jump is not None

    def look(self) -> float | None:
        """The wall clock (Unix seconds), None while it is not to be believed."""
        wall, steady = self._wall(), self._steady()
        drift = (wall - self._agreed[0]) - (steady - self._agreed[1])
        least, most = self._bounds
        if not least <= drift <= most:
            if self._jump is None or abs(drift - self._jump[1]) > self.TOLERANCE_S:
                self._jump = steady, drift
                _logger.warning(
                    "the wall clock has jumped: nothing is removed for its age", seconds=drift
                )
            if steady - self._jump[0] < self.SETTLE_S:
                return None
        if self._jump is not None:
            _logger.info("the wall clock is believed again")
            self._jump = None
        self._agreed = wall, steady
        self._bounds = (-self.TOLERANCE_S, self.TOLERANCE_S)
        return wall


def steady_clock() -> float:
    """Seconds; goes on while the machine sleeps, where the system tells."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class RetentionService:
    """``run`` until cancelled. ``rules`` is asked for every channel of every round.

    ``believed``: what an earlier process knew of the time. ``age_waits``: the wall clock is not to
    be believed for now.
    """

    def __init__(
        self,
        live: Live,
        interval_s: float,
        rules: Callable[[str], Retention],
        request: Callable[[Request], None],
        signal: Callable[[Signal], None],
        believed: Believed | None = None,
    ) -> None:
        self.age_waits = False
        self._believed = believed
        # Unix seconds, on disk; infinitely long ago when there is none.
        self._noted = (
            -math.inf if believed is None or believed.ids_ms is None else believed.wall_ms / 1000
        )
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
            for _ in range(min(left, SLICE)):
                left -= 1
                head = ring.popleft()
                if self._live.heads.get(head.channel) is not head:
                    continue
                ring.append(head)
                due = self._due(head, now)
                if due is not None:
                    dues.append(due)
                    if len(dues) == DUES:
                        break
            while dues:
                del dues[: await self._expire(dues)]
            if left:
                await trio.sleep(REST_S)

    def _due(self, head: Head, now: float | None) -> Due | None:
        first, seq = head.first, head.seq
        if first > seq:
            return None
        age_s, messages, bytes_ = self._rules(head.channel)
        oldest_at = None if now is None or age_s is None else int((now - age_s) * 1000)
        if oldest_at is not None and head.first_at >= oldest_at:
            oldest_at = None
        if messages is not None and seq - first < messages:
            messages = None
        if bytes_ is not None and head.bytes <= bytes_:
            bytes_ = None
        if oldest_at is None and messages is None and bytes_ is None:
            return None
        return Due(head.channel, head.log_id, oldest_at, messages, bytes_)

    async def _expire(self, dues: list[Due]) -> int:
        answers: list[int | PushdError] = []
        told = trio.Event()

        def done(answer: int | PushdError) -> None:
            answers.append(answer)
            told.set()

        self._request(Expire(list(dues), done))
        await told.wait()
        [answer] = answers
        if isinstance(answer, PushdError):
            raise answer
        return answer
