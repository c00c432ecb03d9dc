"""The one task that looks at the timing wheel: silent sessions, held polls, slow requests."""

from __future__ import annotations

import time
from email.utils import formatdate

import structlog
import trio

from pushd.core.wheel import Expiring
from pushd.hub import Hub

CHUNK = 256  # expired entries between two checkpoints

log = structlog.get_logger("pushd.reaper")


async def run_wheel(
    hub: Hub, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Expire what is due, every tick. Ends by cancellation only.

    After the loop has stood still, what came meanwhile is read first: a tick later it is seen who
    was silent, and who was only not heard.
    """
    tick = hub.settings.heartbeat_check_interval
    _set_date(hub)
    task_status.started()
    due = trio.current_time() + tick
    while True:
        await trio.sleep_until(due)
        now = trio.current_time()
        hub.lag_s = now - due
        _set_date(hub)
        late = hub.lag_s > tick
        await _expire(hub.wheel.advance(due if late else now))
        due = max(due + tick, trio.current_time() + tick * late)


async def _expire(entries: list[Expiring]) -> None:
    for count, entry in enumerate(entries, 1):
        try:
            entry.expire()
        except Exception:  # one connection's failure is its own
            log.exception("a time-out could not be handled")
        if count % CHUNK == 0:
            await trio.lowlevel.checkpoint()


def _set_date(hub: Hub) -> None:
    hub.responses.date = formatdate(time.time(), usegmt=True).encode()
