"""How often clients may: what each user, and each address, may publish and call in a second.

Each has a bucket (the generic cell rate algorithm): one number, the time at which it is full again.
Whoever was told to wait is refused until then, so that of messages sent one behind the other none
slips in before one that was refused.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from pushd.core.permissions import Identity
from pushd.errors import RateLimited
from pushd.limits import Addresses

REMEMBERED = 100_000  # of each kind; beyond them those are forgotten that sent nothing for longest
SLACK_S = 1e-6  # times are sums: what is missing of them after the wait is no wait


class Buckets:
    """One bucket for each who. Times are seconds of whatever clock the caller has."""

    __slots__ = ("_burst_s", "_each_s", "_full_at", "_until", "what")

    def __init__(self, per_second: float, burst: int, whose: str) -> None:
        """``burst``: how many at once, when there was nothing for a while."""
        self.what = f"At most {per_second:g} messages and calls a second of {whose}"
        self.what += f", {burst} at once."
        self._each_s = 1 / per_second
        self._burst_s = burst / per_second
        self._full_at: OrderedDict[str, float] = OrderedDict()  # used last comes last
        self._until: OrderedDict[str, float] = OrderedDict()  # those who were told to wait

    def __len__(self) -> int:
        """How much is remembered."""
        return len(self._full_at) + len(self._until)

    def wait_s(self, who: str, now: float) -> float:
        """How long until there is room for one; 0.0: there is."""
        if self._until and (until := self._until.get(who)) is not None:
            if until - now > SLACK_S:
                return until - now
            del self._until[who]
        full_at = self._full_at.get(who)
        if full_at is None:
            return 0.0
        wait_s = full_at + self._each_s - self._burst_s - now
        return wait_s if wait_s > SLACK_S else 0.0

    def take(self, who: str, count: int, now: float) -> None:
        """Call it when there is room for one: what is more is owed, and waited for later."""
        full_at = max(self._full_at.get(who, now), now) + count * self._each_s
        _put(self._full_at, who, full_at, now)

    def hold(self, who: str, until: float, now: float) -> None:
        """It was told to wait: there is no room before. Asking again makes that no longer."""
        if who not in self._until:
            _put(self._until, who, until, now)


def _put(times: OrderedDict[str, float], who: str, at: float, now: float) -> None:
    """Times that have passed say nothing: they go sooner than others come."""
    times[who] = at
    times.move_to_end(who)
    for _ in range(2):
        oldest = next(iter(times))
        if times[oldest] > now and len(times) <= REMEMBERED:
            break
        del times[oldest]


class Rates:
    """What users and addresses may send. Services are not asked."""

    def __init__(
        self,
        user: Buckets | None,
        address: Buckets | None,
        trusted: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """None: no bound. ``trusted``: networks that bring many clients, and are nobody."""
        self._user = user
        self._address = address
        self._key = Addresses(trusted).key
        self._clock = clock

    def refusal(self, identity: Identity, address: str, count: int = 1) -> RateLimited | None:
        """None: ``count`` messages or calls may come now, and are counted."""
        if identity.user is None:
            return None
        now = self._clock()
        user, of_address = self._user, self._address
        if user is not None and (wait_s := user.wait_s(identity.user, now)):
            return _refused(user, identity.user, now, wait_s)
        if of_address is not None and (key := self._key(address)) is not None:
            if wait_s := of_address.wait_s(key, now):
                return _refused(of_address, key, now, wait_s)
            of_address.take(key, count, now)
        if user is not None:
            user.take(identity.user, count, now)
        return None

    def take(self, identity: Identity, address: str, count: int = 1) -> None:
        """Count them. Raises RateLimited, with the whole seconds to wait in ``retry_after``."""
        refusal = self.refusal(identity, address, count)
        if refusal is not None:
            raise refusal


def _refused(buckets: Buckets, who: str, now: float, wait_s: float) -> RateLimited:
    retry_after = math.ceil(wait_s - SLACK_S)
    buckets.hold(who, now + retry_after, now)
    return RateLimited(buckets.what, retry_after=retry_after)
