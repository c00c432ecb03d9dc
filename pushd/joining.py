"""What a node has beside what one has that is alone: the bus, and its side of the log.

``Side`` is asked by the composition root in the order of its methods.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from pushd.build import Role
from pushd.cluster.bus.bus import Bus
from pushd.cluster.bus.busstate import gauges, totals
from pushd.cluster.bus.texts import OwnerRecord
from pushd.cluster.edge.audience import EdgeAudience
from pushd.cluster.edge.edge import Edge
from pushd.cluster.edge.edgelog import EdgeLog
from pushd.cluster.edge.marking import EdgeMarking
from pushd.cluster.edge.passing import Passing
from pushd.cluster.edge.registry import Registry
from pushd.cluster.edge.routes import EdgeRoutes
from pushd.cluster.edge.upstream import Upstream
from pushd.cluster.edge.waits import EdgeDeliveries
from pushd.cluster.owner.owner import Owner, attach
from pushd.cluster.owner.remote import RemoteSessions
from pushd.cluster.owner.rivals import refuse_rival
from pushd.cluster.owner.rollcall import RollCall
from pushd.front.connection import Engine
from pushd.front.routes import Routes
from pushd.hub import Hub
from pushd.log import Log, LogOptions
from pushd.nodetokens import NodeTokens
from pushd.settings import Settings

log = structlog.get_logger("pushd.cluster")


class Side:
    """A node of a cluster. ``log``: one that it follows; None: it opens its own."""

    role = "owner"
    log: Log | None = None
    parts = Role(known=False)
    routes: type[Routes] = Routes

    def __init__(self, settings: Settings, tokens: NodeTokens) -> None:
        """Raises BadSetting for a Redis that cannot be."""
        assert settings.redis is not None
        self.settings = settings
        self.tokens = tokens
        self.bus = Bus(settings.redis, settings.cluster_name, tokens, settings.node_id)

    async def start(self, hub: Hub, stop: trio.Event) -> None:
        """Its services run in ``hub.services``. Returns when it may serve, or shall ``stop``."""
        nodes = hub.nodes
        nodes.role, nodes.url = self.role, self._base(self.settings.advertise or "")
        nodes.generation, nodes.stale_ms = self.generation, self.stale_ms
        nodes.redis, nodes.others = self.bus.state.as_dict, self.bus.nodes
        nodes.gauges, nodes.totals = gauges(self.bus.state), totals(self.bus.state)
        self.bus.book.describe = hub.describe

    def web(self, hub: Hub, own: Engine) -> Engine:
        """What serves that is not hot."""
        return own

    def opened(self, hub: Hub, address: str) -> None:
        """Other nodes can come to ``address``, unless the settings say where."""
        hub.nodes.url = hub.nodes.url or self._base(address)

    def _base(self, address: str) -> str:
        """What the paths of ``/v1/`` are put behind."""
        return address and address.rstrip("/") + self.settings.path_prefix

    def generation(self) -> str:
        """Of the owner, as far as it is known."""
        raise NotImplementedError

    def stale_ms(self) -> int | None:
        """Since the owner was heard."""
        return None


class OwnerSide(Side):
    """It has the log, and is followed."""

    def __init__(self, settings: Settings, tokens: NodeTokens) -> None:
        super().__init__(settings, tokens)
        self.owner: Owner | None = None
        self.remote: RemoteSessions | None = None

    async def start(self, hub: Hub, stop: trio.Event) -> None:
        await super().start(hub, stop)
        bus, node = self.bus, self.settings.node_id
        await refuse_rival(bus.address, bus.key("owner"), self.tokens, node)
        self.owner = await attach(hub)
        self.owner.on_hints = self.bus.publish_hints
        self.remote = RemoteSessions(hub, self.owner.bye)
        call = RollCall(self.bus, self.remote)
        await hub.services.start(self.bus.run)
        await hub.services.start(call.run)

    def opened(self, hub: Hub, address: str) -> None:
        super().opened(hub, address)
        url, generation = hub.nodes.url, self.generation()
        self.bus.announce(OwnerRecord(hub.node_id, url, generation, time.time()))
        log.info("owns the log", url=url, generation=generation)

    def generation(self) -> str:
        return "" if self.owner is None else self.owner.generation


class EdgeSide(Side):
    """It follows the log of another node."""

    role = "edge"
    routes = EdgeRoutes

    def __init__(self, settings: Settings, tokens: NodeTokens) -> None:
        super().__init__(settings, tokens)
        self._upstream = Upstream(settings.node_id, tokens)
        options = LogOptions(backlog_bytes=settings.publish_backlog)
        self.log: EdgeLog = EdgeLog(self._upstream, options)
        self.parts = Role(
            keeps=False,
            marking=EdgeMarking,
            deliveries=partial(EdgeDeliveries, self._upstream),
            audience=EdgeAudience,
        )

    async def start(self, hub: Hub, stop: trio.Event) -> None:
        await super().start(hub, stop)
        edge = Edge(hub, self.log, self.bus, self.settings.cluster_sync)
        hub.nodes.gauges += edge.gauges()
        hub.nodes.totals += edge.totals()
        registry = Registry(self.bus, hub.sessions, hub.happenings)
        await hub.services.start(self.bus.run)
        await hub.services.start(registry.run)
        await hub.services.start(edge.run)
        self.log.lives_here = lambda channel: hub.access.session_of(channel) is not None
        assert isinstance(hub.deliveries, EdgeDeliveries)
        await hub.services.start(hub.deliveries.run)
        await _first(edge.synced.wait, stop.wait)

    def web(self, hub: Hub, own: Engine) -> Engine:
        return Passing(hub, own, self._owner_url).serve

    def _owner_url(self) -> str | None:
        record = self._upstream.record
        return None if record is None else record.url

    def generation(self) -> str:
        return self._upstream.generation

    def stale_ms(self) -> int | None:
        stale = self.log.stale
        return None if stale == float("inf") else round(stale * 1000)


def make_side(settings: Settings, tokens: NodeTokens | None) -> Side | None:
    """None: the node is alone. Raises BadSetting."""
    if settings.redis is None or tokens is None:
        return None
    return (EdgeSide if settings.edge else OwnerSide)(settings, tokens)


async def _first(*waits: Callable[[], Awaitable[None]]) -> None:
    """Until one of them is over."""
    async with trio.open_nursery() as nursery:

        async def wait(each: Callable[[], Awaitable[None]]) -> None:
            await each()
            nursery.cancel_scope.cancel()

        for each in waits:
            nursery.start_soon(wait, each)
