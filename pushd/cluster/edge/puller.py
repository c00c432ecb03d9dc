"""One pull at a time for all that has moved, however many channels, and who waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog
import trio

from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.claims import Claims
from pushd.cluster.edge.mirror import Mirror
from pushd.cluster.edge.pulled import LIMIT, MOST, PULL, Part, decode_pull, pull_body
from pushd.cluster.edge.upstream import Upstream
from pushd.core.positions import Cursor
from pushd.core.topics import NOTHING, Mark
from pushd.errors import OwnerAway, PushdError
from pushd.log.reading import call

PULL_S: Final = 5.0
RETRY_S: Final = 0.1
# A channel that is so far behind is set to its head: its messages come when they are asked for.
FAR: Final = 5 * LIMIT

log = structlog.get_logger("pushd.cluster")

Done = Callable[[PushdError | None], None]


class _Waiter:
    """Somebody who must know what the owner says of ``left`` before going on: where it was when it
    was asked first, all of which has to be here."""

    __slots__ = ("deadline", "done", "left")

    def __init__(self, channels: list[str], done: Done, deadline: float) -> None:
        self.left: dict[str, Mark] = dict.fromkeys(channels, NOTHING)
        self.done = done
        self.deadline = deadline


class Puller:
    """``told`` hears of what was applied. ``run`` is the service; it rests until ``start``, and
    after ``stop``: while all heads are read anew."""

    def __init__(
        self,
        upstream: Upstream,
        mirror: Mirror,
        claims: Claims,
        told: Callable[[Applied], None],
        limit: int = LIMIT,
        most: int = MOST,
    ) -> None:
        """``limit``: messages of a channel, ``most``: channels, that the owner gives at once."""
        self.pulls = 0
        self._upstream = upstream
        self._mirror = mirror
        self._claims = claims
        self._told = told
        self._limit = limit
        self._most = most
        self._asked: dict[str, list[_Waiter]] = {}
        self._wake = trio.Event()
        self._started = trio.Event()

    def wake(self) -> None:
        """There are claims."""
        self._wake.set()

    def ask(self, channels: list[str], done: Done) -> None:
        """``done`` is called when the owner has said where they are, or there is none."""
        if not channels:
            call(done, None)
            return
        waiter = _Waiter(channels, done, trio.current_time() + PULL_S)
        for channel in waiter.left:
            self._asked.setdefault(channel, []).append(waiter)
        self._wake.set()

    def start(self) -> None:
        """All heads were read."""
        self._started.set()

    def stop(self) -> None:
        """No answer of before is applied."""
        self._started = trio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._claims or self._asked:
                if not self._started.is_set():
                    with trio.move_on_after(RETRY_S):
                        await self._started.wait()
                    self._give_up(_away())
                elif not await self._pull():
                    await trio.sleep(RETRY_S)

    async def _pull(self) -> bool:
        """Whether the owner has answered."""
        waiters = {name: self._asked.pop(name) for name in list(self._asked)[: self._most]}
        claims = self._claims.take(self._most - len(waiters))
        wanted = {**dict.fromkeys(waiters, NOTHING), **claims}
        cursors = {name: self._cursor(name, mark) for name, mark in wanted.items()}
        started, self.pulls = self._started, self.pulls + 1
        self._mirror.begin_pull()
        parts: dict[str, Part] | None = None
        error: PushdError | None = None
        try:
            body = pull_body({name: text for name, (text, _) in cursors.items()}, self._limit)
            deadline = trio.current_time() + PULL_S
            parts = decode_pull(await self._upstream.ask(PULL, body, deadline=deadline))
        except PushdError as refusal:
            error = refusal
        except msgspec.DecodeError as cause:
            log.error("the owner's answer to a pull cannot be read", cause=str(cause))
        if parts is None or started is not self._started:
            for name, mark in claims.items():
                self._claims.want(name, mark)
            for name, waiting in waiters.items():
                self._asked.setdefault(name, []).extend(waiting)
            self._give_up(error or _away())
            return False
        again = self._apply({name: asked for name, (_, asked) in cursors.items()}, parts)
        for name, waiting in waiters.items():
            self._answer(name, waiting, again.get(name))
        if self._asked:
            self._give_up(_away())
        return True

    def _cursor(self, channel: str, claimed: Mark) -> tuple[str, Cursor | None]:
        """From where to ask, and the position if it is one."""
        known = self._mirror.cursor(channel)
        seq = 0
        if known is not None and claimed[0] in ("", known.epoch):
            seq = known.seq
        if claimed[1] - seq > FAR:
            return "head", None
        return ("0", None) if known is None else (str(known), known)

    def _apply(self, asked: dict[str, Cursor | None], parts: dict[str, Part]) -> dict[str, Mark]:
        """Where those are of which there is more."""
        applied, again = Applied(), {}
        for channel, cursor in asked.items():
            part = parts.get(channel)
            if part is None:
                continue
            if self._mirror.pulled(channel, cursor, part, applied):
                at = part.reset or {"epoch": part.epoch, "head": part.head}
                again[channel] = (str(at["epoch"]), int(at["head"]))
            else:
                self._claims.confirmed(channel)
        self._told(applied)
        for channel, mark in again.items():
            self._claims.want(channel, mark)
        return again

    def _answer(self, channel: str, waiting: list[_Waiter], more: Mark | None) -> None:
        """``more``: where the owner has the channel, if that is not all here."""
        here = self._mirror.mark(channel)
        for waiter in waiting:
            if more is not None:
                if waiter.left[channel] == NOTHING:
                    waiter.left[channel] = more
                if here < waiter.left[channel]:
                    self._asked.setdefault(channel, []).append(waiter)
                    continue
            del waiter.left[channel]
            if not waiter.left:
                call(waiter.done, None)

    def _give_up(self, error: PushdError) -> None:
        """Those whose time is up are told."""
        now = trio.current_time()
        over: dict[_Waiter, None] = {}
        for channel, waiting in list(self._asked.items()):
            over.update(dict.fromkeys(each for each in waiting if each.deadline <= now))
            if left := [each for each in waiting if each.deadline > now]:
                self._asked[channel] = left
            else:
                del self._asked[channel]
        for waiter in over:
            call(waiter.done, error.again())


def _away() -> OwnerAway:
    return OwnerAway("The node that owns the log cannot be reached.", retry_after=1)
