"""What waits for the writer, taken in the order it was submitted: appends, or other changes."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Final

from pushd.log.changes import Request
from pushd.log.crossing import Signal, Work, drained
from pushd.log.requests import Append, LogOptions

# Changes that share one commit, and how heavy they may be together before the next one.
REQUESTS: Final = 64
WEIGHT: Final = 1_000


class Intake:
    """``heed`` is called with each signal, in its turn."""

    def __init__(self, options: LogOptions, heed: Callable[[Signal], None]) -> None:
        self.queue: queue.SimpleQueue[Work | Signal] = queue.SimpleQueue()
        self._options = options
        self._heed = heed
        # The first of the other kind ends a batch, and begins the next.
        self._held: Work | None = None

    def take(self, wait_s: float | None) -> list[Append] | list[Request]:
        """Blocks for the first, then takes what waits, within the limits of a batch.

        Never both kinds at once, so that each sees what those before it have done.
        """
        try:
            item: Work | Signal = self._first(wait_s)
            while isinstance(item, Signal):
                self._heed(item)
                item = self.queue.get(False)
        except queue.Empty:
            return []
        return self._appends(item) if isinstance(item, Append) else self._requests(item)

    def _first(self, wait_s: float | None) -> Work | Signal:
        held, self._held = self._held, None
        if held is not None:
            return held
        if wait_s is None:
            return self.queue.get()
        return self.queue.get(timeout=wait_s) if wait_s > 0 else self.queue.get(False)

    def _appends(self, item: Append | Signal) -> list[Append]:
        appends: list[Append] = []
        count = size = 0
        limit, byte_limit = self._options.batch_messages, self._options.batch_bytes
        get = self.queue.get
        try:
            while True:
                if isinstance(item, Append):
                    appends.append(item)
                    count += len(item.entries)
                    size += item.size
                    if count >= limit or size >= byte_limit:
                        break
                else:
                    self._heed(item)
                following = get(False)
                if isinstance(following, Request):
                    self._held = following
                    break
                item = following
        except queue.Empty:
            pass
        return appends

    def _requests(self, first: Request) -> list[Request]:
        requests = [first]
        weight = first.weight
        try:
            while len(requests) < REQUESTS and weight < WEIGHT:
                item = self.queue.get(False)
                if isinstance(item, Request):
                    requests.append(item)
                    weight += item.weight
                elif isinstance(item, Signal):
                    self._heed(item)
                else:
                    self._held = item
                    break
        except queue.Empty:
            pass
        return requests

    def drain(self) -> list[Work]:
        """What nobody will take any more."""
        held, self._held = self._held, None
        return [*([] if held is None else [held]), *drained(self.queue)]
