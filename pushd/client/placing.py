"""The user's own channels that begin where a pull says, not where a head does.

A group's first contact is where its user has joined it, which only the server knows. Until a pull
with ``mine`` has brought it, what is hinted at is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable


class Placing:
    """Names, and the newest hint of each."""

    __slots__ = ("_hints", "_wanted")

    def __init__(self) -> None:
        self._hints: dict[str, tuple[str, int] | None] = {}
        self._wanted: set[str] = set()  # not asked for yet

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def add(self, name: str) -> None:
        """It is to be brought by the next pull."""
        self._hints.setdefault(name, None)
        self._wanted.add(name)

    def heard(self, name: str, epoch: str, seq: int) -> None:
        """A hint. Of others than those here it means nothing."""
        if name in self._hints:
            known = self._hints[name]
            if known is None or known[0] != epoch or known[1] < seq:
                self._hints[name] = (epoch, seq)

    def ask(self) -> frozenset[str]:
        """All that are to be brought are asked for now."""
        asked, self._wanted = frozenset(self._wanted), set()
        return asked

    def failed(self, asked: Iterable[str]) -> None:
        """They were not brought."""
        self._wanted.update(name for name in asked if name in self._hints)

    def ended(self, asked: Iterable[str]) -> None:
        """The answer is here: what it has not brought is the user's no longer."""
        for name in asked:
            if name not in self._wanted:
                self._hints.pop(name, None)

    def take(self, name: str) -> tuple[str, int] | None:
        """It is followed from now on, or never: the newest hint, if there was any."""
        self._wanted.discard(name)
        return self._hints.pop(name, None)
