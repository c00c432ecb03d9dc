"""What crosses between the loop and the writer's thread beside appends."""

from __future__ import annotations

import enum
import queue
from dataclasses import dataclass

from pushd.errors import StorageBroken
from pushd.log.decide import Moved, Result
from pushd.log.requests import Append


class Signal(enum.Enum):
    """Words to the writer between the appends."""

    MARKS = enum.auto()  # the first mark is dirty: write within write_behind_s
    FLUSH = enum.auto()  # too many are: write now
    CLOSE = enum.auto()  # nothing comes after this


@dataclass(slots=True)
class Outcome:
    """One batch, on its way to the loop."""

    results: list[Result]
    moved: list[Moved]
    size: int
    broken: StorageBroken | None = None


def drained(waiting: queue.SimpleQueue[Append | Signal]) -> list[Append]:
    """The appends that nobody will take any more."""
    appends = []
    try:
        while True:
            item = waiting.get(False)
            if isinstance(item, Append):
                appends.append(item)
    except queue.Empty:
        return appends
