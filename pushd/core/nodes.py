"""What a node says of itself to the others, and to operators."""

from __future__ import annotations

import msgspec


class NodeRecord(msgspec.Struct):
    """Renewed every few seconds; see ``GET /v1/nodes``. ``lag_ms``: how late its loop is."""

    node: str
    role: str  # owner or edge
    url: str
    version: str
    since: float  # Unix seconds
    sessions: int
    connections: int
    held: int
    lag_ms: float
    generation: str
    stale_ms: int | None = None  # of an edge: since it was last confirmed
    redis: str = ""
