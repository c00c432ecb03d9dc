"""SIGHUP: keys, key sets, the connect hook and origins anew; who still may stays connected.

All or nothing: what cannot be used leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import structlog
import trio

from pushd.build import make_hook_rules, make_keys, make_origins, make_sources
from pushd.errors import PushdError
from pushd.hub import Hub
from pushd.keysource import RefreshedKeys, load_all
from pushd.outbound import keys_of
from pushd.settings import Settings

RELOADED = frozenset(
    {
        *("api_key", "jwt_secret", "keys", "jwt", "jwks_refresh", "origins"),
        *("webhook_secret", "auth_url", "auth_headers", "auth_request_timeout", "auth_requests"),
        *("auth_requests_per_second", "auth_refusals_per_address"),
    }
)

log = structlog.get_logger("pushd.server")


class Reloader:
    """``ask`` has the settings read again; the service is ``run``."""

    def __init__(self, hub: Hub, load: Callable[[], Settings]) -> None:
        """``load`` reads the settings as at the start; called in a thread. Raises BadSetting."""
        self._hub = hub
        self._load = load
        self._asked = trio.Event()

    def ask(self) -> None:
        """Reload soon; asking again meanwhile is asking once."""
        self._asked.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            try:
                await self._reload()
            except PushdError as error:
                log.error("not reloaded: keys and origins stay as they were", reason=error.detail)
            except Exception:
                log.exception("not reloaded: keys and origins stay as they were")

    async def _reload(self) -> None:
        hub = self._hub
        known = hub.key_sources.current
        settings, sources = await trio.to_thread.run_sync(self._read, known)
        await load_all(sources)
        before = hub.access.standing.keys
        hub.authenticator.install(*make_keys(settings), sources)
        hub.hook.install(make_hook_rules(settings))
        hub.authenticator.keys_changed()
        if settings.webhook_secret is not None:
            for endpoint in hub.application.endpoints:
                endpoint.sign_with(keys_of(settings.webhook_secret))
        hub.origins = make_origins(settings)
        hub.key_sources.replace(sources)
        for source in set(sources).intersection(known):
            source.refresh_s = settings.jwks_refresh
            source.wake()
        hub.enforcer.look()
        others = [
            item.name
            for item in fields(settings)
            if item.name not in RELOADED
            and getattr(settings, item.name) != getattr(hub.settings, item.name)
        ]
        if others:
            log.warning("settings that only a restart changes", settings=others)
        for weakness in hub.authenticator.weaknesses:
            log.warning("weak key", detail=weakness)
        keys = hub.access.standing.keys
        log.info(
            "reloaded",
            keys=len(keys),
            added=len(keys - before),
            # Who came by one of them is put out.
            removed=len(before - keys),
            origins=len(settings.origins),
        )

    def _read(self, known: tuple[RefreshedKeys, ...]) -> tuple[Settings, tuple[RefreshedKeys, ...]]:
        settings = self._load()
        return settings, make_sources(settings, known)
