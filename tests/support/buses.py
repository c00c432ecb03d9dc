"""Buses that run over a Redis of the test, and what they were told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from pushd.cluster.bus.bus import Bus
from pushd.cluster.bus.texts import Hint, OwnerRecord
from pushd.nodetokens import NodeTokens
from tests.support.redis import PATIENCE

KEY = b"the key that the nodes share"


class Member:
    """A node's bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.hints: list[Hint] = []
        self.owners: list[OwnerRecord] = []
        self.gaps = self.losses = 0
        bus.on_hint.append(self.hints.append)
        bus.on_owner.append(self.owners.append)
        bus.on_gap.append(self._gap)
        bus.on_lost.append(self._lost)

    def _gap(self) -> None:
        self.gaps += 1

    def _lost(self) -> None:
        self.losses += 1

    def heads(self) -> dict[str, tuple[str, int]]:
        """What the newest hints say."""
        return {channel: (epoch, seq) for hint in self.hints for channel, epoch, seq in hint.heads}


async def until(check: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE):
        while not check():
            await trio.sleep(0.005)


def make(url: str, name: str, **options: Any) -> Bus:
    """Quick in what it does now and then; who is only slow is not taken for lost. ``options``: the
    bus's."""
    settings = {"timeout_s": PATIENCE, "tick_s": 0.05, **options}
    return Bus(url, "t", NodeTokens(KEY, name), name, **settings)


@asynccontextmanager
async def running(
    url: str, *names: str, connected: bool = True, **options: Any
) -> AsyncIterator[list[Member]]:
    """Buses of nodes with these names; connected, unless that is not waited for."""
    nodes = [Member(make(url, name, **options)) for name in names]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.bus.run)
        if connected:
            await until(lambda: all(node.gaps for node in nodes))
        yield nodes
        nursery.cancel_scope.cancel()
