"""A connection that brings frames, and whom its news are told: what the hint session is made of."""

from __future__ import annotations

from typing import Protocol

from pushd.client.answers import Frame
from pushd.client.ladder import TransportKind


class LinkLost(Exception):
    """The link ended or could not be made. ``code``: the close code, if there was one.

    ``blocked``: the server is there (or something in between answers), but this kind of connection
    does not get through.
    """

    def __init__(
        self,
        reason: str,
        code: int | None = None,
        retry_after_s: float | None = None,
        *,
        blocked: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.retry_after_s = retry_after_s
        self.blocked = blocked


class Link(Protocol):
    """JSON texts from the server and, if ``two_way``, to it; both raise LinkLost."""

    two_way: bool

    async def receive(self) -> str:
        """The next text."""
        ...

    async def send(self, text: str) -> None:
        """Returns when it is on its way."""


class Listener(Protocol):
    """Whom the hint session tells; all of these return at once."""

    def places(self) -> dict[str, str]:
        """The channels to subscribe, with their cursors."""

    def live(self, kind: TransportKind, hello: Frame, left_out: frozenset[str]) -> None:
        """Hints arrive from here on. ``left_out``: channels whose heads come separately."""

    def subscribed(self, frame: Frame) -> None:
        """Heads of channels that were subscribed, or that came into being."""

    def unsubscribed(self, frame: Frame) -> None:
        """Channels that this user may not read any longer: a group that was left, say."""

    def hinted(self, frame: Frame) -> None:
        """A channel is at a seq."""

    def was_read(self, frame: Frame) -> None:
        """Another session of this user has set its read mark."""

    def lost(self, reason: str, *, was_live: bool) -> None:
        """There are no hints for now. ``was_live``: until now there were."""

    def ended(self, error: Exception) -> None:
        """The server does not want this client back, or it has no credential for it."""
