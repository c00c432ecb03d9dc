"""What it costs to notice who has vanished: 100,000 sessions in memory, and 10,000 real sockets."""

from __future__ import annotations

import gc
import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import msgspec
import trio
from trio.testing import MockClock

from benchmarks import generator, servers
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
PROBE_S = 0.002
PATIENCE_S = 120.0
BEATING, ROUNDS = 500, 20


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
        self.sessions[at].last_seen = -SILENCE_S
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


# -- real sockets ----------------------------------------------------------------------------------


def beats(sizes: Sizes, scratch: Path) -> Figures:
    """What a heartbeat costs on the way: each of ``BEATING`` sockets pings, and has its pong."""
    frame = b"\x81\x8f\0\0\0\0" + b'{"type":"ping"}'  # masked with zeros
    with servers.pushd(scratch) as server, ExitStack() as stack:
        sockets = [stack.enter_context(_opened(server)) for _ in range(BEATING)]
        cpu = 0.0
        for turn in range(ROUNDS + 1):
            if turn == 1:  # after one that nobody counts
                cpu = _cpu_s(server.pid)
            for each in sockets:
                each.sendall(frame)
            for each in sockets:
                if b"pong" not in each.recv(4096):
                    raise BenchmarkError("a ping was not answered")
        return {"CPU µs/ping": (_cpu_s(server.pid) - cpu) * 1e6 / (ROUNDS * BEATING)}


def _opened(server: servers.Server) -> socket.socket:
    """A WebSocket after its hello."""
    opened = socket.create_connection(("127.0.0.1", server.port))
    opened.sendall(
        f"GET {server.options['path']} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{server.options['header']}\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    said = b""
    while b"heartbeat_s" not in said:
        said += opened.recv(4096)
    return opened


def vanish(sizes: Sizes, scratch: Path) -> Figures:
    """``vanishing`` WebSockets whose program is stopped. So is the server, for as long as makes
    all of them overdue when it goes on, as after the suspension of a virtual machine."""
    timeout_s = 30
    fast = {"heartbeat_interval": "12s", "heartbeat_timeout": f"{timeout_s}s"}
    fast["shed_lag"] = "10m"  # nobody is turned away
    with (
        servers.pushd(scratch, **fast) as server,
        _idle(server, sizes.vanishing // 2) as one,
        _idle(server, sizes.vanishing // 2) as other,  # each has so many files
    ):
        _await_sessions(server, sizes.vanishing)
        for each in (one, other):
            each.send_signal(signal.SIGSTOP)
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(timeout_s + 1)
        os.kill(server.pid, signal.SIGCONT)
        cpu, started = _cpu_s(server.pid), time.monotonic()
        longest = _probe(server)
        return {
            "longest answer meanwhile, ms": longest * 1e3,
            "all gone after, s": time.monotonic() - started,
            "CPU µs/session": (_cpu_s(server.pid) - cpu) * 1e6 / sizes.vanishing,
        }


@contextmanager
def _idle(server: servers.Server, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program that holds so many, and answers pings."""
    command = generator.arguments(
        "idle", **server.options, warm=1, connections=count - 1, hold=True, timeout=300, settle=0
    )
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _sessions(server: servers.Server) -> int | None:
    """Asked of the web engine: some milliseconds of the server's. None: it is late, and says so."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    header = str(server.options["publish_header"]).partition(": ")
    try:
        connection.request("GET", "/v1/stats", headers={header[0]: header[2]})
        answer = connection.getresponse()
        stats = msgspec.json.decode(answer.read())
        return int(stats["sessions"]) if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _await_sessions(server: servers.Server, count: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while _sessions(server) != count:
        if time.monotonic() > end:
            raise BenchmarkError("the sessions did not come to that number in time")
        time.sleep(0.1)


def _probe(server: servers.Server) -> float:
    """The longest answer to a small request, until there are no sessions any more."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    longest, looked = 0.0, 0.0
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        started = time.monotonic()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        now = time.monotonic()
        longest = max(longest, now - started)
        if now - looked > 0.1:
            looked = now
            if _sessions(server) == 0:
                return longest
        time.sleep(PROBE_S)
    raise BenchmarkError("the sessions were not all reaped in time")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
