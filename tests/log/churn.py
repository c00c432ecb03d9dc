"""Channels that are written to, cut, redacted and deleted for ever, so that each step is known.

Every channel is a chain of steps, one after the other's answer; which step follows depends on the
state alone. So whoever knows what was acked knows the two states that a kill may leave.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from pushd.log import Append, Entry, Log
from tests.log.support import entry

CHANNELS = "cdefgh"
# Some of them take several pages.
PADDING = "x" * 3000


class State(NamedTuple):
    """``life``: 0 before the first. ``alive``: not deleted. ``redacted``: seqs of this life."""

    life: int = 0
    alive: bool = False
    first: int = 1
    head: int = 0
    redacted: tuple[int, ...] = ()


class Step(NamedTuple):
    name: str
    argument: int
    after: State


def next_step(channel: str, state: State) -> Step:
    source = random.Random(f"{channel}{state}")
    life, alive, first, head, redacted = state
    kind = source.randrange(100) if alive else 0
    if kind < 60:
        count = source.choice([1, 2, 3, 40])
        if not alive:
            return Step("append", count, State(life + 1, True, 1, count))
        return Step("append", count, state._replace(head=head + count))
    if kind < 80:
        before = source.randint(first, head + 1)
        kept = tuple(seq for seq in redacted if seq >= before)
        return Step("trim", before, state._replace(first=before, redacted=kept))
    if kind < 92 and first <= head:
        seq = source.randint(first, head)
        return Step("redact", seq, state._replace(redacted=tuple(sorted({*redacted, seq}))))
    return Step("delete", 0, State(life))


def data_of(channel: str, life: int, seq: int) -> str:
    return f"{channel}{life}.{seq}" + PADDING[: seq * 997 % 3000]


def entries_of(channel: str, step: Step) -> list[Entry]:
    life, head = step.after.life, step.after.head
    return [
        entry(channel, data_of(channel, life, seq), id=f"{life}.{seq}")
        for seq in range(head - step.argument + 1, head + 1)
    ]


def submit(log: Log, channel: str, step: Step, done: Callable[[Any], None]) -> None:
    if step.name == "append":
        log.submit(Append(entries_of(channel, step), "p", done))
    elif step.name == "delete":
        log.delete(channel, done)
    else:
        getattr(log, step.name)(channel, step.argument, done)


def run(log: Log, channel: str, state: State, tell: Callable[[str, State, Any], None]) -> None:
    """For ever; ``tell`` is called with the state after each step and its answer."""
    step = next_step(channel, state)

    def done(answer: Any) -> None:
        tell(channel, step.after, answer)
        run(log, channel, step.after, tell)

    submit(log, channel, step, done)
