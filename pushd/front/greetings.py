"""Connections that keep quiet: accepted for a while, and still no whole request.

A burst of new connections is no attack, and a proxy brings all of its clients from one address.
So a connection counts only once it has been slow, and bursts pass without being looked at.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from pushd.errors import Overloaded
from pushd.limits import Addresses

SLOW_S = 1.0  # from accept; a request normally comes with the first packets


class Greetings:
    """How many connections are slow to say what they want, in all and per address."""

    def __init__(self, most: int, most_per_address: int, trusted: Iterable[str] = ()) -> None:
        """``trusted``: networks whose addresses stand for many clients each."""
        self.total = 0
        self._most = most
        self._most_per_address = most_per_address
        self._key = Addresses(trusted).key
        self._addresses: dict[str, int] = {}

    def enter(self, address: str) -> None:
        """Count one more. Raises Overloaded, with a jittered ``retry_after``, beyond a limit."""
        key = self._key(address)
        of_address = 0 if key is None else self._addresses.get(key, 0)
        if self.total >= self._most or of_address >= self._most_per_address:
            raise Overloaded(
                "Too many connections wait for their first request.",
                retry_after=random.randint(1, 5),
            )
        self.total += 1
        if key is not None:
            self._addresses[key] = of_address + 1

    def leave(self, address: str) -> None:
        """One that was counted has said what it wants, or is gone."""
        self.total -= 1
        key = self._key(address)
        if key is None:
            return
        left = self._addresses[key] - 1
        if left:
            self._addresses[key] = left
        else:
            del self._addresses[key]
