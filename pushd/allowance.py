"""Bytes of request bodies that the node holds at one time, over all connections."""

from __future__ import annotations

from pushd.errors import Overloaded


class Allowance:
    """A bound on what many small things may use together. ``most`` in bytes."""

    __slots__ = ("most", "used")

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def take(self, size: int) -> None:
        """Raises Overloaded when there is no room; then nothing is taken."""
        if self.used + size > self.most:
            raise Overloaded("Too many request bodies are under way.", retry_after=1)
        self.used += size

    def give(self, size: int) -> None:
        self.used -= size
