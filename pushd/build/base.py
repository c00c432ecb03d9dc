"""What nearly every part of a node needs, made first."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from pushd.access import Access
from pushd.core.namespaces import Namespaces
from pushd.core.wheel import Expiring, TimingWheel
from pushd.fanout import Fanout, FanoutOptions
from pushd.happenings import Happenings
from pushd.limits import Quota, Shares
from pushd.log import Log
from pushd.metrics import Counters
from pushd.places import Places
from pushd.rates import Buckets, Rates
from pushd.revocations import Standing
from pushd.settings import Settings
from pushd.settings.namespaces import make_rules
from pushd.sight import Sight

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Base:
    """``shares``: how much of a user's may live or wait here at once."""

    settings: Settings
    log: Log
    namespaces: Namespaces
    counters: Counters
    standing: Standing
    access: Access
    wheel: TimingWheel[Expiring]
    fanout: Fanout
    places: Places
    happenings: Happenings
    shares: Shares

    def begun(self, what: str) -> Quota:
        """How many of these a user may begin in an hour."""
        most = self.settings.max_new_channels
        return Quota(most, HOUR_S, f"new {what} of one user within an hour")


def make_base(settings: Settings, log: Log, *, everywhere: bool, known: bool) -> Base:
    """On the Trio loop: the wheel starts with its clock. ``everywhere``, ``known``: see
    ``Sight``."""
    namespaces = make_rules(settings.retention, settings.namespaces)
    counters = Counters()
    standing = Standing()
    standing.revoked = log.revocations
    return Base(
        settings,
        log,
        namespaces,
        counters,
        standing,
        Access(
            namespaces.public,
            standing,
            groups=log.groups,
            presence_namespaces=namespaces.presence,
            sight=Sight(everywhere=everywhere, known=known),
        ),
        TimingWheel(settings.heartbeat_check_interval, trio.current_time()),
        _make_fanout(settings, counters, namespaces),
        Places(log, namespaces),
        Happenings(),
        Shares(
            settings.max_connections_per_user,
            "sessions, held polls and waiting publishes of one user",
        ),
    )


def make_rates(settings: Settings) -> Rates:
    """How many messages a user, and an address, may publish."""

    def buckets(per_second: int | None, burst: int, whose: str) -> Buckets | None:
        return None if per_second is None else Buckets(per_second, burst, whose)

    return Rates(
        buckets(settings.user_messages_per_second, settings.user_message_burst, "one user"),
        buckets(
            settings.address_messages_per_second, settings.address_message_burst, "one address"
        ),
        settings.trusted_proxies,
    )


def _make_fanout(settings: Settings, counters: Counters, namespaces: Namespaces) -> Fanout:
    options = FanoutOptions(
        settings.hint_interval, settings.jitter_subscribers, settings.jitter_pulls_per_second
    )
    return Fanout(options, counters, namespaces)
