"""Where the owner is: one record in Redis, of which a node follows only ever newer ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from pushd.cluster.bus.busstate import BusState
from pushd.cluster.bus.commands import Command
from pushd.cluster.bus.sealed import Sealed
from pushd.cluster.bus.texts import OwnerRecord
from pushd.cluster.bus.wires import call_all

log = structlog.get_logger("pushd.cluster")

_NOBODY: Final = ""


class Ownership:
    """``record``: of the highest generation that was ever seen. ``key``: its name in Redis.

    ``changed`` are told of each that is followed from now on.
    """

    def __init__(
        self,
        key: str,
        sealed: Sealed,
        state: BusState,
        lease_ms: int,
        changed: list[Callable[[OwnerRecord], None]],
    ) -> None:
        self.key = key
        self.record: OwnerRecord | None = None
        self._decoder = msgspec.json.Decoder(OwnerRecord)
        self._sealed = sealed
        self._state = state
        self._lease_ms = lease_ms
        self._changed = changed
        self._mine: OwnerRecord | None = None
        self._there: bytes | None = None  # what Redis has
        self._rival = _NOBODY

    def announce(self, record: OwnerRecord) -> None:
        """This node is the owner."""
        self._mine = record
        self._follow(record)

    def found(self, data: object) -> bool:
        """What Redis has. True: it does not have what this node says."""
        self._there = data if isinstance(data, bytes) else None
        if self._there is None:
            self._rival = _NOBODY
            return self._mine is not None
        record = self._sealed.read(self.key, self._there, self._decoder)
        if record is None:
            self._state.ignore("an owner record", self.key)
            return self._mine is not None
        if self._mine is None:
            self._follow(record)
            return False
        if record.node != self._mine.node and record.generation > self._mine.generation:
            self._complain(record)
        # This node's may have come over the rival's: it is left to run out.
        return record != self._mine and not self._rival

    def renewal(self) -> list[Command]:
        """What keeps the record there; nothing where a newer owner has its own."""
        if self._mine is None or self._rival:
            return []
        text = self._sealed.write(self.key, self._mine)
        return [("SET", self.key, text, "PX", self._lease_ms)]

    def farewell(self) -> list[Command]:
        """Takes the record away, if it is still this node's."""
        if self._mine is None or self._there is None:
            return []
        record = self._sealed.read(self.key, self._there, self._decoder)
        return [("DEL", self.key)] if record == self._mine else []

    def _follow(self, record: OwnerRecord) -> None:
        """A lower generation is one that was: of a node that was slow, or of who repeats it."""
        known = self.record
        if known is not None and (record.generation < known.generation or record == known):
            return
        self.record = record
        call_all(self._changed, record)

    def _complain(self, record: OwnerRecord) -> None:
        if self._rival != record.node:
            self._rival = record.node
            log.error(
                "another node owns a log in this cluster, and is newer",
                node=record.node,
                url=record.url,
                cure="Give each cluster its own cluster_name, or start one of both with edge.",
            )
