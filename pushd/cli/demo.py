"""The demo pages of development mode: what they need of the settings, and links that sign in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pushd.settings import Settings
from pushd.settings.namespaces import Namespace

# What the pages do with their tokens: talk to the group and to each other, tell of ticks.
SUBSCRIBE: Final = ("ticks:*",)
PUBLISH: Final = ("group:lobby", "user:*", "ticks:*")


def with_demo(settings: Settings) -> Settings:
    """Who is in a group is shown, unless the settings say something of groups themselves."""
    if "group" in settings.namespaces:
        return settings
    return replace(settings, namespaces={**settings.namespaces, "group": Namespace(presence=True)})


def links(base: str, token_of: Callable[[str], str], prefix: str) -> list[tuple[str, str, str]]:
    """(page, user, address) of what to open. ``base``: without the prefix of the paths."""
    given = f"&base={prefix}" if prefix else ""
    pages = [("chat", "alice"), ("chat", "bob"), ("chat", "carol"), ("inbox", "alice")]
    pages.append(("inbox", "bob"))
    return [
        (page, user, f"{base}/demo/{page}#token={token_of(user)}{given}") for page, user in pages
    ]
