"""Makes what says who may use a node, from its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pushd.auth import ApiKey, Authenticator, JwtKey
from pushd.core.origins import Origins
from pushd.core.permissions import SCOPES
from pushd.errors import BadSetting
from pushd.hook import ConnectHook, HookRules
from pushd.keysource import Place, RefreshedKeys, read_file
from pushd.limits import Addresses
from pushd.metrics import Counters
from pushd.nodetokens import NodeTokens
from pushd.revocations import Standing
from pushd.settings import Settings


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


def make_hook(settings: Settings, standing: Standing, counters: Counters) -> ConnectHook:
    """What asks the application, once it runs."""
    addresses = Addresses(settings.trusted_proxies)
    hook = ConnectHook(standing, counters, addresses, settings.node_id)
    hook.install(make_hook_rules(settings))
    return hook


def make_origins(settings: Settings) -> Origins:
    """The pages of the list; in development mode all of this machine."""
    return Origins(settings.origins, loopback=settings.dev)


def make_node_tokens(settings: Settings) -> NodeTokens | None:
    """None without a key: then no node of a cluster is known here."""
    key = settings.cluster_key
    return None if key is None else NodeTokens(key.encode(), settings.node_id)
