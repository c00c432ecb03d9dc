"""The composition root: the nursery tree, start and shutdown.

services (log, fan-out, wheel, web app, flushers) > connections > accept. Shutdown goes by
signal, not by cancelling: everybody gets an answer or a goodbye first.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog
import trio

from pushd import __version__
from pushd.build import make_hub, make_log, make_node_tokens
from pushd.calls import webhook_weakness
from pushd.demo import furnish
from pushd.errors import PushdError
from pushd.front.acceptor import Acceptor, listen, raise_file_limit, reserve
from pushd.front.routes import Engines, Routes
from pushd.hub import Hub
from pushd.log import Log
from pushd.reaper import run_wheel
from pushd.reload import Reloader
from pushd.settings import Settings
from pushd.shutdown import Stopper, drain
from pushd.sse.handler import serve_events
from pushd.web.lazy import LazyWeb
from pushd.worker import Worker
from pushd.ws.handshake import serve_websocket

if TYPE_CHECKING:
    from pushd.joining import Side

ADMIN_ROOM = 64  # connections

log = structlog.get_logger("pushd.server")


async def serve(
    settings: Settings,
    *,
    ready: Callable[[str], None] | None = None,
    load: Callable[[], Settings] | None = None,
    worker: Worker | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. ``ready`` is called with the address once requests are.

    ``load`` reads the settings again when SIGHUP comes; without it, only key sets are read again.
    ``worker``: it is one of several on one address.
    Raises CannotStart, StorageBroken, OSError (the address cannot be had).
    """
    listener = (listen if worker is None else reserve)(*settings.listen)
    admin = peers = None

    def announce(hub: Hub) -> None:
        _settle_memory()
        _announce(hub, listener, ready)

    try:
        if settings.admin_listen is not None:
            admin = listen(*settings.admin_listen)
        if settings.cluster_listen is not None:
            peers = listen(*settings.cluster_listen)
        doors = Doors(listener, admin, peers, closed=worker is not None and worker.closed)
        stopper = Stopper(settings.drain)
        try:
            async with trio.open_nursery() as services:
                if worker is not None:
                    await services.start(worker.outlive, stopper.asked)
                await run_node(settings, services, doors, stopper, announce, load)
                services.cancel_scope.cancel()
        except* PushdError as errors:
            # One cause, not a group: the log's, which took everything else down with it.
            raise _first(errors) from None
    finally:
        listener.close()
        for other in (admin, peers):
            if other is not None:
                other.close()


class Doors(NamedTuple):
    """What a node listens on. ``admin``: for all that is not for clients, then ``main`` serves the
    rest only. ``peers``: for other nodes. ``closed``: ``main`` is as if there were an ``admin``."""

    main: socket.socket
    admin: socket.socket | None = None
    peers: socket.socket | None = None
    closed: bool = False


async def run_node(
    settings: Settings,
    services: trio.Nursery,
    doors: Doors,
    stopper: Stopper,
    announce: Callable[[Hub], None],
    load: Callable[[], Settings] | None = None,
) -> None:
    """Serve until ``stopper`` is asked: one node, of which a test may run several.

    ``announce`` is called once requests are accepted. On return ``services`` still runs what the
    node started: cancel it.
    """
    side = _make_side(settings)
    durable = make_log(settings) if side is None or side.log is None else side.log
    ended = trio.Event()
    await services.start(_run_log, durable, ended)
    hub = make_hub(settings, durable, services, None if side is None else side.parts)
    durable.on_advance = hub.on_advance
    durable.on_change = hub.on_change
    durable.on_members = hub.membership.changed
    if hub.access.sight.everywhere:
        hub.inboxes.learn_all(durable.heads)
        hub.session_channels.clear(durable.heads)
        await hub.announcer.clear(durable.heads)
    await _start_services(hub, stopper, load or (lambda: settings))
    if side is not None:
        await side.start(hub, stopper.asked)
    async with trio.open_nursery() as connections:
        acceptors = _open_doors(hub, connections, doors, side)
        if side is not None:
            side.opened(hub, _url(doors.peers or doors.main))
        hub.ready = True
        if not stopper.asked.is_set():
            announce(hub)
        await stopper.asked.wait()
        await drain(hub, acceptors, connections, stopper)
    await hub.application.stop()
    durable.close()
    await ended.wait()
    log.info("stopped")


async def _start_services(hub: Hub, stopper: Stopper, load: Callable[[], Settings]) -> None:
    services = hub.services
    await services.start(hub.fanout.run)
    await services.start(hub.membership.run)
    await services.start(run_wheel, hub)
    reloader = Reloader(hub, load)
    stopper.on_hangup = reloader.ask
    await services.start(stopper.watch_signals)  # before what may take seconds
    hub.key_sources.on_change = hub.keys_changed
    await services.start(hub.key_sources.run)
    await services.start(hub.hook.run)
    await services.start(hub.enforcer.run)
    await services.start(hub.announcer.run)
    await hub.application.start(services)
    await services.start(reloader.run)
    if hub.settings.dev and not hub.settings.edge:
        await furnish(hub)


def _make_side(settings: Settings) -> Side | None:
    """What it is to other nodes. Raises BadSetting."""
    if settings.redis is None:
        return None
    # imported here: a node that is alone needs nothing of it
    from pushd.joining import make_side

    return make_side(settings, make_node_tokens(settings))


def _open_doors(
    hub: Hub, connections: trio.Nursery, doors: Doors, side: Side | None
) -> list[Acceptor]:
    """From now on connections are accepted; ``connections`` runs them."""
    own = LazyWeb(hub).serve
    web = own if side is None else side.web(hub, own)
    engines = Engines(serve_websocket, web, serve_events)
    make_routes = Routes if side is None else side.routes
    most = min(hub.settings.max_connections, raise_file_limit())
    routes = make_routes(hub, engines, admin=doors.admin is None and not doors.closed)
    acceptors = [Acceptor(doors.main, hub, routes, connections, most)]
    if doors.admin is not None:
        # Its room is its own: a crowd at the other door does not keep administrators out.
        routes = make_routes(hub, engines)
        acceptors.append(Acceptor(doors.admin, hub, routes, connections, most + ADMIN_ROOM))
        log.info("admin side", address=_url(doors.admin))
    if doors.peers is not None:
        acceptors.append(
            Acceptor(doors.peers, hub, Routes(hub, engines), connections, most + ADMIN_ROOM)
        )
    for acceptor in acceptors:
        hub.services.start_soon(acceptor.run)
    return acceptors


async def _run_log(
    durable: Log, ended: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    await durable.run(task_status)
    ended.set()


def _announce(hub: Hub, listener: socket.socket, ready: Callable[[str], None] | None) -> None:
    address = _url(listener)
    for weakness in hub.authenticator.weaknesses:
        log.warning("weak key", detail=weakness)
    if (open_address := webhook_weakness(hub.settings)) is not None:
        log.warning("open address", detail=open_address)
    log.info("ready", version=__version__, address=address, channels=len(hub.log.heads))
    if ready is not None:
        ready(address)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _settle_memory() -> None:
    """Full collections walk every session: make them rare, and let them skip what stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _first(group: BaseExceptionGroup[PushdError]) -> PushdError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
