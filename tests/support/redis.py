"""A real redis-server on a port of its own that survives it: ended, killed, held, emptied."""

from __future__ import annotations

import signal
import subprocess
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.server import free_port
from tests.support.tls import certificate

PATIENCE = 120.0  # a bound for machines that are busy, not an expectation


class RedisServer:
    """``async with``: started and ready inside, ended after. It keeps nothing on disk."""

    def __init__(self, home: Path, *options: str, tls: bool = False) -> None:
        """``options``: more of redis-server's command line, ``"--maxmemory", "1mb"``. ``tls``:
        that alone is spoken, by the certificate ``self.ca``, which clients have to show, too."""
        self.home = home
        self.options = options
        self.port = free_port()
        self.tls = tls
        self.ca, self.key = home / "cert.pem", home / "key.pem"
        self._short = TemporaryDirectory(prefix="redis")  # a socket's path may not be long
        self.socket = Path(self._short.name) / "s"
        self.process: trio.Process | None = None

    @property
    def url(self) -> str:
        if not self.tls:
            return f"redis://127.0.0.1:{self.port}/0"
        shown = f"ssl_certfile={self.ca}&ssl_keyfile={self.key}"
        return f"rediss://localhost:{self.port}/0?ssl_ca_certs={self.ca}&{shown}"

    # -- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        if self.tls:
            certificate(self.home, "localhost")
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
        self._short.cleanup()

    async def start(self) -> None:
        """Also again, on the same port. Returns when it answers."""
        assert self.process is None
        log = self.home / "redis.log"
        command = [*self._program(), *self._listens(), "--dir", str(self.home)]
        command += ["--logfile", str(log), *self.options]
        self.process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL)
        with trio.fail_after(PATIENCE):
            while not await self._answers():
                assert self.process.poll() is None, log.read_text()[-3000:]
                await trio.sleep(0.01)

    def _program(self) -> list[str]:
        return ["redis-server", "--save", "", "--appendonly", "no"]

    def _listens(self) -> list[str]:
        listens = ["--bind", "127.0.0.1", "--unixsocket", str(self.socket)]
        if not self.tls:
            return [*listens, "--port", str(self.port)]
        own = ["--tls-cert-file", str(self.ca), "--tls-key-file", str(self.key)]
        own += ["--tls-ca-cert-file", str(self.ca)]
        return [*listens, "--port", "0", "--tls-port", str(self.port), *own]

    async def _answers(self) -> bool:
        try:
            return bool(await self.run("PING"))
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        except redis.ResponseError:  # it asks for a password, say
            return True

    async def stop(self) -> None:
        """SIGTERM: connections are closed in order."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL; what it knew is gone."""
        await self._end(signal.SIGKILL)

    async def _end(self, signal_: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal_)
            process.send_signal(signal.SIGCONT)
            with trio.fail_after(PATIENCE):
                await process.wait()

    def pause(self) -> None:
        """Its process is held: the kernel still takes connections and bytes, nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    # -- what is in it -------------------------------------------------------------------------

    async def run(self, *command: str | bytes | float) -> Any:
        """One command over its Unix socket, and the answer as redis-py has it."""
        return await trio.to_thread.run_sync(partial(self._run, command))

    def _run(self, command: tuple[str | bytes | float, ...]) -> Any:
        patience, once = PATIENCE, Retry(NoBackoff(), 0)
        with redis.Redis(
            unix_socket_path=str(self.socket), socket_timeout=patience, retry=once
        ) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def flush(self) -> None:
        """FLUSHALL: it is empty, and its connections stay."""
        await self.run("FLUSHALL")

    async def add_user(self, name: str, password: str, *rules: str) -> str:
        """An ACL user; the address that it comes with."""
        await self.run("ACL", "SETUSER", name, "on", f">{password}", *rules)
        return self.url.replace("://", f"://{name}:{password}@", 1)

    async def cut_clients(self, kind: str = "normal") -> None:
        """End all connections of a kind, ``normal`` or ``pubsub``; it lives on."""
        await self.run("CLIENT", "KILL", "TYPE", kind)


class SentinelServer(RedisServer):
    """Watches one that rules, and lets a replica of it rule when it is gone; not when it is only
    slow: that somebody is gone is seen after ``notice_losses``."""

    def __init__(self, home: Path, watched: RedisServer, service: str = "pushd") -> None:
        super().__init__(home)
        self.service = service
        home.mkdir(parents=True, exist_ok=True)
        (home / "sentinel.conf").write_text(
            f"sentinel monitor {service} 127.0.0.1 {watched.port} 1\n"
            f"sentinel down-after-milliseconds {service} 3600000\n"
            f"sentinel failover-timeout {service} 2000\n"
        )

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.port}/{self.service}"

    def _program(self) -> list[str]:
        return ["redis-server", str(self.home / "sentinel.conf"), "--sentinel"]

    async def notice_losses(self) -> None:
        """From now on, whoever is silent for half a second is gone."""
        await self.run("SENTINEL", "SET", self.service, "down-after-milliseconds", "500")
