"""Whether somebody was there for a message, at an edge: as the owner says, who knows all nodes."""

from __future__ import annotations

from pushd.audience import Audience, Result
from pushd.cluster.forwarding import StoredThere
from pushd.log import Stored


class EdgeAudience(Audience):
    """Of what was stored by the owner."""

    __slots__ = ()

    def results(self, stored: list[Stored]) -> list[Result]:
        """Those of one publish, in the order of its channels."""
        return [
            Result(*each[:5], each.online, each.duplicate, "known" if each.known else "unknown")
            for each in stored
            if isinstance(each, StoredThere)
        ]
