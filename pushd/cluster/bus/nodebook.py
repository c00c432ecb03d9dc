"""The nodes of the cluster: each keeps a record of itself in Redis, with a lease."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
import trio

from pushd.cluster.bus.busstate import BusState
from pushd.cluster.bus.commands import Command, RedisAway
from pushd.cluster.bus.sealed import Sealed
from pushd.core.nodes import NodeRecord

log = structlog.get_logger("pushd.cluster")

SURE: Final = 3
FRESH_S: Final = 1.0  # however many ask, Redis is asked once so often


class NodeBook:
    """``describe`` says what this node is; ``ask`` is the bus's."""

    def __init__(
        self,
        name: str,
        node: str,
        sealed: Sealed,
        state: BusState,
        lease_ms: int,
        ask: Callable[..., Awaitable[list[Any]]],
    ) -> None:
        self.describe: Callable[[], NodeRecord] | None = None
        self.index = f"{name}:nodes"
        self._prefix = f"{name}:node:"
        self._node = node
        self._sealed = sealed
        self._state = state
        self._lease_ms = lease_ms
        self._ask = ask
        self._decoder = msgspec.json.Decoder(NodeRecord)
        self._known: dict[str, NodeRecord] = {}
        self._fresh_s = FRESH_S
        self._read_at = -FRESH_S
        self._reading = trio.Lock()
        self._others = 0  # times that Redis had the record of another process

    def renewal(self) -> list[Command]:
        """This node lives."""
        if self.describe is None:
            return [("SADD", self.index, self._node)]
        key = self._prefix + self._node
        text = self._sealed.write(key, self.describe())
        set_ = ("SET", key, text, "PX", self._lease_ms, "GET")
        return [("SADD", self.index, self._node), set_]

    def renewed(self, before: object) -> None:
        """What Redis had before the renewal: it should be what this node has written."""
        record = self._sealed.read(self._prefix + self._node, before, self._decoder)
        if record is None or self.describe is None or record.since == self.describe().since:
            return
        self._others += 1  # one may be of the life before
        if self._others == SURE:
            log.error(
                "another node has the same node_id",
                node=self._node,
                url=record.url,
                cure="Give each node its own node_id: their sessions push each other out.",
            )

    def farewell(self) -> list[Command]:
        """It does not any more."""
        return [("DEL", self._prefix + self._node), ("SREM", self.index, self._node)]

    async def read(self) -> list[NodeRecord]:
        """All with a lease, by their ids; what was known last when Redis does not answer."""
        async with self._reading:
            if time.monotonic() - self._read_at >= self._fresh_s:
                try:
                    await self._read()
                    self._read_at = time.monotonic()
                except RedisAway:
                    pass
        known = dict(self._known)
        if self.describe is not None:
            known[self._node] = self.describe()
        return [known[node] for node in sorted(known)]

    async def _read(self) -> None:
        (members,) = await self._ask(("SMEMBERS", self.index))
        nodes = sorted(member.decode("utf-8", "replace") for member in members)
        known: dict[str, NodeRecord] = {}
        if nodes:
            (found,) = await self._ask(("MGET", *(self._prefix + node for node in nodes)))
            for node, data in zip(nodes, found, strict=True):
                if data is None:
                    continue
                record = self._sealed.read(self._prefix + node, data, self._decoder)
                if record is None:
                    self._state.ignore("a node record", self._prefix + node)
                else:
                    known[node] = record
        self._known = known
