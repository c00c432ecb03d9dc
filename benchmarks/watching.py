"""What it costs to notice who has vanished: sessions on the timing wheel, beside a scan."""

from __future__ import annotations

import gc
import random
import time
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import trio
from trio.testing import MockClock

from benchmarks.generator import BenchmarkError
from benchmarks.measures import Figures, Measure, Sizes
from pushd.core.permissions import Identity
from pushd.core.wheel import Expiring, TimingWheel
from pushd.metrics import Counters
from pushd.settings import Settings
from pushd.ws.session import WebSocketSession

SETTINGS = Settings()
TICK_S = SETTINGS.heartbeat_check_interval
BEAT_S = SETTINGS.heartbeat_interval
SILENCE_S = SETTINGS.heartbeat_timeout
TICKS = 400  # 100 seconds: everybody's slot comes due twice


class Watch:
    """Sessions that are watched in one way or another; ``look`` answers how many are reaped."""

    def __init__(self, count: int) -> None: ...

    def beat(self, at: int) -> None: ...

    def look(self, now: float) -> int: ...

    def silence(self, at: int) -> None:
        """Nothing was heard of it for long."""


class Wheel(Watch):
    """The server's own sessions and wheel; only what they would write goes nowhere."""

    def __init__(self, count: int) -> None:
        self._wheel: TimingWheel[Expiring] = TimingWheel(TICK_S, trio.current_time())
        self._counters = Counters()
        hub: Any = SimpleNamespace(settings=SETTINGS, wheel=self._wheel, counters=self._counters)
        out = SimpleNamespace(write=lambda data: True, cork=lambda: None, hold=False, tail_bytes=0)
        nursery = SimpleNamespace(cancel_scope=SimpleNamespace(cancel=lambda: None))
        connection: Any = SimpleNamespace(out=out, address="192.0.2.1")
        expires = time.time() + 3600
        given: Any = (connection, None, None, nursery)
        self.sessions = [
            WebSocketSession(hub, Identity(f"user-{number}", expires=expires), None, *given)
            for number in range(count)
        ]
        for session in self.sessions:
            session.last_seen -= random.uniform(0, BEAT_S)
            session.rearm()

    def beat(self, at: int) -> None:
        self.sessions[at]._heard()

    def look(self, now: float) -> int:
        for entry in self._wheel.advance(now):
            entry.expire()
        return self._counters.heartbeats_missed

    def silence(self, at: int) -> None:
        self.sessions[at].last_seen = self.sessions[at].pinged = -SILENCE_S
        self._wheel.arm(self.sessions[at], trio.current_time())


class Scan(Watch):
    """What one writes first: a dictionary of times, and a look at all of them each tick."""

    def __init__(self, count: int) -> None:
        self._seen = {number: -random.uniform(0, BEAT_S) for number in range(count)}
        self._reaped = 0

    def beat(self, at: int) -> None:
        self._seen[at] = trio.current_time()

    def look(self, now: float) -> int:
        gone = [each for each, seen in self._seen.items() if now - seen >= SILENCE_S]
        for each in gone:
            del self._seen[each]
        self._reaped += len(gone)
        return self._reaped

    def silence(self, at: int) -> None:
        self._seen[at] = -SILENCE_S


def records(kind: type[Watch]) -> Measure:
    """``watched`` sessions that beat every 25 s, looked at four times a second."""

    def measure(sizes: Sizes, scratch: Path) -> Figures:
        clock = MockClock()
        return trio.run(_watch, kind, sizes.watched, sizes.vanishing, clock, clock=clock)

    return measure


async def _watch(kind: type[Watch], count: int, vanishing: int, clock: MockClock) -> Figures:
    watch = kind(count)
    gc.collect()
    gc.freeze()
    per_tick = int(count * TICK_S / BEAT_S)
    beats: list[float] = []
    looks: list[float] = []
    for tick in range(TICKS):
        clock.jump(TICK_S)
        started = time.perf_counter()
        for at in range(tick * per_tick, (tick + 1) * per_tick):
            watch.beat(at % count)
        beaten = time.perf_counter()
        if watch.look(trio.current_time()):
            raise BenchmarkError("a session was reaped that beats")
        beats.append(beaten - started)
        looks.append(time.perf_counter() - beaten)
    for at in range(vanishing):
        watch.silence(at * (count // vanishing))
    clock.jump(2 * TICK_S)
    started = time.perf_counter()
    if watch.look(trio.current_time()) != vanishing:
        raise BenchmarkError("not all who vanished were reaped")
    reaping = time.perf_counter() - started
    gc.unfreeze()
    return {
        "ms/look": mean(looks) * 1e3,
        "longest look, ms": max(looks) * 1e3,
        "% of a core": mean(looks) / TICK_S * 100,
        "µs/heartbeat": mean(beats) / per_tick * 1e6,
        "all that vanished at once, ms": reaping * 1e3,
    }
