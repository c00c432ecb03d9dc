"""This node among the others. Alone it is the owner, and nothing else has to be known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pushd.core.nodes import NodeRecord
from pushd.metrics import Gauge, Total


class Nodes:
    """What whoever joins this node to others sets.

    ``url``: where the others reach it. ``generation``: of the owner that it is, or follows.
    ``stale_ms``: of an edge, since it was last confirmed. ``redis``: its state as this node sees
    it, with a ``state`` in one word. ``others``: all nodes that are heard of. ``gauges`` and
    ``totals``: what ``/metrics`` shows of it.
    """

    def __init__(self) -> None:
        self.role = "owner"
        self.url = ""
        self.generation: Callable[[], str] = lambda: ""
        self.stale_ms: Callable[[], int | None] = lambda: None
        self.redis: Callable[[], dict[str, Any] | None] = lambda: None
        self.others: Callable[[], Awaitable[list[NodeRecord]]] | None = None
        self.gauges: tuple[Gauge, ...] = ()
        self.totals: tuple[Total, ...] = ()

    async def all(self, own: NodeRecord) -> list[NodeRecord]:
        """The owner first, then by id; of this node what it says now (``own``)."""
        known = {} if self.others is None else {each.node: each for each in await self.others()}
        known[own.node] = own
        return sorted(known.values(), key=lambda each: (each.role != "owner", each.node))
