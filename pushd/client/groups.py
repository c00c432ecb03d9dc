"""Exception groups come from nurseries; a caller that sees no nursery should see no group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


@contextmanager
def one_exception() -> Iterator[None]:
    """Raise a group's only exception by itself. Cancellations do not count beside another."""
    try:
        yield
    except BaseExceptionGroup as group:
        causes = [leaf for leaf in _leaves(group) if not isinstance(leaf, trio.Cancelled)]
        if len(causes) != 1:
            raise
        raise causes[0] from causes[0].__cause__


@contextmanager
def body_exception() -> Iterator[None]:
    """Around one nursery with somebody else's code in it: what that raises comes out as it was,
    also if it is a group of its own."""
    try:
        yield
    except BaseExceptionGroup as group:
        causes = [each for each in group.exceptions if not _is_cancelled(each)]
        if len(causes) != 1:
            raise
        raise causes[0] from causes[0].__cause__


def _is_cancelled(error: BaseException) -> bool:
    inner = _leaves(error) if isinstance(error, BaseExceptionGroup) else (error,)
    return all(isinstance(leaf, trio.Cancelled) for leaf in inner)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner
