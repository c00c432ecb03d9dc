"""One channel as a follower keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pushd.client.answers import ResetAnswer
from pushd.client.complete import position
from pushd.client.events import Reset
from pushd.core.positions import Cursor


@dataclass(slots=True)
class Followed:
    """``cursor``: after what was pulled; ``taken``: after what was processed; ``recorded``: what
    the server knows of it. ``want``: it is to be pulled; ``hint``: the newest that was heard."""

    cursor: Cursor
    want: bool
    taken: str
    recorded: str | None = None
    hint: tuple[str, int] | None = field(default=None)


def reset(name: str, channel: Followed, told: ResetAnswer) -> Reset:
    """Go on where the server says."""
    channel.cursor = position(told.resume)
    channel.want = True
    return Reset(name, told.resume, told.code, told.skipped, told.detail)
