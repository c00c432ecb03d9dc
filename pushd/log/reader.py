"""The thread that reads what is no longer in memory: short reads on a connection of its own."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
import structlog

from pushd.core.messages import DEFAULT_TYPE, encode_message
from pushd.core.positions import Cursor
from pushd.errors import PushdError, StorageBroken
from pushd.log import failures
from pushd.log.marks import SEEN, Found
from pushd.log.requests import MissingMessages

_logger = structlog.get_logger("pushd.log")

# Handed to the loop at once: so many answers, or messages or bytes in them. More would make the
# first wait for the last, and whoever else is on the loop for all of them.
_ANSWERS: Final = 32
_MESSAGES_AT_ONCE: Final = 200
_BYTES_AT_ONCE: Final = 1 << 20
# So often, before the loop has taken what was handed to it: what it finds, it does in one turn.
AHEAD: Final = 2
_LOOP_S: Final = 1.0  # for it to do so
SILENCE_S: Final = 10.0  # after a read that failed was logged

_MESSAGES: Final = (
    "SELECT seq, at, type, sender, id, data FROM messages"
    " WHERE log_id = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
)
_DELIVERED: Final = (
    "SELECT channel_id, epoch, seq FROM cursors WHERE user = ? AND device = ?"
    " AND channel_id IN (SELECT value FROM json_each(?))"
)
_READ: Final = (
    "SELECT channel_id, epoch, seq FROM reads WHERE user = ?1"
    " AND channel_id IN (SELECT value FROM json_each(?2))"
    f" UNION ALL SELECT {SEEN}, epoch, seq FROM seen WHERE user = ?1"
)

Done = Callable[[Any], None]


class Job(Protocol):
    done: Done

    def run(self, connection: sqlite3.Connection) -> object:
        """The answer. Errors are raised; the reader makes values of them."""


class ReadMessages:
    """Seqs ``after + 1`` to ``upto``, at least one, up to ``limit`` or ``max_bytes``."""

    __slots__ = ("after", "done", "epoch", "limit", "log_id", "max_bytes", "upto")

    def __init__(
        self,
        log_id: int,
        epoch: str,
        after: int,
        upto: int,
        limit: int,
        max_bytes: int,
        done: Done,
    ) -> None:
        self.log_id = log_id
        self.epoch = epoch
        self.after = after
        self.upto = upto
        self.limit = limit
        self.max_bytes = max_bytes
        self.done = done

    def run(self, connection: sqlite3.Connection) -> list[bytes]:
        limit = max(1, self.limit)
        rows = connection.execute(_MESSAGES, (self.log_id, self.after, self.upto, limit))
        encoded: list[bytes] = []
        room = self.max_bytes
        expected = self.after
        capped = False
        try:
            for seq, at, type_, sender, id_, data in rows:
                expected += 1
                if seq != expected:
                    break
                message = encode_message(
                    seq, self.epoch, type_ or DEFAULT_TYPE, id_, sender, at, data
                )
                room -= len(message)
                if room < 0 and encoded:
                    capped = True
                    break
                encoded.append(message)
        finally:
            # An open cursor is an open snapshot, which keeps the WAL from starting over.
            rows.close()
        missing = self.after + len(encoded) + 1
        if not capped and missing <= self.upto and len(encoded) < limit:
            raise MissingMessages(f"Message {missing} of epoch {self.epoch} is not on disk.")
        return encoded


class LoadMarks:
    """The delivered marks of a device (if any) and the read marks of its user, with ``SEEN``."""

    __slots__ = ("channel_ids", "device", "done", "user")

    def __init__(self, user: str, device: str | None, channel_ids: list[int], done: Done) -> None:
        self.user = user
        self.device = device
        self.channel_ids = channel_ids
        self.done = done

    def run(self, connection: sqlite3.Connection) -> Found:
        ids = msgspec.json.encode(self.channel_ids).decode()
        delivered: dict[int, Cursor] = {}
        if self.device is not None:
            delivered = delivered_to(connection, self.user, self.device, self.channel_ids)
        return delivered, _found(connection.execute(_READ, (self.user, ids)))


def delivered_to(
    connection: sqlite3.Connection, user: str, device: str, channel_ids: list[int]
) -> dict[int, Cursor]:
    """How far a device has been given these channels, on disk."""
    ids = msgspec.json.encode(channel_ids).decode()
    return _found(connection.execute(_DELIVERED, (user, device, ids)))


def _found(rows: sqlite3.Cursor) -> dict[int, Cursor]:
    return {channel_id: Cursor(epoch, seq) for channel_id, epoch, seq in rows.fetchall()}


class Turns:
    """Jobs that wait. Those for messages of one channel stand in line, others with their kind, and
    the lines take turns: whoever reads a channel again and again keeps nobody else waiting.
    """

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: OrderedDict[int | type[Job], deque[Job]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, job: Job) -> None:
        of = getattr(job, "log_id", type(job))
        line = self._lines.get(of)
        if line is None:
            line = self._lines[of] = deque()
        line.append(job)

    def next(self) -> Job | None:
        if not self._lines:
            return None
        of, line = self._lines.popitem(last=False)
        job = line.popleft()
        if line:
            self._lines[of] = line
        return job


class Reader:
    """``run`` on a thread of its own, until None comes. ``post`` hands answers to the loop."""

    def __init__(
        self, connection: sqlite3.Connection, post: Callable[[list[tuple[Done, object]]], None]
    ) -> None:
        self.queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.ahead = threading.Semaphore(AHEAD)  # released by the loop for what it has taken
        self._connection = connection
        self._post = post
        self._waiting = Turns()
        self._ended = False
        self._silent_until = 0.0
        self._untold = 0

    def run(self) -> None:
        waiting = self._waiting
        while self._take_in(block=not waiting):
            self.ahead.acquire(timeout=_LOOP_S)
            answers: list[tuple[Done, object]] = []
            messages = size = 0
            while (job := waiting.next()) is not None:
                answer = self._answer(job)
                answers.append((job.done, answer))
                if isinstance(answer, list):
                    messages += len(answer)
                    size += sum(map(len, answer))
                if (
                    len(answers) >= _ANSWERS
                    or messages >= _MESSAGES_AT_ONCE
                    or size >= _BYTES_AT_ONCE
                ):
                    break
                self._take_in(block=False)
            self._post(answers)

    def _take_in(self, *, block: bool) -> bool:
        """What has come, and what comes next if ``block``. Whether there is anything to do."""
        try:
            while not self._ended:
                job = self.queue.get(block)
                block = False
                if job is None:
                    self._ended = True
                else:
                    self._waiting.add(job)
        except queue.Empty:
            pass
        return bool(self._waiting)

    def _answer(self, job: Job) -> object:
        try:
            return job.run(self._connection)
        except PushdError as error:
            return error
        except Exception as error:
            # A read that fails harms one pull, not the log.
            self._tell()
            if failures.is_damage(error):
                return failures.unreadable(error)
            return StorageBroken(f"The log cannot be read ({error}).")

    def _tell(self) -> None:
        """Once in a while: who cannot read a damaged page asks for it again and again."""
        now = time.monotonic()
        if now < self._silent_until:
            self._untold += 1
            return
        _logger.exception("read failed", untold=self._untold, cure="Run 'pushctl verify'.")
        self._silent_until, self._untold = now + SILENCE_S, 0
