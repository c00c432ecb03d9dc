"""Every message of the chosen namespaces to the application: in order, at least once.

A client of the log like any other: it is told that a channel is farther, reads what follows its
cursor, posts it, and records the cursor when it was taken. What it keeps in memory are the names of
channels that are farther than the application knows; where they are is on disk.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import structlog
import trio

from pushd.core.namespaces import Namespaces
from pushd.core.positions import Cursor
from pushd.errors import PushdError
from pushd.log import Advance, Log
from pushd.metrics import Counters
from pushd.outbound import envelope
from pushd.telling.backlog import BATCH_MESSAGES, Backlog, Behind
from pushd.telling.portions import Portion, Portions
from pushd.telling.posting import Poster
from pushd.telling.starting import DEVICE, USER, find_behind

# A batch that is not just one message: what common servers take without being told to.
BATCH_BYTES: Final = 64 * 1024
AFTER_A_FAULT_S: Final = 1.0  # of our own

log = structlog.get_logger("pushd.telling")


class _Told(NamedTuple):
    behind: Behind
    portion: Portion


class Messages:
    """``run`` is the service; it follows from its start on."""

    def __init__(
        self,
        durable: Log,
        namespaces: Namespaces,
        portions: Portions,
        poster: Poster,
        counters: Counters,
        renew_s: float,
    ) -> None:
        """``renew_s``: how often to say of channels that are behind that somebody is to come."""
        self._log = durable
        self._namespaces = namespaces
        self._portions = portions
        self._poster = poster
        self._counters = counters
        self._renew_s = renew_s
        self._news = trio.Event()
        # What was posted and not answered: the same again, with the same id.
        self._again: list[tuple[Behind, int]] = []
        self.backlog = Backlog()

    def advance(self, advance: Advance) -> None:
        """A channel is farther. One that was not behind was told whole up to here."""
        head = advance.head
        if not self._namespaces.of(head.channel).webhook:
            return
        cursor = Cursor(head.epoch, advance.start - 1)
        if advance.start == 1:
            # Where it begins: a window that is held for those who are behind is held from now on.
            self._log.record_delivered(USER, DEVICE, head.channel, cursor)
        if self.backlog.add(head.channel, cursor):
            self._news.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started once it is known what was not told before."""
        await find_behind(self._log, self._namespaces, self.backlog)
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            while True:
                try:
                    await self._wait()
                    await self._tell()
                except Exception:
                    log.exception("messages could not be told")
                    self._again = []
                    self.backlog.recover()
                    await trio.sleep(AFTER_A_FAULT_S)

    async def _wait(self) -> None:
        """Until there is something to tell."""
        while not self._again and (at := self.backlog.next_at()) > trio.current_time():
            self._news = trio.Event()
            with trio.move_on_at(at):
                await self._news.wait()

    async def _tell(self) -> None:
        batch = await (self._compose_again() if self._again else self._compose())
        if not batch:
            return
        self._again = [(told.behind, len(told.portion.messages)) for told in batch]
        data = {"channels": [told.portion.as_dict() for told in batch]}
        outcome = await self._poster.post(envelope("messages", data), _id_of(batch))
        if outcome == "unanswered":
            return
        self._again = []
        if outcome == "taken":
            for told in batch:
                self._taken(told)
        else:
            self._refused(batch)

    # -- what goes into a batch

    async def _compose_again(self) -> list[_Told]:
        """Read anew all the same: what was removed meanwhile is not told any more."""
        again, self._again = self._again, []
        batch = []
        for behind, count in again:
            portion = await self._read(behind, max(count, 1), BATCH_BYTES)
            if portion is not None:
                batch.append(_Told(behind, portion))
        return batch

    async def _compose(self) -> list[_Told]:
        batch: list[_Told] = []
        room, room_bytes = BATCH_MESSAGES, BATCH_BYTES
        while room > 0 and (behind := self.backlog.take(trio.current_time())) is not None:
            portion = None
            if not (batch and behind.alone):
                portion = await self._read(behind, min(room, behind.limit), room_bytes)
                if portion is None:
                    continue
            if portion is None or (batch and portion.size > room_bytes):
                self.backlog.give_back(behind, first=True)
                break
            batch.append(_Told(behind, portion))
            room -= max(len(portion.messages), 1)
            room_bytes -= portion.size
            if behind.alone:
                break
        return batch

    async def _read(self, behind: Behind, limit: int, max_bytes: int) -> Portion | None:
        """None: there is nothing to tell of it, or not now."""
        try:
            portion = await self._portions.read(behind.channel, behind.cursor, limit, max_bytes)
        except PushdError as error:
            log.warning("messages cannot be read", channel=behind.channel, cause=error.detail)
            self.backlog.rest(behind, trio.current_time() + behind.refused(limit))
            return None
        if portion is None or not (portion.messages or portion.reset):
            self.backlog.done(behind)
            return None
        return portion

    # -- what came of it

    def _taken(self, told: _Told) -> None:
        behind, portion = told
        self._log.record_delivered(USER, DEVICE, behind.channel, portion.end)
        self._counters.messages_told += len(portion.messages)
        behind.taken(portion.end)
        head = self._log.heads.get(behind.channel)
        if head is None or Cursor(head.epoch, head.seq) == portion.end:
            self.backlog.done(behind)
        else:
            self.backlog.give_back(behind)

    def _refused(self, batch: list[_Told]) -> None:
        """Something in it, or all of it: each channel by itself, so that one harms no other."""
        if len(batch) > 1:
            for behind, _ in reversed(batch):
                behind.alone = True
                self.backlog.give_back(behind, first=True)
            return
        [(behind, portion)] = batch
        behind.alone = True
        rest_s = behind.refused(len(portion.messages))
        self.backlog.rest(behind, trio.current_time() + rest_s)
        log.warning(
            "the application refuses messages",
            channel=behind.channel,
            after=portion.after,
            messages=len(portion.messages),
            reason=self._poster.reason,
            again_s=rest_s,
        )

    async def _renew(self) -> None:
        """An application that is down is one that comes back: windows are held for it."""
        while True:
            await trio.sleep(self._renew_s)
            for behind in self.backlog:
                self._log.record_delivered(USER, DEVICE, behind.channel, behind.cursor)


def _id_of(batch: list[_Told]) -> str:
    """It follows from what is told, so that it is the same when it is told again, also later."""
    digest = hashlib.sha256()
    for _, portion in batch:
        parts = (portion.channel, portion.epoch, portion.after, len(portion.messages))
        digest.update(repr(parts).encode())
    return f"msgs_{digest.hexdigest()[:32]}"
