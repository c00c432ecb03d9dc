"""Waiting for what the log answers: one callback, called later on the loop, exactly once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from pushd.errors import PushdError

T = TypeVar("T")


async def answer_of(start: Callable[[Callable[[T | PushdError], None]], None]) -> T:
    """``start`` gets the callback. Raises the error that is the answer."""
    told = trio.Event()
    results: list[T | PushdError] = []

    def done(result: T | PushdError) -> None:
        results.append(result)
        told.set()

    start(done)
    await told.wait()
    result = results[0]
    if isinstance(result, PushdError):
        raise result
    return result
