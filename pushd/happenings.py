"""What happens on this node beside messages: sessions come and go, users, members of groups.

Told on the Trio loop, at once, to whoever listens; it is small work, or it is put off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import structlog

from pushd.session import Session

log = structlog.get_logger("pushd.happenings")

E = TypeVar("E")


class SessionOpened(NamedTuple):
    """It is registered; its hello is still to come."""

    session: Session


class SessionClosed(NamedTuple):
    """It is forgotten. Why: ``session.end_code`` and ``session.end_reason``."""

    session: Session


class UserOnline(NamedTuple):
    """The first sign of a user who was offline."""

    user: str


class UserOffline(NamedTuple):
    """Nothing of the user lives, and the grace time is over."""

    user: str


class Joined(NamedTuple):
    """The user is a member of the group now; it is on disk."""

    group: str
    user: str


class Left(NamedTuple):
    """The user is no longer a member of the group; it is on disk."""

    group: str
    user: str


class Happenings:
    """Who listens to what. A listener's failure is logged, and harms nobody else."""

    def __init__(self) -> None:
        self._listeners: dict[type[Any], list[Callable[[Any], None]]] = {}

    def listen(self, kind: type[E], listener: Callable[[E], None]) -> None:
        """From now on ``listener`` is called with each, in the order of their coming."""
        self._listeners.setdefault(kind, []).append(listener)

    def tell(self, happening: object) -> None:
        """Call everybody who listens to its kind."""
        for listener in self._listeners.get(type(happening), ()):
            try:
                listener(happening)
            except Exception:
                log.exception("a listener failed", happening=type(happening).__name__)
