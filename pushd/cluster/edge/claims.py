"""What is said of channels and not confirmed yet: numbers that the owner is to be asked about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final

from pushd.core.topics import NOTHING, Mark

REMEMBERED: Final = 10_000  # channels that nobody follows here


class Claims:
    """``wanted``: to be asked about now, the oldest first. The others are only remembered, so that
    a pull of theirs asks first; the oldest are forgotten."""

    def __init__(self, mark: Callable[[str], Mark]) -> None:
        self._mark = mark  # where a channel is, as far as is known
        self._wanted: dict[str, Mark] = {}
        self._remembered: OrderedDict[str, Mark] = OrderedDict()

    def __bool__(self) -> bool:
        """Something is to be asked."""
        return bool(self._wanted)

    def of(self, channel: str) -> Mark:
        """The highest that was said of it, if it is not confirmed."""
        if not self._wanted and not self._remembered:
            return NOTHING
        return max(self._wanted.get(channel, NOTHING), self._remembered.get(channel, NOTHING))

    def want(self, channel: str, mark: Mark = NOTHING) -> None:
        """Ask about it."""
        known = max(self._wanted.get(channel, NOTHING), self._remembered.pop(channel, NOTHING))
        self._wanted[channel] = max(known, mark)

    def remember(self, channel: str, mark: Mark) -> None:
        """Ask when somebody wants to know."""
        if channel in self._wanted:
            self.want(channel, mark)
        elif mark > self._mark(channel):
            self._remembered[channel] = max(mark, self._remembered.pop(channel, NOTHING))
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)

    def take(self, most: int) -> dict[str, Mark]:
        """The oldest that are wanted; no longer, unless ``want`` is called again."""
        taken = {name: self._wanted[name] for name in islice(self._wanted, most)}
        for name in taken:
            del self._wanted[name]
        return taken

    def confirmed(self, channel: str) -> None:
        """The owner has said where it is."""
        mark = self._mark(channel)
        if self._remembered and self._remembered.get(channel, NOTHING) <= mark:
            self._remembered.pop(channel, None)
        if self._wanted and self._wanted.get(channel, NOTHING) <= mark:
            self._wanted.pop(channel, None)

    def forget(self) -> None:
        """All heads were read anew: what was said before that counts no more."""
        self._remembered.clear()
