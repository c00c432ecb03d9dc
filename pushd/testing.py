"""A whole pushd inside a test: on a free port of the loopback, its data in a directory of its own.

async with pushd.testing.server() as node:
    async with node.client("alice", device="phone") as alice, node.service() as service:
        await service.publish("user:alice", "hello")
"""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from pushd.auth import mint_token
from pushd.client import Client, RetryPolicy
from pushd.client.groups import body_exception, one_exception
from pushd.errors import BadSetting
from pushd.front.acceptor import listen
from pushd.hub import Hub
from pushd.server import Doors, run_node
from pushd.settings import Settings
from pushd.settings.addresses import Address
from pushd.settings.model import by_name
from pushd.shutdown import Stopper

KEY: Final = "key-of-a-service-in-tests"
SECRET: Final = "secret-that-signs-client-tokens-in-tests"
_HOST: Final = "127.0.0.1"
# As fast as a test wants it, and no demand on the disk of whoever runs it.
_DEFAULTS: Final[dict[str, Any]] = {
    "api_key": KEY,
    "jwt_secret": SECRET,
    "min_free_disk": 0,
    "drain": 1.0,
    "drain_spread": 0.0,
    "shed_lag": 3600.0,  # a machine that is busy turns no test away
}


class Node:
    """The running server. ``url``: its address; ``key``: an API key with every scope."""

    def __init__(self, settings: Settings, port: int) -> None:
        self.url = f"http://{_HOST}:{port}{settings.path_prefix}"
        self.port = port
        self.key = settings.api_key or KEY
        self.secret = settings.jwt_secret or SECRET

    def token(
        self,
        user: str,
        *,
        device: str | None = None,
        subscribe: Sequence[str] = ("*",),
        publish: Sequence[str] = (),
        ttl_s: float = 3600,
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """A client's token. Reads all topics and publishes nowhere, unless told otherwise."""
        return mint_token(
            self.secret, user, device, subscribe, publish, ttl_s, attributes=attributes
        )

    def client(
        self,
        user: str,
        *,
        device: str | None = None,
        subscribe: Sequence[str] = ("*",),
        publish: Sequence[str] = (),
        retries: RetryPolicy | None = None,
    ) -> Client:
        """A client of this user, to be used as ``async with node.client("alice") as alice``."""
        token = self.token(user, device=device, subscribe=subscribe, publish=publish)
        return Client(self.url, token, device=device, retries=retries)

    def service(self, *, retries: RetryPolicy | None = None) -> Client:
        """A client with the API key: publishes and reads everything."""
        return Client(self.url, self.key, retries=retries)


@asynccontextmanager
async def server(
    data: str | Path | None = None, *, port: int = 0, **settings: Any
) -> AsyncIterator[Node]:
    """Serve for as long as the body runs; then everybody is told goodbye, as at a shutdown.

    ``data``: its directory, to find everything again with another ``server``; without one it is a
    temporary one. ``settings``: written as in ``pushd.toml`` (``max_body="1KiB"``). Raises
    BadSetting for those that are none.
    """
    given = {**_DEFAULTS, **_read(settings)}
    with (
        _quiet(),
        tempfile.TemporaryDirectory(prefix="pushd-") as temporary,
        listen(_HOST, port) as listener,
        body_exception(),
    ):
        port = listener.getsockname()[1]
        given |= {"listen": Address(_HOST, port), "data": Path(data or temporary)}
        chosen = Settings(**given)
        stopper = _Asked(chosen.drain)
        ended = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(_run, chosen, listener, stopper, ended)
            try:
                yield Node(chosen, port)
            finally:
                stopper.asked.set()
                with trio.CancelScope(shield=True):
                    await ended.wait()


class _Asked(Stopper):
    """Asked by the end of the body: signals are the test's."""

    async def watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()


async def _run(
    settings: Settings,
    listener: socket.socket,
    stopper: Stopper,
    ended: trio.Event,
    task_status: trio.TaskStatus[Hub],
) -> None:
    """Shielded: a test that is cancelled ends the node by ``stopper``, too."""
    try:
        with trio.CancelScope(shield=True), one_exception():
            async with trio.open_nursery() as services:
                await run_node(settings, services, Doors(listener), stopper, task_status.started)
                services.cancel_scope.cancel()
    finally:
        ended.set()


def _read(settings: Mapping[str, Any]) -> dict[str, Any]:
    known = by_name()
    values = {}
    for name, value in settings.items():
        if name not in known or name in ("data", "listen"):
            raise BadSetting(f"{name!r} is no setting that a server in a test can have.")
        try:
            values[name] = known[name].kind.from_toml(value, Path.cwd())
        except ValueError as error:
            raise BadSetting(f"{name}: {error}") from None
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings and errors only, unless the application has set its logging up."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        yield
    finally:
        structlog.reset_defaults()
