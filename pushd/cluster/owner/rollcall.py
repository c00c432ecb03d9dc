"""Keeps the roll right: hears changes, reads what was missed, looks whose lease has run out."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec
import structlog
import trio

from pushd.cluster.bus.bus import Bus
from pushd.cluster.bus.commands import Command, RedisAway
from pushd.cluster.bus.texts import (
    SESSIONS,
    SESSIONS_STATE,
    SessionRecord,
    SessionsSaid,
    SessionsState,
)
from pushd.cluster.owner.roll import Roll, Told

log = structlog.get_logger("pushd.cluster")

PAGE: Final = 250
MOST: Final = 5000  # changes that were heard and not taken in yet
GONE: Final = -2  # what PTTL says of a name that is not there

_said = msgspec.json.Decoder(SessionsSaid)
_state = msgspec.json.Decoder(SessionsState)
_record = msgspec.json.Decoder(SessionRecord)


class RollCall:
    """The owner's. Construct it before the bus runs; used on the Trio loop only."""

    def __init__(self, bus: Bus, told: Told) -> None:
        """``told``: who is told of their sessions."""
        self.roll = Roll(bus.node, told, bus.lease_ms / 1000)
        self._bus = bus
        self._channel = bus.key(SESSIONS)
        self._news = trio.Event()
        self._said: deque[bytes] = deque()
        self._speech = trio.Event()
        self._look_s = bus.tick_s
        bus.listen(SESSIONS, self._heard)
        bus.on_gap.append(self._gap)
        bus.on_lost.append(self._lost)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_looking)
            task_status.started()
            await self._listen()

    async def _keep_looking(self) -> None:
        while True:
            with trio.move_on_after(self._look_s):
                await self._news.wait()
            self._news = trio.Event()
            await self._part()
            if not self._bus.state.connected:
                continue
            try:
                sure, self._look_s = await self._look()
                for node in list(self.roll.wanted):
                    await self._read(node)
                if sure:
                    self.roll.settle(trio.current_time())
                    await self._part()
                    self.roll.settle(trio.current_time())
            except RedisAway as error:
                log.debug("the sessions of other nodes could not be read", error=error.detail)
                self._look_s = self._bus.tick_s

    # -- what the bus says -----------------------------------------------------------------------

    def _gap(self) -> None:
        self.roll.gap(trio.current_time())
        self._news.set()

    def _lost(self) -> None:
        self.roll.lost()

    def _heard(self, text: bytes) -> None:
        if len(self._said) < MOST:  # else a number will be missing, and that is seen
            self._said.append(text)
            self._speech.set()

    async def _listen(self) -> None:
        """Many nodes may speak at once: each has its turn of the loop."""
        while True:
            await self._speech.wait()
            while self._said:
                self._take_in(self._said.popleft())
                await trio.lowlevel.checkpoint()
            self._speech = trio.Event()

    def _take_in(self, text: bytes) -> None:
        said = self._bus.sealed.read(self._channel, text, _said)
        if said is None:
            self._bus.state.ignore("a change of sessions", self._channel)
            return
        self.roll.heard(said)
        if self.roll.wanted or self.roll.leaving:
            self._news.set()

    async def _part(self) -> None:
        while self.roll.leaving:
            self.roll.part()
            await trio.lowlevel.checkpoint()

    # -- what is read ----------------------------------------------------------------------------

    async def _look(self) -> tuple[bool, float]:
        """At all leases. Whether that was of any use, and how long until the next look."""
        (members,) = await self._bus.ask(("SMEMBERS", self._bus.book.index))
        listed = [member.decode("utf-8", "replace") for member in members]
        nodes = sorted({*listed, *self.roll.nodes()} - {self._bus.node})
        commands: list[Command] = []
        for node in nodes:
            commands += [("PTTL", self._key(node)), ("PTTL", self._bus.key("node", node))]
        # The marker comes last: leases that ran out before it was there have truly run out.
        *left, marker = await self._bus.ask(*commands, ("GET", self._bus.key("marker")))
        if marker is None or marker != self._bus.marker:
            self._bus.hurry()
            return False, self._bus.tick_s
        look_s = self._bus.tick_s
        there: list[str] = []
        forgotten: list[str] = []
        for node, sessions_ms, node_ms in zip(nodes, left[::2], left[1::2], strict=True):
            if sessions_ms != GONE:
                there.append(node)
                look_s = min(look_s, max(sessions_ms, 0) / 1000 + 0.002)
                continue
            self.roll.absent(node)
            if node_ms == GONE:
                forgotten.append(node)
        self.roll.listed(there)
        if forgotten:  # who lives puts itself there again
            self._bus.post([("SREM", self._bus.book.index, *forgotten)])
        return True, look_s

    async def _read(self, node: str) -> None:
        """All sessions of a node; nothing comes of it when they are not complete just now."""
        before = await self._complete(node)
        if before is None:
            return
        records: dict[str, SessionRecord] = {}
        cursor: Any = b"0"
        while True:
            (page,) = await self._bus.ask(("HSCAN", self._key(node), cursor, "COUNT", PAGE))
            cursor, flat = page
            for field, text in zip(flat[::2], flat[1::2], strict=True):
                if field != SESSIONS_STATE.encode():
                    self._take(node, field, text, records)
            if cursor == b"0":
                break
        after = await self._complete(node)
        # Written anew meanwhile: perhaps not all pages were of the same sessions.
        if after is not None and (after.life, after.base) == (before.life, before.base):
            for _ in self.roll.take(node, before, records):
                await trio.lowlevel.checkpoint()

    async def _complete(self, node: str) -> SessionsState | None:
        key = self._key(node)
        *_, (text, fields) = await self._bus.ask(
            ("MULTI",), ("HGET", key, SESSIONS_STATE), ("HLEN", key), ("EXEC",)
        )
        if text is None:
            return None
        state = self._bus.sealed.read(key, text, _state)
        if state is None:
            self._bus.state.ignore("a state of sessions", key)
            return None
        return state if fields == state.count + 1 else None

    def _take(
        self, node: str, field: bytes, text: bytes, records: dict[str, SessionRecord]
    ) -> None:
        record = self._bus.sealed.read(self._key(node), text, _record)
        if record is None or record.session.encode() != field:
            self._bus.state.ignore("a session", self._key(node))
        else:
            records[record.session] = record

    def _key(self, node: str) -> str:
        return self._bus.key(SESSIONS, node)
