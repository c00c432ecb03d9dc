"""What the owner's journal remembers: names of what has changed, looked up when it is told."""

from __future__ import annotations

from typing import NamedTuple

from pushd.cluster.wire import Bye, ReadMark


class Moved(NamedTuple):
    """A channel is not what it was. ``ended``: the life that ended, if no other has begun."""

    channel: str
    ended: str | None = None


class Touched(NamedTuple):
    """These users have joined or left the group."""

    group: str
    users: tuple[str, ...]


class Standing(NamedTuple):
    """A user, or token, was revoked, or is no longer."""

    kind: str
    value: str


Item = Moved | Touched | Standing | ReadMark | Bye
