"""Publishes on their way to the owner: like group commit, what comes meanwhile goes together.

A batch has an id, and is sent again with it when its answer was lost: the owner stores it once. A
publisher's appends stay in order: each publisher has its lane, and a lane one batch at a time.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import msgspec
import structlog
import trio

from pushd.cluster.edge.there import Results, refused, result_of
from pushd.cluster.edge.upstream import Upstream
from pushd.cluster.wire import (
    PATH,
    AppendBatch,
    AppendBody,
    AppendResults,
    EntryBody,
)
from pushd.core.messages import Draft
from pushd.core.names import SESSION_PREFIX
from pushd.errors import NotReady, OwnerAway, PushdError
from pushd.log import Append, Stored

LANES: Final = 4
PATIENCE_S: Final = 10.0  # an append is answered until then, whatever happens
RETRY_S: Final = 0.1
BATCH_MESSAGES: Final = 512
BATCH_BYTES: Final = 1024 * 1024

log = structlog.get_logger("pushd.cluster")
_results = msgspec.json.Decoder(AppendResults)
_encode = msgspec.json.Encoder().encode


class Forwarding:
    """``answered`` gets the appends that are done, with what became of them. ``lives``: whether a
    channel is of a session of this node, of which the owner may not have heard yet."""

    def __init__(
        self,
        upstream: Upstream,
        answered: Callable[[Results], None],
        lives: Callable[[str], bool] = lambda channel: False,
    ) -> None:
        self._upstream = upstream
        self._answered = answered
        self._lanes = [_Lane() for _ in range(LANES)]
        self._lives = lives

    def add(self, append: Append) -> None:
        """It is answered within ``PATIENCE_S`` as long as ``run`` runs."""
        lane = self._lanes[zlib.crc32(append.publisher.encode()) % LANES]
        lane.waiting.append((trio.current_time() + PATIENCE_S, append))
        lane.wake.set()

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is under way."""
        return not any(lane.waiting or lane.busy for lane in self._lanes)

    async def run(self) -> None:
        """Until cancelled: then what waits is answered, too."""
        try:
            async with trio.open_nursery() as lanes:
                for lane in self._lanes:
                    lanes.start_soon(self._serve, lane)
        finally:
            for lane in self._lanes:
                self._answered(refused([append for _, append in lane.waiting], sent=False))
                lane.waiting.clear()

    async def _serve(self, lane: _Lane) -> None:
        while True:
            while not lane.waiting:
                lane.wake = trio.Event()
                await lane.wake.wait()
            deadline, appends = lane.take()
            lane.busy = True
            try:
                await _Batch(self._upstream, self._answered, self._lives, appends).run(deadline)
            finally:
                lane.busy = False


class _Lane:
    __slots__ = ("busy", "waiting", "wake")

    def __init__(self) -> None:
        self.waiting: deque[tuple[float, Append]] = deque()
        self.wake = trio.Event()
        self.busy = False

    def take(self) -> tuple[float, list[Append]]:
        """As much as goes together, and until when the first of them is answered."""
        deadline, first = self.waiting.popleft()
        appends, messages, size = [first], len(first.entries), first.size
        while self.waiting:
            _, append = self.waiting[0]
            messages += len(append.entries)
            size += append.size
            if messages > BATCH_MESSAGES or size > BATCH_BYTES:
                break
            appends.append(append)
            self.waiting.popleft()
        return deadline, appends


class _Batch:
    """From the first attempt to the answer."""

    def __init__(
        self,
        upstream: Upstream,
        answered: Callable[[Results], None],
        lives: Callable[[str], bool],
        appends: list[Append],
    ) -> None:
        self._upstream = upstream
        self._answered = answered
        self._lives = lives
        self._begin(appends)

    def _begin(self, appends: list[Append]) -> None:
        self._appends = appends
        self._sent = False  # the owner may have got it
        self._generation = self._upstream.generation
        self._body = _encode(
            AppendBatch(
                self._generation,
                self._upstream.node,
                uuid4().hex,
                [AppendBody(each.publisher, self._entries(each), each.own) for each in appends],
            )
        )

    def _entries(self, append: Append) -> list[EntryBody]:
        bodies = []
        before: Draft | None = None
        for channel, draft in append.entries:
            body = EntryBody(channel)
            if draft is not before:
                before = draft
                body.data, body.type = msgspec.Raw(draft.data), draft.type
                body.id, body.sender = draft.id, draft.sender
            body.lives = channel.startswith(SESSION_PREFIX) and self._lives(channel)
            bodies.append(body)
        return bodies

    async def run(self, deadline: float) -> None:
        """Every append has its answer afterwards, also when cancelled."""
        try:
            while self._appends:
                if trio.current_time() >= deadline:
                    return
                if self._generation != self._upstream.generation:
                    self._turn()
                    continue
                if await self._attempt(deadline):
                    return
                await trio.sleep(RETRY_S)
        finally:
            # Nobody asks any more: whether they are stored is unknown, if they were sent.
            left, self._appends = self._appends, []
            if left:
                self._answered(refused(left, sent=self._sent))

    async def _attempt(self, deadline: float) -> bool:
        """Whether it is over."""
        before, self._sent = self._sent, True  # unless it is known better
        try:
            answer = await self._upstream.ask(PATH + "append", self._body, deadline=deadline)
            answered = _results.decode(answer)
        except NotReady as away:  # stopping, or not to be reached
            self._sent = before or (isinstance(away, OwnerAway) and away.sent)
            return False
        except PushdError as error:
            self._settle([error.again() for _ in self._appends])
            return True
        except msgspec.DecodeError as error:
            log.error("the owner's answer to a batch cannot be read", cause=str(error))
            return True
        if len(answered.results) != len(self._appends):
            log.error("the owner's answer to a batch is of another one")
            return True
        self._settle([result_of(each, answered.known) for each in answered.results])
        return True

    def _settle(self, results: list[list[Stored] | PushdError]) -> None:
        appends, self._appends = self._appends, []
        self._answered(list(zip(appends, results, strict=True)))

    def _turn(self) -> None:
        """To another owner, which knows no batch of the former. What it may have stored is sent
        again where ids tell it; of the rest nobody knows."""
        appends = self._appends
        if self._sent:
            safe = [append for append in appends if _repeatable(append)]
            lost = [append for append in appends if not _repeatable(append)]
            self._appends = []
            self._answered(refused(lost, sent=True))
            appends = safe
        self._begin(appends)


def _repeatable(append: Append) -> bool:
    """The log itself knows an id again."""
    return all(draft.id is not None for _, draft in append.entries)
