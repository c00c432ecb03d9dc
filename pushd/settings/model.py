"""All settings of pushd in one frozen object, and the rules between them."""

from __future__ import annotations

from dataclasses import dataclass

from pushd.settings.application import Application
from pushd.settings.basics import Access, Basics
from pushd.settings.cluster import Cluster, cluster_contradictions
from pushd.settings.declare import Declared, declared
from pushd.settings.limits import Connections, Fanout, Rates, Requests, Sessions, Storage
from pushd.settings.namespaces import impossible_holds
from pushd.settings.webhooks import Webhooks

GROUPS: tuple[type, ...] = (
    *(Basics, Access, Application, Webhooks, Sessions, Connections, Rates, Requests, Storage),
    Fanout,
    Cluster,
)


@dataclass(frozen=True, kw_only=True)
class Settings(
    Cluster,
    Fanout,
    Storage,
    Requests,
    Rates,
    Connections,
    Sessions,
    Webhooks,
    Application,
    Access,
    Basics,
):
    """Durations are float seconds, sizes int bytes. ``Settings()`` holds all defaults."""

    @property
    def has_key(self) -> bool:
        """Whether anybody at all could use this server."""
        return bool(self.api_key or self.jwt_secret or self.keys or self.jwt or self.auth_url)


def all_declared() -> list[Declared]:
    return [item for group in GROUPS for item in declared(group)]


def by_name() -> dict[str, Declared]:
    return {item.name: item for item in all_declared()}


# (smaller, larger): each pair would make the server contradict itself the other way round.
_ORDERED = (
    ("heartbeat_check_interval", "heartbeat_interval"),
    ("heartbeat_interval", "heartbeat_timeout"),
    ("max_body", "max_publish_body"),
    ("max_publish_body", "max_batch_body"),
    ("max_publish_body", "publish_backlog"),
)


def contradictions(settings: Settings) -> list[tuple[str, str, str]]:
    """(name, other name, problem) of settings that are fine alone and wrong together."""
    known = by_name()
    found = []
    for smaller, larger in _ORDERED:
        low, high = getattr(settings, smaller), getattr(settings, larger)
        if low > high:
            show = known[smaller].kind.show
            found.append((smaller, larger, f"{show(low)} is more than {larger} ({show(high)})"))
    if settings.dev and not settings.listen.is_loopback:
        problem = f"development mode is for loopback addresses only, not {settings.listen}"
        found.append(("dev", "listen", problem))
    if settings.dev and settings.admin_listen and not settings.admin_listen.is_loopback:
        problem = f"development mode is for loopback addresses only, not {settings.admin_listen}"
        found.append(("dev", "admin_listen", problem))
    if settings.admin_listen and settings.admin_listen.meets(settings.listen):
        problem = f"{settings.admin_listen} is taken by listen ({settings.listen})"
        found.append(("admin_listen", "listen", problem))
    for name in ("auth_url", "webhook_url"):
        # Development makes one up.
        if getattr(settings, name) and not settings.webhook_secret and not settings.dev:
            problem = "needs webhook_secret, which signs what is sent there"
            found.append((name, "webhook_secret", problem))
    if settings.webhook_events and not settings.webhook_url:
        found.append(("webhook_events", "webhook_url", "are sent to webhook_url, which is not set"))
    if settings.auth_headers and not settings.auth_url:
        problem = "are sent to auth_url, which is not set"
        found.append(("auth_headers", "auth_url", problem))
    found += cluster_contradictions(settings)
    found += [
        ("namespaces", "retention_age", problem)
        for problem in impossible_holds(settings.retention, settings.namespaces)
    ]
    return found


__all__ = ["GROUPS", "Settings", "all_declared", "by_name", "contradictions"]
