"""Whether a device that comes back is about to fall out of a channel: for whoever watches all.

Only channels whose window has messages in its last part are looked at: once, then when that part
reaches what the slowest active device had got, and each ten minutes for those that have appeared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import trio

from pushd.core.fading import fading
from pushd.core.namespaces import Retention
from pushd.errors import PushdError
from pushd.log.live import Live
from pushd.log.requests import Head, Watched
from pushd.log.scans import Told
from pushd.log.slowest import Slowest

# How often one that seems to be about to fall out is looked for again, and everybody.
LATE_S: Final = 60.0
ALL_S: Final = 600.0
# Scans under way at once.
AT_ONCE: Final = 32

# What the slowest has got; beyond all seqs: there is no active device.
_NOBODY: Final = 1 << 62


class Watch:
    """On the loop. ``ask`` looks for the slowest active device that has not fallen out yet."""

    def __init__(self, live: Live, ask: Callable[[Head, Told], None]) -> None:
        self._live = live
        self._ask = ask
        self._late: dict[int, Head] = {}

    def channels(self) -> Iterator[Head]:
        """Those in which an active device lacks messages of the last part of the window."""
        for log_id, head in list(self._late.items()):
            if self._live.of_life(head.channel, log_id) is head:
                yield head
            else:
                del self._late[log_id]

    def wants(self, head: Head, keep: Retention, now_ms: int, now: float) -> bool:
        """Whether its devices are to be looked at. ``now``: on Trio's clock."""
        watched = head.watched
        if watched is not None and now < watched.again_at:
            return False
        if fading(head, keep, head.first - 1, now_ms) is None:
            self._late.pop(head.log_id, None)
            head.watched = None
            return False
        if watched is None:
            return True
        late = fading(head, keep, watched.seq, now_ms) is not None
        if late:
            self._late[head.log_id] = head
        else:
            self._late.pop(head.log_id, None)
        head.watched = watched._replace(again_at=now + LATE_S / 2)
        return now - watched.looked_at >= (LATE_S if late else ALL_S)

    async def look(self, heads: list[Head]) -> None:
        """Until it is known of all of them."""
        while heads:
            some, heads = heads[:AT_ONCE], heads[AT_ONCE:]
            left = len(some)
            all_told = trio.Event()

            def counted() -> None:
                nonlocal left
                left -= 1
                if not left:
                    all_told.set()  # noqa: B023

            for head in some:
                self._find(head, counted)
            await all_told.wait()

    def _find(self, head: Head, done: Callable[[], None]) -> None:
        def told(found: Slowest | PushdError | None) -> None:
            if not isinstance(found, PushdError):
                now = trio.current_time()
                head.watched = Watched(_NOBODY if found is None else found.seq, now, now)
            done()

        self._ask(head, told)
