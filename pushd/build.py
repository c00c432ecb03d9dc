"""Makes one node's parts from the settings. Nothing runs yet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import trio

from pushd.access import Access
from pushd.allowance import Allowance
from pushd.announcer import Announcer
from pushd.application import make_application
from pushd.audience import Audience
from pushd.auth import ApiKey, Authenticator, JwtKey
from pushd.core.namespaces import Namespaces
from pushd.core.origins import Origins
from pushd.core.permissions import SCOPES
from pushd.core.responses import Responses
from pushd.core.wheel import Expiring, TimingWheel
from pushd.deliveries import Deliveries
from pushd.enforcer import Enforcer
from pushd.errors import BadSetting
from pushd.fanout import Fanout, FanoutOptions
from pushd.happenings import Happenings
from pushd.hook import ConnectHook, HookRules
from pushd.hub import Hub
from pushd.inboxes import Inboxes
from pushd.kept import Kept
from pushd.keysource import Place, RefreshedKeys, Sources, read_file
from pushd.limits import Addresses, Quota, Shares
from pushd.log import Log, LogOptions
from pushd.marking import Marking
from pushd.membership import Membership
from pushd.metrics import Counters
from pushd.nodetokens import NodeTokens
from pushd.notices import Notices
from pushd.outgoing import Flusher
from pushd.places import Places
from pushd.pollers import Pollers
from pushd.presence import Presence
from pushd.publish import Publisher
from pushd.pull import Pulls
from pushd.rates import Buckets, Rates
from pushd.revocations import Standing
from pushd.rooms import Rooms
from pushd.sessionchannels import SessionChannels
from pushd.sessions import Sessions
from pushd.settings import Settings
from pushd.settings.namespaces import make_rules
from pushd.sight import Sight
from pushd.tails import Tails


def make_log(settings: Settings) -> Log:
    """Not open yet: that is the first thing that its ``run`` does."""
    log = Log(
        settings.data,
        LogOptions(
            min_free_bytes=settings.min_free_disk,
            backlog_bytes=settings.publish_backlog,
            batch_messages=settings.batch_messages,
            batch_bytes=settings.batch_bytes,
            write_behind_s=settings.write_behind,
            idempotency_s=settings.idempotency,
            retention_interval_s=settings.retention_interval,
            active_s=settings.cursor_active,
            listen=str(settings.listen),
        ),
    )
    log.retention = make_rules(settings.retention, settings.namespaces).retention
    return log


def make_keys(settings: Settings) -> tuple[list[ApiKey], list[JwtKey]]:
    """The keys of the file, and the two that the environment may give."""
    keys = [ApiKey(key.name, key.sha256, key.scopes, key.patterns) for key in settings.keys]
    if settings.api_key is not None:
        digest = hashlib.sha256(settings.api_key.encode()).hexdigest()
        keys.append(ApiKey("PUSHD_API_KEY", digest, tuple(sorted(SCOPES))))
    tables = [table for table in settings.jwt if not table.algs]
    tokens = [JwtKey(each.alg, each.material, each.kid, each.aud, each.iss) for each in tables]
    if settings.jwt_secret is not None:
        tokens.append(JwtKey("HS256", settings.jwt_secret))
    return keys, tokens


def make_sources(
    settings: Settings, known: Sequence[RefreshedKeys] = ()
) -> tuple[RefreshedKeys, ...]:
    """The key sets. Files are read now; an address that is ``known`` stays, with its keys.

    Raises BadSetting for a file that cannot be used.
    """
    kept = {source.place: source for source in known if source.place.url is not None}
    sources = {}  # by place: a table that says the same twice is one source
    for table in settings.jwt:
        if not table.algs:
            continue
        algs = frozenset(table.algs)
        place = Place(algs, table.aud, table.iss, table.jwks_file, table.jwks_url)
        source = kept.get(place) or RefreshedKeys(place, settings.jwks_refresh)
        if place.file is not None:
            try:
                source.take(read_file(place.file))
            except BadSetting as error:
                raise BadSetting(f"jwks_file {place.file}: {error.detail}") from None
        sources[place] = source
    return tuple(sources.values())


def make_hook_rules(settings: Settings) -> HookRules | None:
    """How the application is asked about tokens; None when there is no ``auth_url``."""
    if settings.auth_url is None or settings.webhook_secret is None:
        return None
    return HookRules(
        settings.auth_url,
        settings.webhook_secret,
        tuple(name.encode() for name in settings.auth_headers),
        settings.auth_request_timeout,
        settings.auth_requests,
        settings.auth_requests_per_second,
        settings.auth_refusals_per_address,
    )


def make_authenticator(
    settings: Settings,
    standing: Standing,
    sources: tuple[RefreshedKeys, ...],
    hook: ConnectHook | None = None,
) -> Authenticator:
    """Raises BadSetting for keys that cannot be used."""
    keys, tokens = make_keys(settings)
    nodes = make_node_tokens(settings)
    return Authenticator(keys, tokens, sources=sources, standing=standing, hook=hook, nodes=nodes)


def make_node_tokens(settings: Settings) -> NodeTokens | None:
    """None without a key: then no node of a cluster is known here."""
    key = settings.cluster_key
    return None if key is None else NodeTokens(key.encode(), settings.node_id)


def make_hook(settings: Settings, standing: Standing, counters: Counters) -> ConnectHook:
    """What asks the application, once it runs."""
    addresses = Addresses(settings.trusted_proxies)
    hook = ConnectHook(standing, counters, addresses, settings.node_id)
    hook.install(make_hook_rules(settings))
    return hook


def make_origins(settings: Settings) -> Origins:
    """The pages of the list; in development mode all of this machine."""
    return Origins(settings.origins, loopback=settings.dev)


def _make_fanout(settings: Settings, counters: Counters, namespaces: Namespaces) -> Fanout:
    options = FanoutOptions(
        settings.hint_interval, settings.jitter_subscribers, settings.jitter_pulls_per_second
    )
    return Fanout(options, counters, namespaces)


def _make_rates(settings: Settings) -> Rates:
    def buckets(per_second: int | None, burst: int, whose: str) -> Buckets | None:
        return None if per_second is None else Buckets(per_second, burst, whose)

    return Rates(
        buckets(settings.user_messages_per_second, settings.user_message_burst, "one user"),
        buckets(
            settings.address_messages_per_second, settings.address_message_burst, "one address"
        ),
        settings.trusted_proxies,
    )


def _make_rooms(
    settings: Settings,
    log: Log,
    places: Places,
    fanout: Fanout,
    namespaces: Namespaces,
    wheel: TimingWheel[Expiring],
    counters: Counters,
    sight: Sight,
) -> tuple[Announcer, Rooms]:
    announcer = Announcer(log, fanout, counters)
    begun = Quota(settings.max_new_channels, 3600.0, "new topics of one user within an hour")
    grace = settings.presence_grace
    return announcer, Rooms(announcer, log, places, namespaces, wheel, begun, grace, sight=sight)


def make_hub(settings: Settings, log: Log, services: trio.Nursery) -> Hub:
    """``services``: the nursery that owns what outlives a connection."""
    namespaces = make_rules(settings.retention, settings.namespaces)
    counters = Counters()
    standing = Standing()
    standing.revoked = log.revocations
    access = Access(
        namespaces.public,
        standing,
        groups=log.groups,
        presence_namespaces=namespaces.presence,
    )
    sources = make_sources(settings)
    hook = make_hook(settings, standing, counters)
    wheel: TimingWheel[Expiring] = TimingWheel(
        settings.heartbeat_check_interval, trio.current_time()
    )
    fanout = _make_fanout(settings, counters, namespaces)
    places = Places(log, namespaces)
    responses = Responses()
    tails = Tails(settings.tail_cache, settings.tail_messages)
    inboxes = Inboxes()
    notices = Notices(wheel, settings.poll_grace)
    shares = Shares(
        settings.max_connections_per_user,
        "sessions, held polls and waiting publishes of one user",
    )
    begun = Quota(settings.max_new_channels, 3600.0, "new channels of one user within an hour")
    pulls = Pulls(
        log, places, tails, fanout, wheel, responses, counters, settings.max_pull_bytes, shares
    )
    happenings = Happenings()
    sessions = Sessions(
        log,
        places,
        fanout,
        access,
        wheel,
        inboxes,
        shares,
        settings.max_channels_per_session,
        happenings,
    )
    deliveries = Deliveries(log, access, wheel, counters, happenings, shares, settings.max_wait)
    marking = Marking(log, places, namespaces, access, sessions, notices, deliveries, counters)
    publisher = Publisher(log, namespaces, access, settings.max_body, settings.max_targets, begun)
    publisher.on_own = marking.wrote
    # Before presence: it hears of a session before it hears of its user.
    application = make_application(
        settings, log, access, publisher, places, tails, namespaces, happenings, counters
    )
    # And this as well: who polls on beside a connection that ends stays online.
    pollers = Pollers(sessions, wheel, happenings, settings.poll_grace)
    presence = Presence(
        sessions.by_user, wheel, happenings, settings.presence_grace, sight=access.sight
    )
    announcer, rooms = _make_rooms(
        settings, log, places, fanout, namespaces, wheel, counters, access.sight
    )
    if namespaces.presence:
        sessions.rooms = rooms
    membership = Membership(log.groups, sessions, fanout, happenings)
    return Hub(
        settings=settings,
        node_id=settings.node_id,
        log=log,
        authenticator=make_authenticator(settings, standing, sources, hook),
        hook=hook,
        access=access,
        namespaces=namespaces,
        origins=make_origins(settings),
        wheel=wheel,
        fanout=fanout,
        bodies=Allowance(settings.body_memory),
        flusher=Flusher(services, settings.write_timeout, counters, Kept(settings.answer_memory)),
        tails=tails,
        inboxes=inboxes,
        notices=notices,
        pulls=pulls,
        publisher=publisher,
        rates=_make_rates(settings),
        sessions=sessions,
        marking=marking,
        deliveries=deliveries,
        session_channels=SessionChannels(log, sessions, fanout, wheel, happenings, access.sight),
        audience=Audience(presence, fanout, access),
        application=application,
        happenings=happenings,
        pollers=pollers,
        presence=presence,
        announcer=announcer,
        rooms=rooms,
        membership=membership,
        responses=responses,
        counters=counters,
        enforcer=Enforcer(standing, sessions, pulls),
        key_sources=Sources(sources),
        services=services,
    )
