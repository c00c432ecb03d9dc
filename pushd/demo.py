"""Whom the demo pages of development mode show: some people, and a group that they are in."""

from __future__ import annotations

from typing import Final

import trio

from pushd.errors import PushdError
from pushd.hub import Hub

LOBBY: Final = "lobby"
PEOPLE: Final = ("alice", "bob", "carol", "dave")


async def furnish(hub: Hub) -> None:
    """Once: the group, with everybody in it. Raises PushdError."""
    if hub.log.groups.members(LOBBY):
        return
    done = trio.Event()
    failed: list[PushdError] = []

    def changed(result: object) -> None:
        if isinstance(result, PushdError):
            failed.append(result)
        done.set()

    hub.log.change_members(LOBBY, PEOPLE, (), changed)
    await done.wait()
    for error in failed:
        raise error
