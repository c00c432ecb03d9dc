"""What one user or one address may have, so that it cannot take all there is from the others.

Used on the loop only; every dictionary here has a bound or empties itself.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Iterable
from functools import lru_cache

from pushd.errors import Overloaded, RateLimited, TooLarge

REMEMBERED = 10_000  # whose quotas are under way; beyond them the oldest is forgotten


class Shares:
    """How many of something each has at one time. ``what`` names it in the refusal."""

    __slots__ = ("_counts", "_most", "_what")

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._counts: dict[str, int] = {}

    def of(self, who: str) -> int:
        """How many ``who`` has."""
        return self._counts.get(who, 0)

    def enter(self, who: str) -> None:
        """Count one more. Raises Overloaded, with a jittered ``retry_after``, beyond the most."""
        count = self._counts.get(who, 0)
        if count >= self._most:
            raise Overloaded(f"At most {self._most} {self._what}.", retry_after=jittered())
        self._counts[who] = count + 1

    def leave(self, who: str) -> None:
        """One fewer; call it once for each ``enter``."""
        left = self._counts[who] - 1
        if left:
            self._counts[who] = left
        else:
            del self._counts[who]


class Quota:
    """How many different things each may take within ``per_s`` seconds of the first."""

    __slots__ = ("_clock", "_most", "_per_s", "_taken", "_what")

    def __init__(
        self, most: int, per_s: float, what: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._per_s = per_s
        self._what = what
        self._clock = clock
        # In the order in which the windows began. Hashes: the names may be long.
        self._taken: dict[str, tuple[float, set[int]]] = {}

    def take(self, who: str, things: Iterable[str]) -> None:
        """All or none; the same thing counts once.

        Raises RateLimited, with the seconds that are left of the window in ``retry_after``, and
        TooLarge where no waiting would help.
        """
        now = self._clock()
        began, taken = self._taken.get(who, (now, set()))
        if now - began >= self._per_s:
            del self._taken[who]
            began, taken = now, set()
        wanted = taken.union(map(hash, things))
        if len(wanted) > self._most:
            if len(wanted) - len(taken) > self._most:
                raise TooLarge(f"At most {self._most} {self._what}; this asks for more at once.")
            left = began + self._per_s - now
            raise RateLimited(f"At most {self._most} {self._what}.", retry_after=int(left) + 1)
        if who not in self._taken and len(self._taken) >= REMEMBERED:
            del self._taken[next(iter(self._taken))]
        self._taken[who] = (began, wanted)


def jittered() -> int:
    """Seconds to come again after: not everybody at the same moment."""
    return random.randint(3, 10)


class Addresses:
    """Who counts as one address: an IPv6 network of 64 bits is one, a trusted proxy is nobody."""

    def __init__(self, trusted: Iterable[str]) -> None:
        """``trusted``: networks (CIDR) whose connections bring many clients."""
        self._trusted = [ipaddress.ip_network(each) for each in trusted]
        self.key = lru_cache(maxsize=4096)(self._key)

    def _key(self, address: str) -> str | None:
        """What to count under; None: not at all."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return address
        if isinstance(parsed, ipaddress.IPv6Address):
            parsed = parsed.ipv4_mapped or parsed
        if any(parsed.version == net.version and parsed in net for net in self._trusted):
            return None
        if parsed.version == 6:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        return str(parsed)
