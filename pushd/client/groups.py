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


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner
