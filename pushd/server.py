"""The composition root: the nursery tree, start and shutdown.

services (log, fan-out, wheel, web app, flushers) > connections > accept. Shutdown goes by
signal, not by cancelling: everybody gets an answer or a goodbye first.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable

import structlog
import trio

from pushd import __version__
from pushd.build import make_hub, make_log
from pushd.errors import PushdError
from pushd.front.acceptor import Acceptor, listen, raise_file_limit
from pushd.front.routes import Engines, Routes
from pushd.hub import Hub
from pushd.log import Log
from pushd.reaper import run_wheel
from pushd.reload import Reloader
from pushd.settings import Settings
from pushd.shutdown import Stopper, drain
from pushd.sse.handler import serve_events
from pushd.web.lazy import LazyWeb
from pushd.ws.handshake import serve_websocket

log = structlog.get_logger("pushd.server")


async def serve(
    settings: Settings,
    *,
    ready: Callable[[str], None] | None = None,
    load: Callable[[], Settings] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. ``ready`` is called with the address once requests are.

    ``load`` reads the settings again when SIGHUP comes; without it, only key sets are read again.
    Raises CannotStart, StorageBroken, OSError (the address cannot be had).
    """
    listener = listen(settings.listen.host, settings.listen.port)

    def announce(hub: Hub) -> None:
        _settle_memory()
        _announce(hub, listener, ready)

    try:
        try:
            async with trio.open_nursery() as services:
                stopper = Stopper(settings.drain)
                await run_node(settings, services, listener, stopper, announce, load)
                services.cancel_scope.cancel()
        except* PushdError as errors:
            # One cause, not a group: the log's, which took everything else down with it.
            raise _first(errors) from None
    finally:
        listener.close()


async def run_node(
    settings: Settings,
    services: trio.Nursery,
    listener: socket.socket,
    stopper: Stopper,
    announce: Callable[[Hub], None],
    load: Callable[[], Settings] | None = None,
) -> None:
    """Serve on ``listener`` until ``stopper`` is asked: one node, of which a test may run several.

    ``announce`` is called once requests are accepted. On return ``services`` still runs what the
    node started: cancel it.
    """
    durable = make_log(settings)
    ended = trio.Event()
    await services.start(_run_log, durable, ended)
    hub = make_hub(settings, durable, services)
    durable.on_advance = hub.on_advance
    durable.on_change = hub.on_change
    hub.inboxes.learn_all(durable.heads)
    web = LazyWeb(hub)
    await services.start(hub.fanout.run)
    await services.start(run_wheel, hub)
    hub.key_sources.on_change = hub.keys_changed
    await services.start(hub.key_sources.run)
    await services.start(hub.enforcer.run)
    reloader = Reloader(hub, load or (lambda: settings))
    await services.start(reloader.run)
    stopper.on_hangup = reloader.ask
    await services.start(stopper.watch_signals)
    async with trio.open_nursery() as connections:
        routes = Routes(hub, Engines(serve_websocket, web.serve, serve_events))
        most = min(settings.max_connections, raise_file_limit())
        acceptor = Acceptor(listener, hub, routes, connections, most)
        services.start_soon(acceptor.run)
        hub.ready = True
        announce(hub)
        await stopper.asked.wait()
        await drain(hub, acceptor, connections, stopper)
    durable.close()
    await ended.wait()
    log.info("stopped")


async def _run_log(
    durable: Log, ended: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    await durable.run(task_status)
    ended.set()


def _announce(hub: Hub, listener: socket.socket, ready: Callable[[str], None] | None) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    for weakness in hub.authenticator.weaknesses:
        log.warning("weak key", detail=weakness)
    log.info("ready", version=__version__, address=address, channels=len(hub.log.heads))
    if ready is not None:
        ready(address)


def _settle_memory() -> None:
    """Full collections walk every session: make them rare, and let them skip what stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _first(group: BaseExceptionGroup[PushdError]) -> PushdError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
