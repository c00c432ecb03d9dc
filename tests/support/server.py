"""The real program as a subprocess, on a port and a directory that survive it."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import jwt
import trio

from tests.support.wire import KEY, Http

ROOT = Path(__file__).parents[2]
SECRET = "the-applications-secret-0123456789-abcdef"
START_S = 180.0  # a bound for machines that are busy, not an expectation
_random = random.SystemRandom()  # the other one may be the same in all processes
_READY = re.compile(rb"pushd \S+ ready on http://127\.0\.0\.1:(\d+) ")


_claims: deque[int] = deque()
_CLAIMED = 64  # far more than one test has


def free_port() -> int:
    """Below the range that outgoing connections take theirs from: while the server is down, none
    of its clients may be given its port, or be connected to itself. Nor may another test that runs
    at the same time: the port of the same number of UDP is held as a sign that this one is taken.
    """
    try:
        lowest = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    except OSError:
        lowest = "32768"
    while True:
        port = _random.randrange(10_000, int(lowest))
        with (
            socket.socket(type=socket.SOCK_DGRAM) as claim,
            socket.socket() as probe,
        ):
            try:
                claim.bind(("127.0.0.1", port))
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _claims.append(claim.detach())
        if len(_claims) > _CLAIMED:
            os.close(_claims.popleft())
        return port


class ServerProcess:
    """``async with``: started and ready inside, ended after. A failing test shows its log."""

    def __init__(self, home: Path, **settings: str) -> None:
        """``settings`` by their names, as texts: ``heartbeat_interval="200ms"``."""
        self.data = home / "data"
        self.log_path = home / "server.log"
        self.address = ("127.0.0.1", free_port())
        # A machine that is busy, or short of space, is no reason to turn a test away.
        self.settings = {"shed_lag": "1h", "min_free_disk": "0", **settings}
        self.environ: dict[str, str] = {}  # whatever else the process shall have
        self.secrets = [KEY, SECRET]
        self.may_fail = False  # errors in its log are what the test is about
        self.process: trio.Process | None = None
        self._up = trio.Event()

    # -- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True):
            await self.kill()
        if error is not None:
            error.add_note(f"-- the server's log ends:\n{self.log()[-6000:]}")
        else:
            self.check_log()

    async def start(self, *, quietly: bool = False) -> None:
        """Returns when it is ready. AssertionError with its log when it ends instead.

        ``quietly``: who waits for ``up`` goes on waiting until ``announce``.
        """
        process = await self._open()
        self.process = process
        assert process.stdout is not None
        said = b""
        with trio.fail_after(START_S):
            while not _READY.search(said):
                data = await process.stdout.receive_some()
                assert data, f"it ended with {await process.wait()}:\n{self.log()[-6000:]}"
                said += data
        if not quietly:
            self.announce()

    def announce(self) -> None:
        self._up.set()

    async def start_in_vain(self, seconds: float) -> None:
        """Start it, and kill it so soon that it may be in the middle of its start."""
        self.process = await self._open()
        await trio.sleep(seconds)
        await self.kill()

    async def refuse(self) -> tuple[int, str]:
        """Start it, expecting that it refuses: exit code, and what it says about it."""
        process = await self._open()
        assert process.stdout is not None
        with trio.fail_after(START_S):
            assert await process.stdout.receive_some() == b""
            return await process.wait(), self.log()

    async def _open(self) -> trio.Process:
        command = [sys.executable, "-m", "pushd", "serve", "--data", str(self.data)]
        command += ["--listen", "{}:{}".format(*self.address)]
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            return await _spawn(command, self._environ(), self.data.parent, log)

    def _environ(self) -> dict[str, str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("PUSHD_")}
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        named = {f"PUSHD_{name.upper()}": text for name, text in self.settings.items()}
        keys = {"PUSHD_API_KEY": KEY, "PUSHD_JWT_SECRET": SECRET}
        return {**clean, "PYTHONPATH": os.pathsep.join(paths), **keys, **named, **self.environ}

    async def kill(self) -> None:
        """SIGKILL; nothing of it runs any more when this returns."""
        self._down()
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
            await self._close_pipe()

    def terminate(self) -> None:
        """SIGTERM; ``ended`` waits for the rest."""
        assert self.process is not None
        self._down()
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for its end: the exit code."""
        assert self.process is not None
        code = await self.process.wait()
        self._down()
        await self._close_pipe()
        return code

    async def _close_pipe(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        await self.process.stdout.aclose()

    def _down(self) -> None:
        if self._up.is_set():
            self._up = trio.Event()

    async def up(self) -> None:
        """Wait until it serves (again)."""
        await self._up.wait()

    # -- what tests ask it -------------------------------------------------------------------------

    async def http(self) -> Http:
        return await Http.open(self.address)

    def token(
        self,
        user: str,
        *,
        device: str | None = None,
        subscribe: tuple[str, ...] = (),
        publish: tuple[str, ...] = (),
        ttl_s: float = 3600,
    ) -> str:
        """A client's token; from now on the log must not hold it."""
        claims: dict[str, object] = {"sub": user, "exp": int(time.time() + ttl_s)}
        if device is not None:
            claims["device"] = device
        if subscribe or publish:
            claims["pushd"] = {"subscribe": list(subscribe), "publish": list(publish)}
        token = jwt.encode(claims, SECRET, "HS256")
        self.secrets.append(token)
        return token

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def check_log(self) -> None:
        """No credential, nor the signature of one; no error unless the test provokes them."""
        text = self.log()
        for secret in self.secrets:
            for part in {secret, secret.rpartition(".")[2]}:
                assert part not in text, f"the log holds a credential:\n{text[-6000:]}"
        if not self.may_fail:
            assert "Traceback" not in text, text[-6000:]
            assert '"level": "error"' not in text, text[-6000:]


async def _spawn(
    command: list[str], environ: Mapping[str, str], cwd: Path, log: IO[bytes]
) -> trio.Process:
    return await trio.lowlevel.open_process(
        command, env=environ, cwd=cwd, stdout=subprocess.PIPE, stderr=log
    )
