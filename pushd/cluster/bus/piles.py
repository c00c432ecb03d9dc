"""Hints that wait: of each channel the newest only, within a bound."""

from __future__ import annotations

from typing import Final

from pushd.cluster.bus.texts import Hint

MAX_CHANNELS: Final = 20_000
MAX_GENERATIONS: Final = 4  # of owners; more than two at once are somebody's fault or attempt
HEADS_EACH: Final = 500  # in one message


class HintPile:
    """Takes hints one by one and gives them back merged. Used under its owner's lock.

    Beyond the bound it forgets channels, and says instead that something changed (``control``):
    who is told so asks the owner for all that did.
    """

    __slots__ = ("_of", "forgotten")

    def __init__(self) -> None:
        self._of: dict[str, _Merged] = {}  # by generation
        self.forgotten = 0  # heads

    def __bool__(self) -> bool:
        return bool(self._of)

    def __len__(self) -> int:
        """Heads that wait."""
        return sum(len(merged.heads) for merged in self._of.values())

    def add(self, hint: Hint) -> None:
        """``hint`` is newer than what was added before."""
        merged = self._of.get(hint.generation)
        if merged is None:
            if len(self._of) >= MAX_GENERATIONS:
                self.clear()
            merged = self._of[hint.generation] = _Merged()
        merged.version = max(merged.version, hint.version)
        merged.control = merged.control or hint.control
        heads = merged.heads
        for channel, epoch, seq in hint.heads:
            heads[channel] = (epoch, seq)
        if len(heads) > MAX_CHANNELS:
            self.forgotten += len(heads)
            heads.clear()
            merged.control = True

    def clear(self) -> None:
        """Forget all that wait."""
        self.forgotten += len(self)
        self._of.clear()

    def take(self) -> list[Hint]:
        """All that wait, in messages of a bounded size; none waits any more."""
        taken = []
        for generation, merged in self._of.items():
            heads = [(channel, epoch, seq) for channel, (epoch, seq) in merged.heads.items()]
            parts = [heads[at : at + HEADS_EACH] for at in range(0, len(heads), HEADS_EACH)]
            taken += [
                Hint(generation, merged.version, merged.control, part) for part in parts or [[]]
            ]
        self._of.clear()
        return taken


class _Merged:
    __slots__ = ("control", "heads", "version")

    def __init__(self) -> None:
        self.version = 0
        self.control = False
        self.heads: dict[str, tuple[str, int]] = {}
