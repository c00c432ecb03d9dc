"""Between the tasks that follow and the one that consumes: events wait here, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import trio

from pushd.client.events import Event, ReadElsewhere, Status, StatusKind

# Of the others one tells how hints come. That pulls work again must not hide that hints do.
_ABOUT_PULLS: Final = ("retrying", "recovered")


class Signal:
    """Wakes whoever waits now; remembers nothing, so check the condition again."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def notify(self) -> None:
        """Wakes all who wait."""
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """For the next ``notify``."""
        await self._event.wait()


class Mailbox:
    """Events for one consumer. Taking the next one says that the one before is processed.

    Bounded: a page of pulled messages, the latest status of hints and of pulls, and the latest
    read mark per channel.
    """

    def __init__(self, took: Callable[[Event], None]) -> None:
        """``took`` is called with each event once it is processed."""
        self._took = took
        self._queue: deque[Event] = deque()
        self._reads: dict[str, ReadElsewhere] = {}
        self._handed: Event | None = None
        self._error: Exception | None = None
        self._filled = Signal()
        self.taken = Signal()

    def __len__(self) -> int:
        return len(self._queue) + len(self._reads)

    def put(self, events: Iterable[Event]) -> None:
        """In order, after what waits."""
        self._queue.extend(events)
        self._filled.notify()

    def put_status(self, kind: StatusKind, detail: str) -> None:
        """Takes the place of one of the same matter that nobody has taken yet."""
        # Only the latest matters to a consumer that is slow: the queue must not grow by these.
        kept: deque[Event] = deque()
        while self._queue and isinstance(last := self._queue[-1], Status):
            self._queue.pop()
            if (last.kind in _ABOUT_PULLS) != (kind in _ABOUT_PULLS):
                kept.appendleft(last)
        self.put([*kept, Status(kind, detail)])

    def put_read(self, mark: ReadElsewhere) -> None:
        """Takes the place of an earlier one of the same channel."""
        self._reads[mark.channel] = mark
        self._filled.notify()

    def fail(self, error: Exception) -> None:
        """``next`` raises this once the events before it are taken; the first error counts."""
        self._error = self._error or error
        self._filled.notify()

    @property
    def failed(self) -> bool:
        """Whether ``fail`` was called."""
        return self._error is not None

    async def next(self) -> Event:
        """The next event, waiting for it. Raises the error given to ``fail``."""
        if self._handed is not None:
            self._took(self._handed)
            self._handed = None
            self.taken.notify()
        await trio.lowlevel.checkpoint()
        while not self:
            if self._error is not None:
                raise self._error
            await self._filled.wait()
        if self._queue:
            self._handed = self._queue.popleft()
        else:
            self._handed = self._reads.pop(next(iter(self._reads)))
        return self._handed

    async def wait_empty(self) -> None:
        """Until everything that was put here is processed."""
        while self or self._handed is not None:
            await self.taken.wait()
