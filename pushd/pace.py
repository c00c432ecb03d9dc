"""For loops on the event loop over very many: others have their turn all the time."""

from __future__ import annotations

import time
from typing import Final

import trio

TURN_S: Final = 0.002


class Pace:
    """Of one loop: ``await pace.rest()`` after each step is a checkpoint when one is due."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends = time.perf_counter() + TURN_S

    async def rest(self) -> None:
        """Others first, if this loop has had its turn. What the steps have set off, too."""
        if time.perf_counter() >= self._ends:
            await trio.lowlevel.checkpoint()
            self._ends = time.perf_counter() + TURN_S
