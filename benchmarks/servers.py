"""Starts each server fresh, on a free port with an empty data directory, and ends it again."""

from __future__ import annotations

import http.client
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from benchmarks.generator import BenchmarkError

ROOT = Path(__file__).parent.parent
CHANNEL = "bench"
MESSAGES = f"/v1/channels/{CHANNEL}/messages"
READY_S = 30.0
STOP_S = 15.0
OUTPUT_LINES = 15
# One address and one user hold all connections here: nothing that a service would allow.
NO_LIMITS = {
    "PUSHD_MAX_CONNECTIONS": "100000",
    "PUSHD_MAX_CONNECTIONS_PER_USER": "100000",
    "PUSHD_MAX_HANDSHAKES": "100000",
    "PUSHD_MAX_HANDSHAKES_PER_ADDRESS": "100000",
    "PUSHD_DRAIN": "1",
    "PUSHD_DRAIN_SPREAD": "0",
}


@dataclass
class Server:
    """A running one. ``options``: how the load generator speaks to it."""

    pid: int
    port: int
    ready_s: float
    """From exec to ready."""
    options: dict[str, object] = field(default_factory=dict)
    key: str = ""
    secret: str = ""
    """What signs its tokens."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _check_alive(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise BenchmarkError(f"the server ended by itself with status {process.returncode}")


def _clean_environment() -> dict[str, str]:
    """Of this checkout, and without any setting of a pushd that runs here otherwise."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PUSHD_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


@contextmanager
def process(
    command: list[str], scratch: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Ends it in every case; what it wrote goes into the error of a failed run.

    Without ``env`` it is a naive one, which says on stdout that it is ready.
    """
    log = scratch / "output"
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            stdout=subprocess.PIPE if env is None else output,
            stderr=output,
            cwd=scratch,
            env={**_clean_environment(), **(env or {})},
        )
    try:
        yield started
        _check_alive(started)
    except BenchmarkError as error:
        lines = log.read_text(errors="replace").splitlines()[-OUTPUT_LINES:]
        shown = "\n".join(lines) or "(nothing)"
        raise BenchmarkError(
            f"{error}\n--- output of {' '.join(command[1:4])}:\n{shown}"
        ) from error
    finally:
        started.terminate()
        try:
            started.wait(STOP_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        if started.stdout:
            started.stdout.close()


def await_line(process: subprocess.Popen[bytes]) -> None:
    """The naive servers print one line when they listen."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], READY_S)[0]:
        raise BenchmarkError(f"the server was not ready within {READY_S:.0f} s")
    if not process.stdout.readline():
        raise BenchmarkError("the server ended before it was ready")


def await_readyz(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        _check_alive(process)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException):
            pass  # it does not listen yet, or is not ready: the deadline decides
        finally:
            connection.close()
        time.sleep(0.002)
    raise BenchmarkError(f"/readyz was not 200 within {READY_S:.0f} s")


def _token(secret: str) -> str:
    claims = {"sub": "bench", "exp": int(time.time()) + 3600, "pushd": {"subscribe": ["*"]}}
    return jwt.encode(claims, secret, "HS256")


@contextmanager
def pushd(scratch: Path, data: Path | None = None, **given: str) -> Iterator[Server]:
    """``data``: a directory that exists already (a log to start on); default: an empty one.

    ``given``: settings.
    """
    port, key, secret = free_port(), secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    env = {**NO_LIMITS, "PUSHD_API_KEY": key, "PUSHD_JWT_SECRET": secret}
    env |= {f"PUSHD_{name.upper()}": text for name, text in given.items()}
    command = [sys.executable, "-m", "pushd", "serve"]
    command += ["--listen", f"127.0.0.1:{port}", "--data", str(data or scratch / "data")]
    began = time.monotonic()
    with process(command, scratch, env) as started:
        await_readyz(started, port)
        speaks = options(port, started.pid, key, secret)
        yield Server(started.pid, port, time.monotonic() - began, speaks, key, secret)


def options(port: int, pid: int, key: str, secret: str) -> dict[str, object]:
    """How the load generator speaks to a pushd."""
    return {
        "port": port,
        "pid": pid,
        "path": f"/v1/ws?channels={CHANNEL}",
        "pull_path": MESSAGES,
        "publish_path": MESSAGES,
        "protocol": "pushd.v1",
        "header": f"Authorization: Bearer {_token(secret)}",
        "publish_header": f"Authorization: Bearer {key}",
    }


@contextmanager
def ws_naive(scratch: Path) -> Iterator[Server]:
    port, publish_port = free_port(), free_port()
    command = [sys.executable, "-m", "benchmarks.naive.ws_naive"]
    command += ["--port", str(port), "--publish-port", str(publish_port)]
    began = time.monotonic()
    with process(command, scratch) as started:
        await_line(started)
        options: dict[str, object] = {
            "port": port,
            "publish_port": publish_port,
            "pid": started.pid,
        }
        yield Server(started.pid, port, time.monotonic() - began, options)


@contextmanager
def quart_naive(scratch: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.naive.quart_naive"]
    command += ["--port", str(port), "--data", str(scratch)]
    began = time.monotonic()
    with process(command, scratch) as started:
        await_line(started)
        options: dict[str, object] = {
            "port": port,
            "pid": started.pid,
            "path": f"/v1/ws?channels={CHANNEL}",
            "pull_path": MESSAGES,
            "publish_path": MESSAGES,
        }
        yield Server(started.pid, port, time.monotonic() - began, options)


@contextmanager
def scratch_directory(root: Path | None) -> Iterator[Path]:
    """On a real disk, please: on a tmpfs a commit costs nothing."""
    with tempfile.TemporaryDirectory(prefix="pushd-bench-", dir=root) as name:
        yield Path(name)
