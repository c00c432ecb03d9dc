"""What a node sees of all live sessions: with several nodes it may be not all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

State = Literal["known", "unknown"]


class Sight:
    """``everywhere``: sessions of all nodes are in this node's registry; false at an edge.

    ``known``: they are now. After a gap those of other nodes may be missing for a while, or be
    gone: what is said of who is there is what was known last, and nobody is taken for gone.
    """

    __slots__ = ("_known", "_listeners", "everywhere")

    def __init__(self, *, everywhere: bool = True, known: bool = True) -> None:
        self.everywhere = everywhere
        self._known = known
        self._listeners: list[Callable[[], None]] = []

    @property
    def known(self) -> bool:
        return self._known

    @property
    def state(self) -> State:
        """As answers have it that say who is there; "known" is left out of them."""
        return "known" if self._known else "unknown"

    @property
    def complete(self) -> bool:
        """A session that is not in the registry does not live."""
        return self.everywhere and self._known

    def settle(self, known: bool) -> None:
        """From now on they are known, or not."""
        before, self._known = self._known, known
        if known and not before:
            for listener in self._listeners:
                listener()

    def on_known(self, listener: Callable[[], None]) -> None:
        """``listener`` is called when they are known again."""
        self._listeners.append(listener)
