"""The node that owns the log, as this one knows it, and the way to it."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable
from typing import Final, Protocol

import trio

from pushd.cluster.bus.texts import OwnerRecord
from pushd.cluster.peer import CONNECTIONS, Answer, Peer
from pushd.cluster.refusals import refusal
from pushd.errors import NotReady, OwnerAway, PushdError, Unauthorized

WAITS: Final = 64  # connections of questions that the owner may take its time for
ASK_S: Final = 5.0  # how long a question may take unless it is said


class Minting(Protocol):
    """As much of ``NodeTokens`` as is needed to ask another node."""

    def mint(self, audience: str, now: float) -> str:
        """A bearer credential for one generation of an owner. ``now``: Unix seconds."""


class Upstream:
    """One owner at a time, always of the latest generation that was heard of.

    ``on_lost`` is called when it says that it is of another generation, with that one, or that it
    is no owner any more (None).
    """

    def __init__(self, node: str, tokens: Minting, context: ssl.SSLContext | None = None) -> None:
        """``context``: whom to trust with https; None: as the system does."""
        self.node = node
        self.record: OwnerRecord | None = None
        self.reached = -math.inf  # when it has answered last, on Trio's clock
        self.on_lost: Callable[[str | None], None] = lambda generation: None
        self._tokens = tokens
        self._context = context
        self._peer: Peer | None = None
        self._waits: Peer | None = None  # for questions that take long by their nature

    @property
    def generation(self) -> str:
        """Of the owner that is asked; empty: none was heard of yet."""
        return "" if self.record is None else self.record.generation

    def turn_to(self, record: OwnerRecord) -> bool:
        """Ask this one from now on; whether it is another one. One that is older is not."""
        known = self.record
        if known is not None:
            if record.generation < known.generation:
                return False
            if (record.generation, record.url) == (known.generation, known.url):
                return False
            self.close()
        self.record = record
        self._peer = self._made(record, CONNECTIONS)
        self._waits = self._made(record, WAITS)
        return True

    def _made(self, record: OwnerRecord, connections: int) -> Peer:
        return Peer(
            record.url,
            lambda: self._tokens.mint(record.generation, time.time()),
            connections=connections,
            context=self._context,
        )

    async def ask(
        self, path: str, body: bytes, *, deadline: float | None = None, method: str = "POST"
    ) -> bytes:
        """The answer's body. ``deadline`` on Trio's clock.

        Raises OwnerAway, and what the owner refuses it with.
        """
        if deadline is None:
            deadline = trio.current_time() + ASK_S
        return await self._ask(self._peer, method, path, body, deadline)

    async def wait(self, path: str, body: bytes, *, deadline: float) -> bytes:
        """As ``ask``, for what the owner may take its time for: it holds up nothing else."""
        return await self._ask(self._waits, "POST", path, body, deadline)

    async def _ask(
        self, peer: Peer | None, method: str, path: str, body: bytes, deadline: float
    ) -> bytes:
        generation = self.generation
        if peer is None:
            raise OwnerAway("No node is known that owns the log.", retry_after=1)
        answer = await peer.exchange(method, path, body, deadline=deadline)
        if 200 <= answer.status < 300:
            self.reached = trio.current_time()
            return answer.body
        error = refusal(answer.status, answer.body)
        other = error.extra.get("generation")
        named = error.status == 409 and "generation" in error.extra
        if named or isinstance(error, Unauthorized):
            if generation == self.generation:
                self.on_lost(other if isinstance(other, str) else None)
            raise _refused(_why(error), answer)
        if isinstance(error, NotReady) and answer.doubled:
            raise _refused(error.detail, answer)
        raise error

    def close(self) -> None:
        """Nothing is asked any more."""
        for peer in (self._peer, self._waits):
            if peer is not None:
                peer.close()


def _refused(why: str, answer: Answer) -> OwnerAway:
    """Nothing of it was done, unless it had arrived before."""
    error = OwnerAway(why, retry_after=1)
    error.sent = answer.doubled
    return error


def _why(error: PushdError) -> str:
    if isinstance(error, Unauthorized):  # the clocks, or the keys
        return f"The node that owns the log does not take this one: {error.detail} {error.cure}"
    return "The node that owns the log has changed."
