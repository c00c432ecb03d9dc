"""What development mode has beside keys: some people, and a group that they are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import trio

from pushd.errors import PushdError
from pushd.hub import Hub
from pushd.settings import Settings
from pushd.settings.namespaces import Namespace

LOBBY: Final = "lobby"
PEOPLE: Final = ("alice", "bob", "carol", "dave")
# What the demo pages do with their tokens: talk to the group and to each other, tell of ticks.
SUBSCRIBE: Final = ("ticks:*",)
PUBLISH: Final = ("group:lobby", "user:*", "ticks:*")


def with_demo(settings: Settings) -> Settings:
    """Who is in a group is shown, unless the settings say something of groups themselves."""
    if "group" in settings.namespaces:
        return settings
    return replace(settings, namespaces={**settings.namespaces, "group": Namespace(presence=True)})


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


def links(base: str, token_of: Callable[[str], str], prefix: str) -> list[tuple[str, str, str]]:
    """(page, user, address) of what to open. ``base``: without the prefix of the paths."""
    given = f"&base={prefix}" if prefix else ""
    pages = [("chat", "alice"), ("chat", "bob"), ("chat", "carol"), ("inbox", "alice")]
    pages.append(("inbox", "bob"))
    return [
        (page, user, f"{base}/demo/{page}#token={token_of(user)}{given}") for page, user in pages
    ]
