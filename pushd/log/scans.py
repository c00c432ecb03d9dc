"""Looks for the slowest devices of channels: one at a time for a channel, for all who ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from pushd.errors import PushdError
from pushd.log.activity import Activity
from pushd.log.reader import Job
from pushd.log.requests import Head
from pushd.log.slowest import FindSlowest, Scan, Slowest

Told = Callable[[Slowest | PushdError | None], None]

# What took long is given out for so many times as long: looking takes a tenth of the reader.
_KEPT: Final = 10
# What took less is not kept: it is as quick to look anew.
_LONG_S: Final = 0.02


class Scans:
    """On the loop. ``read`` hands a job to the reader."""

    def __init__(self, read: Callable[[Job], None]) -> None:
        self._read = read
        self._waiting: dict[int, list[Told]] = {}
        # By log id: until when, and what.
        self._kept: dict[int, tuple[float, Slowest | None]] = {}

    def ask(self, head: Head, activity: Activity, told: Told) -> None:
        """``told`` is called later, once."""
        log_id = head.log_id
        waiting = self._waiting.get(log_id)
        if waiting is not None:
            waiting.append(told)
            return
        scan = Scan(head.channel_id, head.epoch, activity.since_ms())
        waiting = self._waiting[log_id] = [told]
        kept = self._kept.get(log_id)
        if kept is not None and kept[0] > trio.current_time():
            scan.done, scan.found = True, kept[1]
        began = trio.current_time()

        def looked(answer: Scan | PushdError) -> None:
            if isinstance(answer, Scan) and not answer.done:
                self._read(FindSlowest(scan, looked))
                return
            del self._waiting[log_id]
            result: Slowest | PushdError | None
            if isinstance(answer, PushdError):
                result = answer
            else:
                result = answer.found
                self._keep(log_id, began, result)
            for each in waiting:
                each(result)

        self._read(FindSlowest(scan, looked))

    def _keep(self, log_id: int, began: float, found: Slowest | None) -> None:
        now = trio.current_time()
        for other, (until, _) in list(self._kept.items()):
            if until <= now:
                del self._kept[other]
        if now - began > _LONG_S and log_id not in self._kept:
            self._kept[log_id] = (now + _KEPT * (now - began), found)
