"""The body of the request under way: within its limit, and counted for as long as it is held."""

from __future__ import annotations

from collections.abc import Callable

from pushd.allowance import Allowance
from pushd.front.heads import Request, body_too_large


class IncomingBody:
    """One for all bodies of a connection, one after the other. ``limit`` and ``size`` in bytes.

    ``on_give_way`` is called when others need the room: nothing may be added from then on.
    """

    __slots__ = ("_allowance", "_data", "_waits", "limit", "on_give_way", "size")

    def __init__(self, allowance: Allowance) -> None:
        self.limit = 0
        self.size = 0
        self.on_give_way: Callable[[], None] = _nothing
        self._allowance = allowance
        self._data: bytes | bytearray = b""
        self._waits = False  # there is a part of it, and the allowance knows

    def add(self, piece: bytes) -> None:
        """Raises TooLarge, Overloaded; then the piece is not taken."""
        size = len(piece)
        if self.size + size > self.limit:
            raise body_too_large(self.limit)
        self._allowance.take(size, self)
        self.size += size
        if not self._data:
            self._data = piece
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += piece

    def stalls(self) -> None:
        """What came is looked through, and the rest is still to come."""
        if self.size and not self._waits:
            self._waits = True
            self._allowance.waits(self)

    def hand_to(self, request: Request) -> None:
        """It is whole. What is counted goes along, and whoever takes the request gives it back."""
        request.body = bytes(self._data)
        request.counted = self.size
        self._end()

    def drop(self) -> None:
        """It is given up."""
        self._allowance.give(self.size)
        self._end()

    def give_way(self) -> None:
        """Others need the room, and it takes long."""
        self.drop()
        self.on_give_way()

    def _end(self) -> None:
        self._data = b""
        self.size = 0
        if self._waits:
            self._waits = False
            self._allowance.ended(self)


def _nothing() -> None:
    pass
