"""What Redis has said, between the thread that hears it and the loop. Bounded."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

import msgspec

from pushd.cluster.bus.piles import HintPile
from pushd.cluster.bus.texts import Hint

MAX_BYTES: Final = 16 * 1024 * 1024

_hint = msgspec.json.Decoder(Hint)


class Heard(NamedTuple):
    """Since the last time. ``texts``: of all channels but the hints', as (channel, text).
    ``lost``: heads and texts beyond the bound; ``unread``: hints that are none."""

    hints: list[Hint]
    texts: list[tuple[str, bytes]]
    heads: int
    lost: int
    unread: int


class ArrivalQueue:
    """Hints are merged while the loop is busy, of each channel the newest stays."""

    def __init__(self, hints_channel: str) -> None:
        self._hints_channel = hints_channel
        self._lock = threading.Lock()
        self._pile = HintPile()
        self._texts: list[tuple[str, bytes]] = []
        self._bytes = self._heads = self._lost = self._unread = 0
        self._called = False

    def put(self, said: list[tuple[str, bytes]]) -> bool:
        """True: the loop has to be called; otherwise it has been, and did not come yet."""
        hints: list[Hint] = []
        texts: list[tuple[str, bytes]] = []
        unread = 0
        for channel, text in said:
            if channel != self._hints_channel:
                texts.append((channel, text))
                continue
            try:
                hints.append(_hint.decode(text))
            except (msgspec.DecodeError, ValueError):
                unread += 1
        with self._lock:
            self._unread += unread
            for hint in hints:
                self._heads += len(hint.heads)
                self._pile.add(hint)
            for channel, text in texts:
                if self._bytes + len(text) > MAX_BYTES:
                    self._lost += 1
                else:
                    self._texts.append((channel, text))
                    self._bytes += len(text)
            called, self._called = self._called, True
        return not called

    def take(self) -> Heard:
        """All of it; called by the loop."""
        with self._lock:
            lost = self._lost + self._pile.forgotten
            heard = Heard(self._pile.take(), self._texts, self._heads, lost, self._unread)
            self._texts = []
            self._bytes = self._heads = self._lost = self._unread = self._pile.forgotten = 0
            self._called = False
        return heard
