"""A log in a process of its own, told by lines on stdin what to do; answers in lines of JSON.

``append N`` submits N messages with ids, one after the other's answer, to channels a and b;
``flood`` submits for ever, 64 waiting; ``churn STATES`` makes all kinds of changes for ever;
``mark SEQ`` records a read mark; ``read CHANNEL`` counts what can be read; ``end`` closes. The last
line says how it ended.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import structlog
import trio

import pushd.log.checkpoint
import pushd.log.sweeper
from pushd.core.positions import Cursor
from pushd.errors import PushdError
from pushd.log import Append, Log, LogOptions, Stored
from tests.log import churn
from tests.log.support import entry, first_of, outcome

# Marks wait for the end; checkpoints come often, so that faults meet them.
OPTIONS = LogOptions(min_free_bytes=0, write_behind_s=3600.0)
pushd.log.checkpoint.PAGES = 20
# Sweeping takes many commits, so that kills fall between them.
pushd.log.sweeper.CHUNK = 5
pushd.log.sweeper.PAUSE_S = 0.0
pushd.log.sweeper.BUDGET_S = 0.0005


def say(**values: Any) -> None:
    # One write per line: a kill never leaves half a line behind a whole one.
    os.write(1, json.dumps(values).encode() + b"\n")


def number_of(id_: str) -> int:
    return int(id_.removeprefix("id-"))


def one(number: int) -> list[Any]:
    return [entry("ab"[number % 2], number, id=f"id-{number}")]


def tell(result: list[Stored] | PushdError) -> bool:
    if isinstance(result, PushdError):
        say(refused=type(result).__name__, detail=result.detail)
        return False
    for stored in result:
        say(acked=stored.id, channel=stored.channel, epoch=stored.epoch, seq=stored.seq)
    return True


class Commands:
    def __init__(self, log: Log, start: int) -> None:
        self.log = log
        self.numbers = itertools.count(start)

    async def append(self, count: str) -> None:
        """Stops at the first refusal."""
        for _ in range(int(count)):
            entries = one(next(self.numbers))
            try:
                result = await outcome(
                    lambda done, entries=entries: self.log.submit(Append(entries, "p", done))
                )
            except PushdError as error:
                result = error
            if not tell(result):
                break

    async def flood(self) -> None:
        def again(result: list[Stored] | PushdError) -> None:
            if tell(result):
                self.log.submit(Append(one(next(self.numbers)), "p", again))

        for _ in range(64):
            self.log.submit(Append(one(next(self.numbers)), "p", again))

    async def churn(self, states: str) -> None:
        def told(channel: str, state: churn.State, answer: Any) -> None:
            if isinstance(answer, PushdError):
                say(refused=type(answer).__name__, detail=answer.detail, state=state)
            else:
                say(churned=channel, state=state)

        for channel, state in json.loads(states).items():
            life, alive, first, head, redacted = state
            at = churn.State(life, alive, first, head, tuple(redacted))
            churn.run(self.log, channel, at, told)

    async def mark(self, seq: str) -> None:
        head = self.log.heads["a"]
        self.log.record_read("alice", "a", Cursor(head.epoch, int(seq)))

    async def read(self, channel: str) -> None:
        head = self.log.heads[channel]
        found = await outcome(
            lambda done: self.log.read_messages(head, 0, head.seq, 1000, 1 << 20, done)
        )
        say(read=len(found) if isinstance(found, list) else found.detail, head=head.seq)

    async def end(self) -> None:
        self.log.close()

    async def obey(self) -> None:
        async with trio.lowlevel.FdStream(os.dup(0)) as lines:
            rest = b""
            async for data in lines:
                *complete, rest = (rest + data).split(b"\n")
                for line in complete:
                    name, *arguments = line.decode().split()
                    await getattr(self, name)(*arguments)
                    say(obeyed=name)


async def main(directory: str, start: str) -> None:
    log = Log(Path(directory), OPTIONS)

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        await log.run(task_status)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            say(started=True)
            await Commands(log, int(start)).obey()
            log.close()  # whoever commanded is gone
    except BaseException as error:
        say(ended=type(first_of(error)).__name__, detail=str(first_of(error)))
    else:
        say(ended="closed")


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    trio.run(main, *sys.argv[1:])
