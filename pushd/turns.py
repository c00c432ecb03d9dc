"""Turns on the loop: what takes a while is done one at a time, and users take turns.

Without them a hundred connections of one user, each with a body that takes some milliseconds to
look through, would be served in one round of the loop, and everybody else after it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    """``async with turns.of(who):`` in one round of the loop at most one gets in."""

    __slots__ = ("_busy", "_lines")

    def __init__(self) -> None:
        self._busy = False
        self._lines: OrderedDict[str, deque[trio.Event]] = OrderedDict()

    @asynccontextmanager
    async def of(self, who: str) -> AsyncIterator[None]:
        """Waits for its turn: first come, first served among what is of the same ``who``."""
        free = not self._busy
        self._busy = True
        if not free:
            await self._wait(who)
        try:
            if free:
                # Holding it: whoever else comes in this round has to wait for the next.
                await trio.lowlevel.checkpoint()
            yield
        finally:
            self._end()

    async def _wait(self, who: str) -> None:
        turn = trio.Event()
        self._lines.setdefault(who, deque()).append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._end()
            else:
                self._lines[who].remove(turn)
                if not self._lines[who]:
                    del self._lines[who]
            raise

    def _end(self) -> None:
        if not self._lines:
            self._busy = False
            return
        who, line = self._lines.popitem(last=False)
        line.popleft().set()
        if line:
            self._lines[who] = line
