"""A node's own sessions, in Redis: a hash with a lease, and each change of it numbered and told.

What is there is never trusted to be complete: a change says how many there have to be, and after
every gap all are written anew.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import structlog
import trio

from pushd.cluster.bus.bus import Bus
from pushd.cluster.bus.commands import Command, RedisAway
from pushd.cluster.bus.texts import (
    SESSIONS,
    SESSIONS_STATE,
    SessionEnd,
    SessionRecord,
    SessionsSaid,
    SessionsState,
)
from pushd.happenings import Happenings, SessionClosed, SessionOpened
from pushd.session import Session
from pushd.sessions import Sessions

log = structlog.get_logger("pushd.cluster")

BATCH_S: Final = 0.05
CHUNK: Final = 200  # sessions written in one piece


class Registry:
    """Construct it before sessions open, and before the bus runs. Used on the Trio loop only."""

    def __init__(self, bus: Bus, sessions: Sessions, happenings: Happenings) -> None:
        self._bus = bus
        self._sessions = sessions
        self._channel = bus.key(SESSIONS)
        self._key = bus.key(SESSIONS, bus.node)
        self._life = secrets.token_hex(8)
        self._base = self._number = 0
        self._written: set[str] = set()  # ids that are in Redis, as far as it was told
        self._changed: dict[str, Session | SessionEnd] = {}
        self._anew = True  # there is no use in changes: all will be written
        self._news = trio.Event()
        happenings.listen(SessionOpened, lambda happening: self._opened(happening.session))
        happenings.listen(SessionClosed, lambda happening: self._closed(happening.session))
        sessions.on_changed = self._opened
        bus.on_gap.append(self._gap)
        bus.farewells.append(self._farewell)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is cancelled; the bus takes away what is written."""
        task_status.started()
        renew_at = trio.current_time() + self._bus.renew_s
        while True:
            with trio.move_on_at(renew_at):
                await self._news.wait()
            self._news = trio.Event()
            try:
                if trio.current_time() >= renew_at:
                    renew_at = trio.current_time() + self._bus.renew_s
                    await self._renew()
                if self._anew and self._bus.state.connected:
                    await self._write_all()
                while self._changed and not self._anew:
                    await trio.sleep(BATCH_S)
                    for _ in range(0, len(self._changed), CHUNK):
                        if self._anew:
                            break
                        await self._write_changes()
            except RedisAway as error:
                self._set_anew()
                if self._bus.state.connected:  # refused, or too slow
                    log.warning("sessions could not be written to redis", error=error.detail)
                    await trio.sleep(random.uniform(0.5, 1.5) * self._bus.tick_s)
                    self._news.set()

    # -- what happens ----------------------------------------------------------------------------

    def _opened(self, session: Session) -> None:
        if not self._anew and session.node is None and session.id in self._sessions.by_id:
            self._changed[session.id] = session
            self._news.set()

    def _closed(self, session: Session) -> None:
        if not self._anew and session.node is None:
            self._changed[session.id] = SessionEnd(session.id, session.end_code, session.end_reason)
            self._news.set()

    def _gap(self) -> None:
        """Redis is there, and may have forgotten, or the others may not have heard."""
        self._set_anew()
        self._news.set()

    def _set_anew(self) -> None:
        self._anew = True
        self._changed.clear()

    # -- what is written -------------------------------------------------------------------------

    async def _write_all(self) -> None:
        self._anew = False
        self._base += 1
        self._number = 0
        self._written.clear()
        ids = [id_ for id_, session in self._sessions.by_id.items() if session.node is None]
        start: list[Command] = [("DEL", self._key)]
        for at in range(0, len(ids), CHUNK):
            live = [self._sessions.by_id.get(id_) for id_ in ids[at : at + CHUNK]]
            records = [_record(self._bus.node, session) for session in live if session is not None]
            await self._say(*start, *self._put(records))
            start = []
            if self._anew:
                return
        await self._say(*start, *self._state(), self._publish())

    async def _write_changes(self) -> None:
        taken = dict(islice(self._changed.items(), CHUNK))
        live: list[SessionRecord] = []
        closed: list[SessionEnd] = []
        for id_, each in taken.items():
            del self._changed[id_]
            if isinstance(each, SessionEnd):
                closed.append(each)
            else:
                live.append(_record(self._bus.node, each))
        self._number += 1
        gone = [end.session for end in closed]
        self._written.difference_update(gone)
        removed: list[Command] = [("HDEL", self._key, *gone)] if gone else []
        told = self._publish(live, closed)
        state_is_new, *_ = await self._say(*self._state(live), *removed, *self._put(live), told)
        if state_is_new:  # so Redis had forgotten, and what it has now is not all
            self._gap()

    def _state(self, live: Sequence[SessionRecord] = ()) -> list[Command]:
        """What the hash is complete up to, when ``live`` are in it, too."""
        self._written.update(record.session for record in live)
        state = SessionsState(self._life, self._base, self._number, len(self._written))
        text = self._bus.sealed.write(self._key, state)
        return [("HSET", self._key, SESSIONS_STATE, text), self._lease()]

    def _put(self, live: Sequence[SessionRecord]) -> list[Command]:
        if not live:
            return []
        self._written.update(record.session for record in live)
        command: list[str | bytes] = ["HSET", self._key]
        for record in live:
            command += [record.session, self._bus.sealed.write(self._key, record)]
        return [(*command,), self._lease()]

    def _lease(self) -> Command:
        return ("PEXPIRE", self._key, self._bus.lease_ms)

    def _publish(
        self, live: Sequence[SessionRecord] = (), closed: Sequence[SessionEnd] = ()
    ) -> Command:
        said = SessionsSaid(
            self._bus.node, self._life, self._base, self._number, list(live), list(closed)
        )
        return ("PUBLISH", self._channel, self._bus.sealed.write(self._channel, said))

    async def _say(self, *commands: Command) -> list[Any]:
        """All or nothing, and nobody reads what is in between."""
        *_, replies = await self._bus.ask(("MULTI",), *commands, ("EXEC",))
        for reply in replies:
            if isinstance(reply, Exception):
                raise RedisAway(f"Redis refuses: {reply}")
        return list(replies)

    async def _renew(self) -> None:
        if self._anew:
            return
        there, _ = await self._bus.ask(self._lease(), self._publish())
        if not there:  # it ran out, or Redis was emptied
            self._gap()

    def _farewell(self) -> list[Command]:
        said = SessionsSaid(self._bus.node, self._life, self._base, self._number + 1, gone=True)
        text = self._bus.sealed.write(self._channel, said)
        return [("DEL", self._key), ("PUBLISH", self._channel, text)]


def _record(node: str, session: Session) -> SessionRecord:
    return SessionRecord(
        session.id,
        node,
        session.user,
        session.device,
        session.transport,
        session.address,
        session.since,
        time.time() - (trio.current_time() - session.last_seen),
        list(session.following),
        msgspec.Raw(msgspec.json.encode(session.identity.attributes)),
    )
