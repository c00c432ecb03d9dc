"""Marks on their way to the owner: conflated, some milliseconds behind, looked at by who loads."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import structlog
import trio

from pushd.cluster.edge.upstream import Upstream
from pushd.cluster.wire import PATH, MarksBody, ReadMark
from pushd.core.positions import Cursor
from pushd.errors import PushdError

DELAY_S: Final = 0.05
RETRY_S: Final = 0.5
MOST: Final = 200_000  # that wait while there is no owner; of what is beyond clients tell again
BATCH: Final = 5_000

log = structlog.get_logger("pushd.cluster")
_encode = msgspec.json.Encoder().encode

# User, device, channel. Without a device it is the read mark of the user.
Key = tuple[str, str | None, str]


class _Mark(NamedTuple):
    """``device``, ``session``: who knows of a read mark already."""

    cursor: Cursor
    device: str | None = None
    session: str | None = None


class SentMarks:
    """``run`` is the service. Values only rise."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._waiting: dict[Key, _Mark] = {}
        self._sending: dict[Key, _Mark] = {}
        self._seen: dict[str, None] = {}
        self._seen_sending: dict[str, None] = {}
        self._wake = trio.Event()

    def record(
        self,
        key: Key,
        cursor: Cursor,
        device: str | None = None,
        session: str | None = None,
    ) -> None:
        """Memory only."""
        old = self._waiting.get(key)
        if old is None and len(self._waiting) >= MOST:
            return
        if old is None or old.cursor < cursor:
            self._waiting[key] = _Mark(cursor, device, session)
            self._wake.set()

    def seen(self, user: str) -> None:
        """The user is there."""
        if len(self._seen) < MOST:
            self._seen[user] = None
            self._wake.set()

    def is_seen(self, user: str) -> bool:
        """And the owner may not know it yet."""
        return user in self._seen or user in self._seen_sending

    def unsent(self, user: str, device: str | None, channels: list[str]) -> dict[Key, Cursor]:
        """What the owner may not know yet."""
        if not self._waiting and not self._sending:
            return {}
        found: dict[Key, Cursor] = {}
        for channel in channels:
            for key in ((user, device, channel), (user, None, channel)):
                for source in (self._sending, self._waiting):
                    mark = source.get(key)
                    if mark is not None:
                        found[key] = max(mark.cursor, found.get(key, mark.cursor))
        return found

    def __len__(self) -> int:
        """How many wait, or are under way."""
        return len(self._waiting) + len(self._sending)

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is under way."""
        return not (self._waiting or self._sending or self._seen or self._seen_sending)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            await trio.sleep(DELAY_S)
            self._wake = trio.Event()
            while self._waiting or self._seen:
                if not await self.send_some():
                    await trio.sleep(RETRY_S)

    async def send_some(self, deadline: float | None = None) -> bool:
        """Whether the owner has taken it; else it waits on."""
        for key in list(self._waiting)[:BATCH]:
            self._sending[key] = self._waiting.pop(key)
        for user in list(self._seen)[:BATCH]:
            self._seen_sending[user] = self._seen.pop(user)
        taken = False
        try:
            await self._upstream.ask(PATH + "marks", self._body(), deadline=deadline)
            taken = True
        except PushdError as error:
            # What it refuses would be refused again; but whether it was this, nobody knows.
            taken = error.status < 500
            if taken:
                log.warning("marks were refused by the owner", reason=error.detail)
        finally:
            sending, self._sending = self._sending, {}
            seen, self._seen_sending = self._seen_sending, {}
            if not taken:
                for key, mark in sending.items():
                    self.record(key, *mark)
                for user in seen:
                    self.seen(user)
        return taken

    def _body(self) -> bytes:
        delivered: list[tuple[str, str, str, str]] = []
        read: list[ReadMark] = []
        for (user, device, channel), mark in self._sending.items():
            text = str(mark.cursor)
            if device is None:
                read.append(ReadMark(user, channel, text, mark.device, mark.session))
            else:
                delivered.append((user, device, channel, text))
        return _encode(
            MarksBody(
                self._upstream.generation,
                self._upstream.node,
                delivered,
                read,
                list(self._seen_sending),
            )
        )
