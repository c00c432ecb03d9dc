"""Members of groups, changed as the application does it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tests.log.support import answer
from tests.support.app import Server


async def change(
    server: Server, group: str, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> None:
    """Returns when it is on disk, and everybody who is connected has been told."""
    await answer(partial(server.hub.log.change_members, group, add, remove))
    await server.hub.membership.settled()


async def join(server: Server, group: str, *users: str) -> None:
    await change(server, group, add=users)


async def leave(server: Server, group: str, *users: str) -> None:
    await change(server, group, remove=users)
