"""How often the application is asked: in all, and because of one address.

Anybody can make tokens up. No clock in here: times are seconds of any one clock.
"""

from __future__ import annotations

import math
from typing import Final

from pushd.errors import NotReady, RateLimited
from pushd.limits import jittered
from pushd.rates import Buckets

MINUTE: Final = 60.0
MAX_OPEN_PER_ADDRESS: Final = 64
MAX_OPEN: Final = 2000
_ALL: Final = ""


class HookLimits:
    """``rate``: questions a second, as many at once after a quiet one. ``refusals``: answers of
    401 and 403 that one address may cause within a minute. An address None brings many clients."""

    __slots__ = ("_asked", "_of_address", "_open", "_refused")

    def __init__(self, rate: int, refusals: int) -> None:
        self._asked = Buckets(rate, rate, "all clients")
        self._refused = Buckets(refusals / MINUTE, refusals, "one address")
        self._open = 0
        self._of_address: dict[str, int] = {}

    def check(self, address: str | None, now: float) -> None:
        """Raises RateLimited for an address that caused too many refusals."""
        if address is not None and (wait_s := self._refused.wait_s(address, now)):
            raise RateLimited(
                "Too many tokens from this address were refused.", retry_after=math.ceil(wait_s)
            )

    def begin(self, address: str | None, now: float) -> None:
        """One more question; tell when it has ``ended``. Raises RateLimited, NotReady."""
        self.check(address, now)
        if address is not None and self._of_address.get(address, 0) >= MAX_OPEN_PER_ADDRESS:
            raise RateLimited("Too many tokens of this address are being asked for.", retry_after=1)
        if self._open >= MAX_OPEN or self._asked.wait_s(_ALL, now):
            raise NotReady(
                "The application is asked as often as it may be.",
                retry_after=jittered(),
                cure="Come again after Retry-After seconds, with the same token.",
            )
        self._asked.take(_ALL, 1, now)
        self._open += 1
        if address is not None:
            self._of_address[address] = self._of_address.get(address, 0) + 1

    def ended(self, address: str | None) -> None:
        """A question that had begun is answered, or given up."""
        self._open -= 1
        if address is None:
            return
        left = self._of_address[address] - 1
        if left:
            self._of_address[address] = left
        else:
            del self._of_address[address]

    def refused(self, address: str | None, now: float) -> None:
        """The application refused what this address had asked for."""
        if address is not None:
            self._refused.take(address, 1, now)
