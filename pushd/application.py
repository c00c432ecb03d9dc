"""The application behind pushd: what it is asked, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

from pushd.access import Access
from pushd.calls import Calls, make_calls, make_webhook
from pushd.core.namespaces import Namespaces
from pushd.happenings import Happenings
from pushd.log import Log
from pushd.metrics import Counters
from pushd.outbound import Endpoint
from pushd.places import Places
from pushd.publish import Publisher
from pushd.settings import Settings
from pushd.tails import Tails
from pushd.telling import Telling, make_telling
from pushd.telling.portions import Portions

LAST_WORDS_S: Final = 3.0  # for it to hear, at shutdown, who has gone


@dataclass(frozen=True, slots=True)
class Application:
    """``webhook``: where it is posted to, if it is."""

    webhook: Endpoint | None
    calls: Calls
    telling: Telling

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """For operators."""
        return () if self.webhook is None else (self.webhook,)

    async def start(self, services: trio.Nursery) -> None:
        """Runs until ``stop``. Raises PushdError when the log cannot be asked."""
        for endpoint in self.endpoints:
            await services.start(endpoint.run)
        await services.start(self.calls.run)
        await services.start(self.telling.run)

    async def stop(self) -> None:
        """Nobody is connected any more: what was not done by now is not done."""
        self.calls.stop()
        await self.telling.stop(LAST_WORDS_S)


def make_application(
    settings: Settings,
    log: Log,
    access: Access,
    publisher: Publisher,
    places: Places,
    tails: Tails,
    namespaces: Namespaces,
    happenings: Happenings,
    counters: Counters,
    *,
    tells: bool = True,
) -> Application:
    """``tells``: what happens on any node is told from here.

    Raises CannotStart when the module with the handlers cannot be had."""
    webhook = make_webhook(settings, counters)
    calls = make_calls(settings, webhook, publisher, access, log, counters)
    portions = Portions(log, places, tails)
    told = webhook if tells else None
    telling = make_telling(settings, told, log, namespaces, portions, happenings, counters)
    return Application(webhook, calls, telling)
