"""What administrators do to a channel, done to the log of the node under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from pushd.core.pulling import Position
from pushd.errors import PushdError
from pushd.log import Log
from tests.support.http import patience


async def _done(request: Callable[..., None], *arguments: Any) -> Position:
    """Raises the PushdError that refused it."""
    answers: list[Position | PushdError] = []
    told = trio.Event()

    def done(answer: Position | PushdError) -> None:
        answers.append(answer)
        told.set()

    request(*arguments, done)
    with patience():
        await told.wait()
    if isinstance(answers[0], PushdError):
        raise answers[0]
    return answers[0]


async def trim(log: Log, channel: str, before: int) -> Position:
    """The messages from seq ``before`` on stay."""
    return await _done(log.trim, channel, before)


async def redact(log: Log, channel: str, seq: int) -> Position:
    return await _done(log.redact, channel, seq)


async def delete(log: Log, channel: str) -> Position:
    return await _done(log.delete, channel)
