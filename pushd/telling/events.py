"""Sessions and users that come and go: from memory, in order, the oldest lost first.

After a start ``server.started`` says that nobody is connected; after a loss ``events.lost`` says
how many are missing. Whoever keeps a list of who is there makes it anew then.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Collection
from typing import Any, Final

import msgspec
import structlog
import trio

from pushd import __version__
from pushd.happenings import Happenings, SessionClosed, SessionOpened, UserOffline, UserOnline
from pushd.metrics import Counters
from pushd.outbound import envelope
from pushd.session import Session
from pushd.telling.posting import Poster

BATCH_EVENTS: Final = 200
BATCH_BYTES: Final = 64 * 1024
REFUSALS: Final = 10  # of one batch by an application that is there; then it is lost

log = structlog.get_logger("pushd.telling")


class Events:
    """``run`` is the service. Each event has an id: of this start, and counted."""

    def __init__(
        self,
        kinds: Collection[str],
        happenings: Happenings,
        poster: Poster,
        counters: Counters,
        node: str,
        most: int,
    ) -> None:
        """``kinds``: as in the setting. ``most``: how many may wait."""
        self._poster = poster
        self._counters = counters
        self._node = node
        self._start = secrets.token_urlsafe(6)
        self._number = 0
        self._batches = 0
        self._waiting: deque[bytes] = deque()
        self._most = most
        self._missing = 0  # lost, and the application was not told so yet
        self._news = trio.Event()
        self._idle = trio.Event()
        self._listen(kinds, happenings)
        self._add("server.started", {"node": node, "version": __version__})

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        while True:
            if not self._waiting:
                self._idle.set()
                self._news = trio.Event()
                await self._news.wait()
            try:
                await self._tell()
            except Exception:
                log.exception("events could not be told")
                await trio.sleep(1)

    async def told(self) -> None:
        """Until nothing waits."""
        await self._idle.wait()

    # -- what happens

    def _listen(self, kinds: Collection[str], happenings: Happenings) -> None:
        if "session.opened" in kinds:
            happenings.listen(SessionOpened, self._opened)
        if "session.closed" in kinds:
            happenings.listen(SessionClosed, self._closed)
        if "user.online" in kinds:
            happenings.listen(UserOnline, self._online)
        if "user.offline" in kinds:
            happenings.listen(UserOffline, self._offline)

    def _opened(self, happening: SessionOpened) -> None:
        self._add("session.opened", self._session(happening.session))

    def _closed(self, happening: SessionClosed) -> None:
        session = happening.session
        end = {"code": session.end_code, "reason": session.end_reason}
        self._add("session.closed", self._session(session) | end)

    def _online(self, happening: UserOnline) -> None:
        self._add("user.online", {"user": happening.user, "node": self._node})

    def _offline(self, happening: UserOffline) -> None:
        self._add("user.offline", {"user": happening.user, "node": self._node})

    def _session(self, session: Session) -> dict[str, Any]:
        return {
            "session": session.id,
            "user": session.user,
            "device": session.device,
            "transport": session.transport,
            "node": session.node or self._node,
            "address": session.address,
            "since": int(session.since * 1000),
            "attributes": session.identity.attributes,
        }

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self._lost(1)
        self._waiting.append(self._event(kind, data))
        self._idle = trio.Event() if self._idle.is_set() else self._idle
        self._news.set()

    def _event(self, kind: str, data: dict[str, Any]) -> bytes:
        self._number += 1
        id_ = f"{self._start}.{self._number}"
        at = int(time.time() * 1000)
        return msgspec.json.encode({"id": id_, "type": kind, "at": at, "data": data})

    def _lost(self, count: int) -> None:
        if not self._missing:
            log.warning("events for the application are lost", waiting=len(self._waiting))
        self._missing += count
        self._counters.events_lost += count

    # -- telling

    async def _tell(self) -> None:
        """One batch, until it is taken; one that is refused again and again is lost."""
        batch = self._take()
        missing, self._missing = self._missing, 0
        if missing:
            # What is lost came before all that waits.
            batch.insert(0, self._event("events.lost", {"count": missing}))
        body = envelope("events", {"events": [msgspec.Raw(each) for each in batch]})
        self._batches += 1
        id_ = f"evts_{self._start}.{self._batches}"
        refusals = 0
        while (outcome := await self._poster.post(body, id_)) != "taken":
            refusals += outcome == "refused"
            if refusals >= REFUSALS:
                log.warning(
                    "the application refuses events", events=len(batch), reason=self._poster.reason
                )
                self._missing += missing
                self._lost(len(batch) - bool(missing))
                return
        self._counters.events_told += len(batch)

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._waiting and len(batch) < BATCH_EVENTS and size < BATCH_BYTES:
            event = self._waiting.popleft()
            size += len(event)
            batch.append(event)
        return batch
