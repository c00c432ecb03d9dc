"""At the start: which channels hold messages that the application was not told.

Of a channel without a mark nothing was told: it begins with the first message, if its namespace was
chosen before; with the next one, if it is chosen for the first time. What was ever chosen is
remembered in the log, before anything is acked that could be lost by that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
import trio

from pushd.core.names import namespace_of
from pushd.core.namespaces import Namespaces
from pushd.core.positions import Cursor
from pushd.errors import PushdError
from pushd.log import Log, Marks
from pushd.telling.backlog import Backlog

# Whose marks they are. No user can be called so; its one device is like any that comes back.
USER: Final = ":webhook"
DEVICE: Final = "messages"
NOTE: Final = "webhook.namespaces"  # a JSON list
AT_ONCE: Final = 500  # channels whose marks are loaded in one go

log = structlog.get_logger("pushd.telling")


async def find_behind(durable: Log, namespaces: Namespaces, backlog: Backlog) -> None:
    """Puts them into ``backlog``. Raises PushdError when the log cannot be asked."""
    new = await _remember(durable, namespaces.with_webhook)
    wanted = [name for name in durable.heads if namespaces.of(name).webhook]
    for at in range(0, len(wanted), AT_ONCE):
        names = wanted[at : at + AT_ONCE]
        marks = await _asked(durable.load_marks, USER, DEVICE, names)
        for name in names:
            _place(durable, backlog, name, marks[name], skip=namespace_of(name) in new)
    if backlog:
        log.info("messages to be told", channels=len(backlog))


async def _remember(durable: Log, chosen: frozenset[str]) -> frozenset[str]:
    """Answers those that are chosen for the first time."""
    note = await _asked(durable.read_note, NOTE)
    known = frozenset(msgspec.json.decode(note, type=list[str]) if note is not None else ())
    new = chosen - known
    if new:
        text = msgspec.json.encode(sorted(known | chosen)).decode()
        await _asked(durable.write_note, NOTE, text)
        log.info("the application is told of messages from now on", namespaces=sorted(new))
    return new


def _place(durable: Log, backlog: Backlog, name: str, marks: Marks, *, skip: bool) -> None:
    head = durable.heads.get(name)
    if head is None:
        return
    newest = Cursor(head.epoch, head.seq)
    if skip:
        durable.record_delivered(USER, DEVICE, name, newest)
    elif marks.delivered != newest:
        backlog.add(name, marks.delivered or Cursor(head.epoch, 0))


async def _asked(ask: Callable[..., None], *arguments: Any) -> Any:
    """What the log answers to a callback. Raises PushdError."""
    told = trio.Event()
    results: list[Any] = []

    def done(result: Any) -> None:
        results.append(result)
        told.set()

    ask(*arguments, done)
    await told.wait()  # the log always answers
    if isinstance(results[0], PushdError):
        raise results[0]
    return results[0]
