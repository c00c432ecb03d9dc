"""Makes one node's parts from the settings. Nothing runs yet."""

from __future__ import annotations

import hashlib

import trio

from pushd.allowance import Allowance
from pushd.auth import ApiKey, Authenticator, JwtKey
from pushd.core.origins import Origins
from pushd.core.permissions import SCOPES
from pushd.core.responses import Responses
from pushd.core.wheel import Expiring, TimingWheel
from pushd.fanout import Fanout, FanoutOptions
from pushd.hub import Hub
from pushd.inboxes import Inboxes
from pushd.log import Log, LogOptions
from pushd.metrics import Counters
from pushd.notices import Notices
from pushd.outgoing import Flusher
from pushd.places import Places
from pushd.publish import Publisher
from pushd.pull import Access, Pulls
from pushd.sessions import Sessions
from pushd.settings import Settings
from pushd.settings.namespaces import make_rules
from pushd.tails import Tails


def make_log(settings: Settings) -> Log:
    return Log(
        settings.data,
        LogOptions(
            min_free_bytes=settings.min_free_disk,
            backlog_bytes=settings.publish_backlog,
            batch_messages=settings.batch_messages,
            batch_bytes=settings.batch_bytes,
            write_behind_s=settings.write_behind,
            idempotency_s=settings.idempotency,
            listen=str(settings.listen),
        ),
    )


def make_authenticator(settings: Settings, public: frozenset[str]) -> Authenticator:
    """The keys of the file, and the two that the environment may give."""
    keys = [ApiKey(key.name, key.sha256, key.scopes, key.patterns) for key in settings.keys]
    if settings.api_key is not None:
        digest = hashlib.sha256(settings.api_key.encode()).hexdigest()
        keys.append(ApiKey("PUSHD_API_KEY", digest, tuple(sorted(SCOPES))))
    tokens = [JwtKey(key.alg, key.material, key.kid, key.aud, key.iss) for key in settings.jwt]
    if settings.jwt_secret is not None:
        tokens.append(JwtKey("HS256", settings.jwt_secret))
    return Authenticator(keys, tokens, public)


def make_hub(settings: Settings, log: Log, services: trio.Nursery) -> Hub:
    """``services``: the nursery that owns what outlives a connection."""
    namespaces = make_rules(settings.retention, settings.namespaces)
    public = namespaces.public
    counters = Counters()
    access = Access(public)
    wheel: TimingWheel[Expiring] = TimingWheel(
        settings.heartbeat_check_interval, trio.current_time()
    )
    options = FanoutOptions(
        settings.hint_interval, settings.jitter_subscribers, settings.jitter_pulls_per_second
    )
    fanout = Fanout(options, counters, namespaces)
    places = Places(log, namespaces)
    responses = Responses()
    tails = Tails(settings.tail_cache, settings.tail_messages)
    inboxes = Inboxes()
    notices = Notices(wheel, settings.poll_grace)
    return Hub(
        settings=settings,
        node_id=settings.node_id,
        log=log,
        authenticator=make_authenticator(settings, public),
        access=access,
        origins=Origins(settings.origins, loopback=settings.dev),
        wheel=wheel,
        fanout=fanout,
        bodies=Allowance(settings.body_memory),
        flusher=Flusher(services, settings.write_timeout, counters),
        tails=tails,
        inboxes=inboxes,
        notices=notices,
        pulls=Pulls(
            log, places, tails, fanout, wheel, responses, counters, settings.max_pull_bytes
        ),
        publisher=Publisher(log, namespaces, settings.max_body, settings.max_targets),
        sessions=Sessions(
            log,
            places,
            fanout,
            access,
            wheel,
            inboxes,
            notices,
            counters,
            settings.max_connections_per_user,
            settings.max_channels_per_session,
        ),
        responses=responses,
        counters=counters,
        services=services,
    )
