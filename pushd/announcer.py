"""Presence channels: ``$presence:TOPIC`` is told who has come to the topic, and who has left it.

One task tells, many changes in one commit. So a crowd that joins at once holds up nobody, and of
who has come and gone before it was told nothing is told at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final

import structlog
import trio

from pushd.answers import answer_of
from pushd.core.messages import Draft
from pushd.core.names import PRESENCE_PREFIX
from pushd.core.namespaces import EPHEMERAL_AGE_S
from pushd.core.room import Room
from pushd.errors import NotReady, PushdError
from pushd.fanout import Fanout
from pushd.log import MOST_DISCARDED, Append, Entry, Log, Stored
from pushd.metrics import Counters

BATCH: Final = 512  # joins and leaves of one commit
RETRY_S: Final = 1.0  # after the log has refused some
TIDY_S: Final = 60.0  # how often is looked for channels of topics that everybody has left
PUBLISHER: Final = "presence"

log = structlog.get_logger("pushd.presence")


class Announcer:
    """``rooms``: by topic, those that somebody is in or was. The service is ``run``."""

    def __init__(
        self,
        durable: Log,
        fanout: Fanout,
        counters: Counters,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._clock = clock
        self.rooms: dict[str, Room] = {}
        self._log = durable
        self._fanout = fanout
        self._counters = counters
        self._due: dict[tuple[Room, str], None] = {}
        self._wake = trio.Event()
        self._left_over: list[str] = []
        # Since when, the longest first.
        self._empty: dict[Room, float] = {}

    @property
    def ready(self) -> bool:
        """What an earlier process has told is gone."""
        return not self._left_over

    def notice(self, room: Room, user: str) -> None:
        """Something of the user has changed there, or nothing after all."""
        if room.due(user) is not None:
            self._due[room, user] = None
            self._empty.pop(room, None)
            self._wake.set()
        elif room.empty:
            self._empty.setdefault(room, self._clock())

    async def clear(self, channels: Iterable[str]) -> None:
        """At the start: nobody is there, so whoever was told otherwise is to ask anew."""
        self._left_over = [name for name in channels if name.startswith(PRESENCE_PREFIX)]
        with suppress(PushdError):  # then the service goes on trying
            await self._clear()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        while True:
            try:
                await self._clear()
                while self._due:
                    await answer_of(self.tell_some)
                await self._tidy()
            except PushdError as error:
                if not isinstance(error, NotReady):  # a full disk, say
                    log.warning("presence waits for the log", reason=error.detail)
                await trio.sleep(RETRY_S)
                continue
            except Exception:
                log.exception("presence could not be told")
                await trio.sleep(RETRY_S)
                continue
            if not self._due:
                self._wake = trio.Event()
                with trio.move_on_after(TIDY_S):
                    await self._wake.wait()

    async def _clear(self) -> None:
        while self._left_over:
            part = self._left_over[:MOST_DISCARDED]
            await answer_of(partial(self._log.discard, part))
            del self._left_over[: len(part)]

    def tell_some(self, done: Callable[[PushdError | None], None]) -> None:
        """The oldest changes, in one commit; what was taken back meanwhile is none."""
        keys = list(islice(self._due, BATCH))
        for key in keys:
            del self._due[key]
        changes = [(room, user, told) for room, user in keys if (told := room.due(user))]

        def stored(result: list[Stored] | PushdError) -> None:
            if isinstance(result, PushdError):
                self._due.update(dict.fromkeys(keys))
                done(result)
                return
            # In the turn that has raised the heads: lists and cursors agree.
            for room, user, told in changes:
                room.tell(user, told)
                self.notice(room, user)
            self._counters.presence_told += len(changes)
            done(None)

        if not changes:
            done(None)
            return
        entries = [Entry(room.channel, Draft(told.data, told.type)) for room, _, told in changes]
        try:
            self._log.submit(Append(entries, PUBLISHER, stored))
        except PushdError as error:
            stored(error)

    async def _tidy(self) -> None:
        """The channels of topics that have been empty for long, unless somebody follows them."""
        now = self._clock()
        gone: list[Room] = []
        for room, since in list(self._empty.items()):
            if since > now - EPHEMERAL_AGE_S or len(gone) == MOST_DISCARDED:
                break
            del self._empty[room]
            self._empty[room] = now  # looked at
            if room.channel not in self._fanout.topics:
                gone.append(room)
        if not gone:
            return
        await answer_of(partial(self._log.discard, [room.channel for room in gone]))
        for room in gone:
            if room.empty and self._empty.pop(room, None) is not None:
                del self.rooms[room.topic]
