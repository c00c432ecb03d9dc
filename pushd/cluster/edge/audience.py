"""Whether somebody is there for a message of an edge: the owner has said it with its place."""

from __future__ import annotations

from pushd.audience import Audience, Result
from pushd.cluster.edge.there import StoredThere
from pushd.log import Stored
from pushd.sight import State


class EdgeAudience(Audience):
    """Looks at nothing of this node."""

    __slots__ = ()

    def results(self, stored: list[Stored]) -> list[Result]:
        return [
            Result(*each[:5], online, each.duplicate, state)
            for each in stored
            for online, state in (self.of(each),)
        ]

    def of(self, stored: Stored) -> tuple[bool, State]:
        if isinstance(stored, StoredThere):
            return stored.online, "known" if stored.known else "unknown"
        return super().of(stored)
