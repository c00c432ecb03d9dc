"""One timing wheel for everything that times out: silent sessions and held polls.

A heartbeat moves a deadline by one assignment; the wheel notices when the old slot comes due.
So 100,000 sessions cost no scan, and no timer each.
"""

from __future__ import annotations

import math
from typing import Final, Generic, TypeVar

# Slot of deadlines that never come; reached by no clock.
_NEVER: Final = 1 << 62


class Timed:
    """Base of what a wheel holds. In one wheel at a time; call ``super().__init__()``.

    ``deadline``: seconds on the caller's clock. Assign a LATER one freely while armed; for an
    earlier one call ``TimingWheel.arm`` again.
    """

    __slots__ = ("_slot", "deadline")

    def __init__(self) -> None:
        self.deadline: float = math.inf
        self._slot: int | None = None


class Expiring(Timed):
    """What the server's wheel holds: told when its deadline has passed."""

    __slots__ = ()

    def expire(self) -> None:
        """May come late, and once more than expected: ask before acting."""
        raise NotImplementedError


T = TypeVar("T", bound=Timed)


class TimingWheel(Generic[T]):
    """Entries expire never before their deadline, and at most one tick after it.

    The latter if ``advance`` is called at least once a tick. ``tick`` and ``now`` in seconds.
    The slots are a dict keyed by tick number, so there is no horizon and empty ones cost nothing.
    """

    __slots__ = ("_length", "_now", "_slots", "_tick")

    def __init__(self, tick: float, now: float) -> None:
        if not 0 < tick < math.inf:
            raise ValueError("tick must be a positive number of seconds")
        self._tick = tick
        self._now = math.floor(now / tick)  # the last tick whose slot was emptied
        # Inner keys are id(): entries may define equality and be unhashable.
        self._slots: dict[int, dict[int, T]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def arm(self, entry: T, deadline: float) -> None:
        """Let ``entry`` expire at ``deadline``; replaces the deadline it had."""
        if math.isnan(deadline):
            raise ValueError("deadline is not a number")
        entry.deadline = deadline
        slot = self._slot_of(deadline)
        if entry._slot is not None:
            if entry._slot <= slot:
                return  # later: the slot it is in will move it on
            self.disarm(entry)
        self._put(entry, slot)

    def disarm(self, entry: T) -> None:
        """Take ``entry`` out; nothing happens if it is not in (any more)."""
        slot = entry._slot
        if slot is None:
            return
        entries = self._slots[slot]
        del entries[id(entry)]
        if not entries:
            del self._slots[slot]
        entry._slot = None
        self._length -= 1

    def advance(self, now: float) -> list[T]:
        """Take out and return what has expired at ``now``. A clock that went back: nothing.

        Acting on one entry may end another of the list: ask the entry before acting on it.
        """
        target = math.floor(now / self._tick)
        if target <= self._now:
            return []
        due = self._due_slots(target)
        self._now = target
        expired = []
        for slot in due:
            for entry in self._slots.pop(slot).values():
                self._length -= 1
                entry._slot = None
                if entry.deadline <= now:
                    expired.append(entry)
                else:
                    self._put(entry, self._slot_of(entry.deadline))
        return expired

    def _due_slots(self, target: int) -> list[int]:
        # After a jump of the clock (a suspended machine) there are more ticks than slots.
        if target - self._now > len(self._slots):
            return sorted(slot for slot in self._slots if slot <= target)
        return [slot for slot in range(self._now + 1, target + 1) if slot in self._slots]

    def _put(self, entry: T, slot: int) -> None:
        self._slots.setdefault(slot, {})[id(entry)] = entry
        entry._slot = slot
        self._length += 1

    def _slot_of(self, deadline: float) -> int:
        ticks = deadline / self._tick
        if not ticks < _NEVER:  # also true of NaN
            return _NEVER
        # An emptied slot is not looked at again: what is overdue waits for the next.
        return max(math.ceil(ticks) if ticks > self._now else 0, self._now + 1)
