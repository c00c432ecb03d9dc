"""For whom retention waits: the active device that is farthest behind, as the writer knows it.

What is known of a channel is a lower bound. It is found by a look at all devices, and holds until
retention wants to cut beyond it: marks only rise, and one that appears below it lowers it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import Final, Protocol

from pushd.core.positions import Cursor
from pushd.log.activity import Activity
from pushd.log.marks import MarkKey
from pushd.log.slowest import Scan

_NOW: Final = (
    "SELECT epoch, seq, heard FROM cursors WHERE user = ? AND device = ? AND channel_id = ?"
)


class Channel(Protocol):
    """What has to be known of one."""

    @property
    def id(self) -> int: ...
    @property
    def epoch(self) -> str: ...
    @property
    def first(self) -> int: ...


class _Floor:
    """``who`` has got everything up to ``seq``, and every other active device as much or more.

    ``who`` None: there is no active device. ``scan``: not all devices were looked at yet; then
    ``seq`` is of those that were.
    """

    __slots__ = ("epoch", "scan", "seq", "who")

    def __init__(self, epoch: str, scan: Scan) -> None:
        self.epoch = epoch
        self.scan: Scan | None = scan
        self.who: tuple[str, str] | None = None
        self.seq = 0

    def lower(self, user: str, device: str, seq: int) -> None:
        """This device is known to be there."""
        if self.who is None or seq < self.seq:
            self.who, self.seq = (user, device), seq


class Holds:
    """The writer's. Knows only of channels that retention has asked for.

    A device that has fallen out of the window is waited for no more.
    """

    def __init__(self, connection: sqlite3.Connection, activity: Activity) -> None:
        self._connection = connection
        self.activity = activity
        self._floors: dict[int, _Floor] = {}

    def note(self, marks: Iterable[tuple[MarkKey, Cursor]]) -> None:
        """These were written: their devices are active."""
        if not self._floors:
            return
        for (user, device, channel_id), (epoch, seq) in marks:
            floor = self._floors.get(channel_id)
            if floor is not None and device is not None and epoch == floor.epoch:
                floor.lower(user, device, seq)

    def forget(self, channel_id: int) -> None:
        """That life of the channel has ended."""
        self._floors.pop(channel_id, None)

    def delivered_to_all(self, channel: Channel, enough: int, ends: float) -> tuple[int, bool]:
        """Up to which seq every active device has got the channel; ``enough`` if it is more.

        False: that is not known yet, and nothing must go; ask again to have more devices looked
        at. ``ends``: until when (perf_counter) it may look.
        """
        floor = self._floors.get(channel.id)
        if floor is None or floor.epoch != channel.epoch:
            floor = self._floors[channel.id] = self._new(channel)
        elif floor.scan is None and floor.who is not None and floor.seq < enough:
            if self._stands(channel, floor):
                return floor.seq, True
            floor = self._floors[channel.id] = self._new(channel)
        if floor.scan is not None and not self._look(floor, ends):
            return 0, False
        return (enough if floor.who is None else min(floor.seq, enough)), True

    def _new(self, channel: Channel) -> _Floor:
        since_ms = self.activity.since_ms()
        scan = Scan(channel.id, channel.epoch, since_ms, channel.first - 1)
        return _Floor(channel.epoch, scan)

    def _stands(self, channel: Channel, floor: _Floor) -> bool:
        """The slowest device is where it was, and still active: nobody else can be slower."""
        assert floor.who is not None
        row = self._connection.execute(_NOW, (*floor.who, channel.id)).fetchone()
        if row is None or floor.seq < channel.first - 1:
            return False
        epoch, seq, heard = row
        there = (epoch, seq) == (floor.epoch, floor.seq)
        return bool(there and heard >= self.activity.since_ms())

    def _look(self, floor: _Floor, ends: float) -> bool:
        """At least at one piece. True: at all there is."""
        scan = floor.scan
        assert scan is not None
        while not scan.done:
            scan.look(self._connection)
            if not scan.done and time.perf_counter() > ends:
                return False
        if scan.found is not None:
            floor.lower(scan.found.user, scan.found.device, scan.found.seq)
        floor.scan = None
        return True
