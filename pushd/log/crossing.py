"""What crosses between the loop and the writer's thread."""

from __future__ import annotations

import enum
import queue
from collections.abc import Sequence
from dataclasses import dataclass, field

from pushd.errors import PushdError, StorageBroken
from pushd.log.changes import Request
from pushd.log.live import Effect
from pushd.log.requests import Append
from pushd.log.rows import Moved

Work = Append | Request
# Who is to be told, and what.
Answer = tuple[Work, object | PushdError]


class Signal(enum.Enum):
    """Words to the writer between the work."""

    MARKS = enum.auto()  # the first mark is dirty: write within write_behind_s
    FLUSH = enum.auto()  # too many are: write now
    TIDY = enum.auto()  # drop what has grown old
    TIDY_BY_STEADY_CLOCK = enum.auto()  # the same, while the wall clock is not to be believed
    CLOSE = enum.auto()  # nothing comes after this


@dataclass(slots=True)
class Outcome:
    """One commit (or refusal), on its way to the loop. ``size``: of the appends in it."""

    results: Sequence[Answer]
    moved: list[Moved]
    size: int
    effects: list[Effect] = field(default_factory=list)
    requests: int = 0
    broken: StorageBroken | None = None


def drained(waiting: queue.SimpleQueue[Work | Signal]) -> list[Work]:
    """The work that nobody will take any more."""
    work: list[Work] = []
    try:
        while True:
            item = waiting.get(False)
            if not isinstance(item, Signal):
                work.append(item)
    except queue.Empty:
        return work
