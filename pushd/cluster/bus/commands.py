"""What waits to be said to Redis, between the loop and the thread that says it. Bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pushd.cluster.bus.piles import HintPile
from pushd.cluster.bus.texts import Hint
from pushd.errors import NotReady

Command = tuple[str | bytes | int, ...]

MAX_BYTES: Final = 32 * 1024 * 1024
BATCH_COMMANDS: Final = 1000


class RedisAway(NotReady):
    """Redis did not answer, or refused."""

    cure = "Try again; 'GET /v1/nodes' and the log say what is wrong with Redis."

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after=1)


class Work(NamedTuple):
    """Commands that go out in one piece. ``done`` is called on the loop, with a reply for each
    (a ``redis.ResponseError`` for one that was refused), or with why there is none."""

    commands: Sequence[Command]
    done: Callable[[list[Any] | RedisAway], None] | None = None


class CommandQueue:
    """Open while Redis is there: what comes otherwise is refused at once, so nothing piles up."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._works: deque[tuple[Work, int]] = deque()
        self._bytes = 0
        self._pile = HintPile()
        self._open = self._ending = False

    def put(self, work: Work) -> bool:
        """False: it was not taken, and ``done`` will not be called."""
        size = sum(
            len(part)
            for command in work.commands
            for part in command
            if isinstance(part, str | bytes)
        )
        with self._changed:
            if not self._open or self._bytes + size > MAX_BYTES:
                return False
            self._works.append((work, size))
            self._bytes += size
            self._changed.notify()
        return True

    def probe(self, work: Work) -> None:
        """Put it also while shut: is the thread's connection of any use?"""
        with self._changed:
            self._works.append((work, 0))
            self._changed.notify()

    def put_hint(self, hint: Hint) -> int:
        """How many heads will not be said, of this hint and older ones."""
        with self._changed:
            if not self._open:
                return len(hint.heads)
            self._pile.add(hint)
            self._changed.notify()
            forgotten, self._pile.forgotten = self._pile.forgotten, 0
        return forgotten

    def take(self, seconds: float) -> tuple[list[Work], list[Hint]] | None:
        """Waits so long at most. None: there will be nothing more."""
        with self._changed:
            if not self._works and not self._pile:
                if self._ending:
                    return None
                self._changed.wait(seconds)
            works: list[Work] = []
            commands = 0
            while self._works and commands < BATCH_COMMANDS:
                work, size = self._works.popleft()
                works.append(work)
                self._bytes -= size
                commands += len(work.commands)
            return works, self._pile.take()

    def open(self) -> None:
        """Redis is there."""
        with self._changed:
            self._open = not self._ending

    def shut(self) -> tuple[list[Work], int]:
        """Redis is not there: gives back what waited, and how many heads are forgotten."""
        with self._changed:
            self._open = False
            works = [work for work, _ in self._works]
            self._works.clear()
            self._bytes = 0
            self._pile.clear()
            forgotten, self._pile.forgotten = self._pile.forgotten, 0
        return works, forgotten

    def end(self) -> None:
        """What waits is still said; nothing else is taken."""
        with self._changed:
            self._open, self._ending = False, True
            self._changed.notify()
