"""Makes what tells the application, from the settings."""

from __future__ import annotations

import trio

from pushd.core.namespaces import Namespaces
from pushd.happenings import Happenings
from pushd.log import Log
from pushd.metrics import Counters
from pushd.outbound import Endpoint
from pushd.settings import Settings
from pushd.telling.events import Events
from pushd.telling.messages import Messages
from pushd.telling.portions import Portions
from pushd.telling.posting import Poster

MESSAGES = "message.published"


class Telling:
    """What the application is told by itself; either may be None. ``run`` is the service."""

    def __init__(self, messages: Messages | None, events: Events | None) -> None:
        self.messages = messages
        self.events = events
        self._scope = trio.CancelScope()

    @property
    def channels_behind(self) -> int:
        """Channels with messages that were not told yet."""
        return 0 if self.messages is None else len(self.messages.backlog)

    @property
    def events_waiting(self) -> int:
        """Events that were not told yet."""
        return 0 if self.events is None else len(self.events)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled, or ``stop``. Raises PushdError when the log cannot be asked."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                for part in (self.messages, self.events):
                    if part is not None:
                        await nursery.start(part.run)
                task_status.started()

    async def stop(self, within_s: float) -> None:
        """Events that wait have so long; messages go on after the next start."""
        with trio.move_on_after(within_s):
            if self.events is not None:
                await self.events.told()
        self._scope.cancel()


def make_telling(
    settings: Settings,
    webhook: Endpoint | None,
    durable: Log,
    namespaces: Namespaces,
    portions: Portions,
    happenings: Happenings,
    counters: Counters,
) -> Telling:
    """Of nothing, where the settings name nothing."""
    kinds = set(settings.webhook_events)
    messages = events = None
    if webhook is None:
        return Telling(None, None)
    if MESSAGES in kinds:
        messages = Messages(
            durable, namespaces, portions, Poster(webhook), counters, settings.cursor_active / 8
        )
    if kinds - {MESSAGES}:
        events = Events(
            kinds, happenings, Poster(webhook), counters, settings.node_id, settings.webhook_queue
        )
    return Telling(messages, events)
