"""One live session, as the registry, fan-out and the wheel see it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from typing import Any

import trio

from pushd.core.frames import frame
from pushd.core.permissions import Identity
from pushd.core.topics import Link, Subscription
from pushd.core.wheel import Expiring


def _new_id() -> str:
    """Commands take one that begins with a hyphen for an option."""
    while (made := secrets.token_urlsafe(12)).startswith("-"):
        pass
    return made


class Session(Expiring):
    """One live connection, or client that polls, of one user and device. Transports derive from
    it. ``counted``: it is one of those of which a user may have so many. ``node``: the other node
    that it lives on, which tells it what it is to know."""

    transport = "none"
    counted = True
    node: str | None = None
    subscription: type[Subscription] = Subscription  # how fan-out sees it
    __slots__ = (
        "address",
        "closing",
        "device",
        "end_code",
        "end_reason",
        "greeted",
        "id",
        "identity",
        "last_seen",
        "pending",
        "since",
        "subscriptions",
        "user",
    )

    def __init__(self, identity: Identity, device: str | None, address: str) -> None:
        super().__init__()
        self.greeted = False  # hello comes before all else
        self.closing = False  # from its bye on
        # As a close code and in words; of a connection that breaks there is no more to say.
        self.end_code = 1006
        self.end_reason = "lost"
        self.id = _new_id()
        self.identity = identity
        self.user = identity.user
        self.device = device
        self.address = address
        self.since = time.time()
        self.last_seen = trio.current_time()
        self.subscriptions: dict[str, Subscription] = {}
        self.pending: list[Subscription] = []

    @property
    def link(self) -> Link:
        """Where hints go."""
        raise NotImplementedError

    @property
    def following(self) -> Collection[str]:
        """The channels that it follows."""
        return self.subscriptions

    def expire(self) -> None:
        """The wheel found the deadline passed: heartbeat missed or token run out."""
        raise NotImplementedError

    def reap(self) -> None:
        """An operator asks that it ends now if it was silent for too long."""
        self.expire()

    def ends(self, code: int, reason: str) -> None:
        """Why it ends: what was said first."""
        if self.end_code == 1006:
            self.end_code, self.end_reason = code, reason

    def bye(
        self, code: int, reason: str, retry_after_ms: int = 0, *, reconnect: bool | None = None
    ) -> None:
        """Say goodbye and close; returns at once. ``reconnect`` None: as the code has it."""
        raise NotImplementedError

    def has_news(self) -> None:
        """There is a new channel for it, and no hello or subscription to tell of it."""

    def send(self, frame: bytes) -> None:
        """Write a frame of which each matters (no hint)."""
        raise NotImplementedError

    def tell(self, type_: str, **members: Any) -> None:
        """``send`` in the transport's own bytes."""
        self.send(frame(type_, **members))
