"""Appends on their way to the writer: each user's in a line of its own, so much of it at a time.

The writer takes what waits in the order in which it came. So whoever publishes to thousands of
channels at once, again and again, would have everybody else wait for all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from pushd.errors import Overloaded
from pushd.log.requests import MIB, Append

USER: Final = "user:"  # how publishers begin that are no services
# A row costs about what so many bytes of data cost.
ROW: Final = 1024
# What one user has in the writer's queue: about two commits.
MOST: Final = 2 * MIB
SHARE: Final = 4  # a user may have this part of the backlog


class _Line:
    __slots__ = ("held", "queued", "waiting")

    def __init__(self) -> None:
        self.held = 0  # bytes, queued and waiting
        self.queued = 0  # cost of what the writer has not stored yet
        self.waiting: deque[Append] | None = None  # most users never have any


def _cost(append: Append) -> int:
    return append.size + ROW * len(append.entries)


class Lines:
    """Used on the loop. ``put`` hands over to the writer, which answers with ``stored``."""

    __slots__ = ("_lines", "put")

    def __init__(self, put: Callable[[Append], None]) -> None:
        self.put = put
        self._lines: dict[str, _Line] = {}

    def admit(self, publisher: str, size: int, backlog: int) -> None:
        """Raises Overloaded when more of this user's waits than its share, in bytes."""
        line = self._lines.get(publisher)
        if line is not None and line.held + size > backlog // SHARE:
            raise Overloaded("As much as one user may have waits to be stored.", retry_after=1)

    def add(self, append: Append) -> None:
        """The writer gets it now, or in its user's turn."""
        publisher = append.publisher
        if not publisher.startswith(USER):
            self.put(append)
            return
        line = self._lines.get(publisher)
        if line is None:
            line = self._lines[publisher] = _Line()
        line.held += append.size
        cost = _cost(append)
        if line.waiting or (line.queued and line.queued + cost > MOST):
            if line.waiting is None:
                line.waiting = deque()
            line.waiting.append(append)
        else:
            line.queued += cost
            self.put(append)

    def stored(self, append: Append) -> None:
        """Or refused: the writer is done with it."""
        line = self._lines.get(append.publisher)
        if line is None:
            return
        line.held -= append.size
        line.queued -= _cost(append)
        while line.waiting:
            cost = _cost(line.waiting[0])
            if line.queued and line.queued + cost > MOST:
                return
            line.queued += cost
            self.put(line.waiting.popleft())
        if not line.queued:
            del self._lines[append.publisher]

    def drain(self) -> list[Append]:
        """What waits in the lines: nobody will hand it over any more."""
        lines, self._lines = self._lines, {}
        return [append for line in lines.values() for append in line.waiting or ()]
