"""What following needs of a server."""

from __future__ import annotations

from typing import Protocol

from pushd.client.answers import MultiPulled, Pulled
from pushd.client.ask import Ask
from pushd.client.hints import Connector


class Transport(Connector, Protocol):
    """Links for hints, and requests."""

    async def pull(self, ask: Ask, limit: int, wait_s: float) -> MultiPulled:
        """``wait_s``: how long the server may hold it. Raises PushdError."""
        ...

    async def ack(self, cursors: dict[str, str]) -> None:
        """Records these as delivered. Raises PushdError."""

    async def locate(self, channel: str) -> Pulled:
        """A page from where the server says that this device should begin; records nothing."""
