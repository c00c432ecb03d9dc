"""Heartbeats over real sockets, and what happens when very many stop at once."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks import generator, servers
from benchmarks.generator import BenchmarkError
from benchmarks.measures import Figures, Sizes

PROBE_S = 0.002
PATIENCE_S = 120.0
BEATING, ROUNDS = 500, 20


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
