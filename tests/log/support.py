"""A log under test: opened in a nursery, its callbacks turned into something to await."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

import trio

from pushd.core.messages import Draft
from pushd.core.pulling import Position
from pushd.errors import PushdError
from pushd.log import Append, Entry, Log, LogOptions, Marks, Stored
from pushd.log.crossing import Signal
from pushd.log.startup import Opened, open_log
from pushd.log.store import connect_reader

T = TypeVar("T")

# No free space is asked for: the machine that runs the tests may be short of it.
OPTIONS = LogOptions(min_free_bytes=0)


@asynccontextmanager
async def opened(directory: Path, options: LogOptions = OPTIONS) -> AsyncIterator[Log]:
    """A log that runs; closed as ``pushctl serve`` closes it. A break-down is raised here."""
    log = Log(directory, options)
    error: BaseException | None = None  # never a cancellation: the deadline must be heard
    with trio.fail_after(300):
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(log.run)
                yield log
                log.close()
        except ExceptionGroup as group:
            error = first_of(group)
    if error is not None:
        raise error


def open_and_close(directory: Path) -> None:
    """As a start and a stop in between nobody did anything."""
    shut(open_log(directory, OPTIONS))


def shut(log: Opened) -> None:
    log.reader.close()
    log.store.close()
    log.lock.release()


def first_of(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def answer(ask: Callable[[Callable[[T | PushdError], None]], None]) -> T:
    """Calls with a ``done``; waits for what it is called with, raises it when it is an error."""
    result = await outcome(ask)
    if isinstance(result, PushdError):
        raise result
    return result


async def outcome(ask: Callable[[Callable[[T | PushdError], None]], None]) -> T | PushdError:
    answers: list[T | PushdError] = []
    event = trio.Event()

    def done(value: T | PushdError) -> None:
        answers.append(value)
        event.set()

    ask(done)
    assert not answers, "answered before the call returned"
    await event.wait()
    assert len(answers) == 1
    return answers[0]


def entry(channel: str, data: Any = "hi", **draft: Any) -> Entry:
    return Entry(channel, Draft(json.dumps(data).encode(), **draft))


async def append(log: Log, *entries: Entry, publisher: str = "user:alice") -> list[Stored]:
    return await answer(lambda done: log.submit(Append(list(entries), publisher, done)))


async def read(
    log: Log, channel: str, after: int = 0, limit: int = 1000, max_bytes: int = 1 << 20
) -> list[dict[str, Any]]:
    head = log.heads[channel]
    messages = await answer(
        lambda done: log.read_messages(head, after, head.seq, limit, max_bytes, done)
    )
    return [json.loads(message) for message in messages]


async def marks(log: Log, user: str, device: str | None, *channels: str) -> dict[str, Marks]:
    return await answer(lambda done: log.load_marks(user, device, list(channels), done))


async def trim(log: Log, channel: str, before: int) -> Position:
    return await answer(lambda done: log.trim(channel, before, done))


async def delete(log: Log, channel: str) -> Position:
    return await answer(lambda done: log.delete(channel, done))


async def redact(log: Log, channel: str, seq: int) -> Position:
    return await answer(lambda done: log.redact(channel, seq, done))


async def swept(log: Log) -> None:
    """Until nothing waits to be swept, and the loop has been told of it."""
    await idle(log)
    while log.statistics().garbage:
        await idle(log)
    await idle(log)


async def upkept(log: Log) -> None:
    """Until the sweeper has nothing to do, whatever that was."""
    await idle(log)
    engine = log._engine
    assert engine is not None
    while engine.writer._sweeper.due is not None:
        await idle(log)
    await idle(log)


async def written(log: Log) -> None:
    """Until no mark waits to be written."""
    log._put(Signal.FLUSH)
    await idle(log)  # none may be waiting because the writer has them in its hands
    while log.statistics().dirty_marks:
        await idle(log)


async def idle(log: Log) -> None:
    """The writer has done, and the loop heard, all that was asked for until now."""
    await outcome(lambda done: log.delete("no such channel", done))


def on_disk(directory: Path, channel: str | None = None) -> list[Any]:
    """Seqs of a channel, or (channel, seq) of all, as they lie on the disk; '' is nobody's."""
    with closing(connect_reader(directory)) as connection:
        rows = connection.execute(
            "SELECT coalesce(name, ''), seq FROM messages AS m LEFT JOIN channels AS c"
            " ON c.log_id = m.log_id ORDER BY name, m.log_id, seq"
        ).fetchall()
    return rows if channel is None else [seq for name, seq in rows if name == channel]
