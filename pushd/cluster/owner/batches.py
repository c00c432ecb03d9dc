"""What was answered to batches of appends, so that one whose answer was lost is stored once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

KEPT_S: Final = 60.0
MOST: Final = 20_000
MOST_BYTES: Final = 32 * 1024 * 1024

Key = tuple[str, str]  # the node, and what it calls the batch
Told = Callable[[bytes], None]


class Batches:
    """Those under way and, in the order of their answers, those done. Times on any steady clock."""

    def __init__(
        self, kept_s: float = KEPT_S, most: int = MOST, most_bytes: int = MOST_BYTES
    ) -> None:
        self._kept_s = kept_s
        self._most = most
        self._most_bytes = most_bytes
        self._under_way: dict[Key, list[Told]] = {}
        self._done: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._under_way) + len(self._done)

    def is_new(self, key: Key, told: Told, now: float) -> bool:
        """Then store it, and ``finish``. Else it was asked before. ``told`` gets the answer in any
        case, maybe at once."""
        self._tidy(now)
        if (done := self._done.get(key)) is not None:
            told(done[1])
            return False
        if (waiting := self._under_way.get(key)) is not None:
            waiting.append(told)
            return False
        self._under_way[key] = [told]
        return True

    def finish(self, key: Key, answer: bytes, now: float) -> None:
        """Whoever waits for it is told."""
        waiting = self._under_way.pop(key)
        self._done[key] = (now, answer)
        self._bytes += len(answer)
        self._tidy(now)
        for told in waiting:
            told(answer)

    def _tidy(self, now: float) -> None:
        while self._done:
            at, answer = next(iter(self._done.values()))
            few = len(self._done) <= self._most and self._bytes <= self._most_bytes
            if few and at > now - self._kept_s:
                return
            self._done.popitem(last=False)
            self._bytes -= len(answer)
