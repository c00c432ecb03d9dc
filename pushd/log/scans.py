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
# A log id, and whether those that have fallen out are left out.
_Key = tuple[int, bool]

# What took long is given out for so many times as long: looking takes a tenth of the reader.
_KEPT: Final = 10
# What took less is not kept: it is as quick to look anew.
_LONG_S: Final = 0.02


class Scans:
    """On the loop. ``read`` hands a job to the reader."""

    def __init__(self, read: Callable[[Job], None]) -> None:
        self._read = read
        self._waiting: dict[_Key, list[Told]] = {}
        # Until when, and what.
        self._kept: dict[_Key, tuple[float, Slowest | None]] = {}

    def ask(self, head: Head, activity: Activity, within: bool, told: Told) -> None:
        """``told`` is called later, once. ``within``: who has fallen out does not count."""
        key = head.log_id, within
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(told)
            return
        least = head.first - 1 if within else 0
        scan = Scan(head.channel_id, head.epoch, activity.since_ms(), least)
        waiting = self._waiting[key] = [told]
        kept = self._kept.get(key)
        if kept is not None and kept[0] > trio.current_time():
            scan.done, scan.found = True, kept[1]
        began = trio.current_time()

        def looked(answer: Scan | PushdError) -> None:
            if isinstance(answer, Scan) and not answer.done:
                self._read(FindSlowest(scan, looked))
                return
            del self._waiting[key]
            result: Slowest | PushdError | None
            if isinstance(answer, PushdError):
                result = answer
            else:
                result = answer.found
                self._keep(key, began, result)
            for each in waiting:
                each(result)

        self._read(FindSlowest(scan, looked))

    def _keep(self, key: _Key, began: float, found: Slowest | None) -> None:
        now = trio.current_time()
        for other, (until, _) in list(self._kept.items()):
            if until <= now:
                del self._kept[other]
        if now - began > _LONG_S and key not in self._kept:
            self._kept[key] = (now + _KEPT * (now - began), found)
