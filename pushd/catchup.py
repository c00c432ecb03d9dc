"""Before a node that follows another one's log judges a client's position: is it new enough?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pushd.core.positions import parse_cursor
from pushd.errors import BadRequest, PushdError, Reset
from pushd.log import Log


def caught_up(
    log: Log, cursors: Mapping[str, str], then: Callable[[PushdError | None], None]
) -> None:
    """Calls ``then``: at once where no cursor (in wire form) is ahead of this node, else when the
    owner of the log was asked; with why it could not be."""
    if log.mirrors:
        ahead = [channel for channel, text in cursors.items() if _is_ahead(log, channel, text)]
        if ahead:
            log.catch_up(ahead, then)
            return
    then(None)


def judged(error: PushdError, away: PushdError | None) -> PushdError:
    """Only the owner's word makes a reset: without it, that it is away is what is told."""
    return away.again() if away is not None and isinstance(error, Reset) else error


def _is_ahead(log: Log, channel: str, text: str) -> bool:
    try:
        return log.behind(channel, parse_cursor(text))
    except BadRequest:
        return False  # said by who judges it
