"""A real server inside the test: one whole node on a free port of the loopback."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import trio

from pushd.auth import mint_token
from pushd.front.acceptor import listen
from pushd.hub import Hub
from pushd.server import Doors, run_node
from pushd.settings import Settings
from pushd.settings.addresses import Address
from pushd.shutdown import Stopper
from tests.support.http import Answer, Peer, patience
from tests.support.websocket import WebSocket

KEY = "test-key-of-a-service"
SECRET = "test-secret-that-signs-client-tokens"

Entries = list[MutableMapping[str, Any]]


class _Stopper(Stopper):
    """Asked by the test: signals stay pytest's."""

    async def watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()


class Socket(WebSocket):
    """A WebSocket client that loses its patience instead of hanging."""

    async def _fill(self) -> None:
        with patience():
            await super()._fill()

    async def expect(self, type_: str) -> dict[str, Any]:
        """The next message, which must be of this type."""
        message = await self.message()
        assert message["type"] == type_, message
        return message


@dataclass
class Server:
    """The node under test, from inside (``hub``) and from outside (everything else)."""

    hub: Hub
    port: int
    stopper: Stopper
    log: Entries

    def token(self, user: str = "alice", **members: Any) -> str:
        """A client's token. Reads all topics unless told otherwise; publishes nowhere."""
        members.setdefault("subscribe", ["*"])
        return mint_token(SECRET, user, **members)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """One raw connection."""
        async with await Peer.open(("127.0.0.1", self.port)) as peer:
            yield peer

    @asynccontextmanager
    async def socket(self, target: str = "/v1/ws", **members: Any) -> AsyncIterator[Socket]:
        """A WebSocket after its upgrade; ``token`` goes as subprotocol, see ``upgrade``."""
        async with await Socket.open(("127.0.0.1", self.port)) as socket:
            await socket.upgrade(target, **members)
            yield socket

    async def ask(self, method: str, path: str, **members: Any) -> Answer:
        """One request on a connection of its own."""
        async with self.peer() as peer:
            return await peer.ask(method, path, **members)

    async def publish(self, channel: str, data: object = None, **message: Any) -> Any:
        """A service publishes; answers the stored position as the wire has it."""
        answer = await self.ask(
            "POST",
            f"/v1/channels/{channel}/messages",
            token=KEY,
            body={"data": data, **message},
        )
        assert answer.status in (200, 201), answer
        return answer.json

    async def pull(self, channel: str, token: str = KEY, **query: Any) -> Answer:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return await self.ask("GET", f"/v1/channels/{channel}/messages?{text}", token=token)


@asynccontextmanager
async def running_server(
    data: Path,
    *,
    errors_expected: bool = False,
    tune: Callable[[Any], None] | None = None,
    **given: Any,
) -> AsyncIterator[Server]:
    """Start a node with these settings; cut it off at the end. No error may have been logged.

    ``tune`` gets the listening socket, whose options what it accepts inherits.
    """
    settings = Settings(
        **{
            "listen": Address("127.0.0.1", 0),
            "data": data / "log",
            "api_key": KEY,
            "jwt_secret": SECRET,
            "min_free_disk": 0,
            "heartbeat_check_interval": 0.01,
            "drain_spread": 0.0,
            "presence_grace": 0.0,  # who has left leaves nothing behind
            "shed_lag": 3600.0,  # a busy machine is no reason to refuse a test
            **given,
        }
    )
    listener = listen("127.0.0.1", 0)
    if tune is not None:
        tune(listener)
    stopper = _Stopper(settings.drain)
    with listener, recorded_log() as entries:
        async with trio.open_nursery() as nursery:
            hub = await nursery.start(_run, settings, listener, stopper)
            yield Server(hub, listener.getsockname()[1], stopper, entries)
            nursery.cancel_scope.cancel()
    assert errors_expected or not failures(entries)


async def _run(
    settings: Settings,
    listener: Any,
    stopper: Stopper,
    task_status: trio.TaskStatus[Hub],
) -> None:
    """With services of its own: a node that stops takes nothing else with it."""
    with ExitStack() as stack:
        admin = None
        if settings.admin_listen is not None:
            admin = stack.enter_context(listen(*settings.admin_listen))
        async with trio.open_nursery() as services:
            doors = Doors(listener, admin)
            await run_node(settings, services, doors, stopper, task_status.started)
            services.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Let the server run until this is true: for what cannot be seen from outside."""
    with patience():
        while not condition():
            watch = _Watch(condition)
            trio.lowlevel.add_instrument(watch)
            try:
                with trio.move_on_after(0.02):  # clocks and threads are no steps of tasks
                    await watch.seen.wait()
            finally:
                trio.lowlevel.remove_instrument(watch)


class _Watch(trio.abc.Instrument):
    """Looks after each step of each task. Asking in a circle would take the processor from all."""

    def __init__(self, condition: Callable[[], object]) -> None:
        self._condition = condition
        self.seen = trio.Event()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self.seen.is_set() and self._is_over():
            self.seen.set()

    def _is_over(self) -> bool:
        try:
            return bool(self._condition())
        except Exception:  # whoever waits asks again, and fails
            return True


def failures(entries: Entries) -> Entries:
    """What nobody should find in a log: errors and tracebacks."""
    return [each for each in entries if each["log_level"] == "error" or "exc_info" in each]


@contextmanager
def recorded_log() -> Iterator[Entries]:
    """All that is logged, by us and by the libraries."""
    with structlog.testing.capture_logs() as entries:
        handler = _Recorder(entries)
        logging.getLogger().addHandler(handler)
        try:
            yield entries
        finally:
            logging.getLogger().removeHandler(handler)


class _Recorder(logging.Handler):
    def __init__(self, entries: Entries) -> None:
        super().__init__(logging.WARNING)
        self._entries = entries

    def emit(self, record: logging.LogRecord) -> None:
        entry = {"event": record.getMessage(), "log_level": record.levelname.lower()}
        if record.exc_info:
            entry["exc_info"] = str(record.exc_info)
        self._entries.append(entry)
