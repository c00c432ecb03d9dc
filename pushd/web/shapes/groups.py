"""About groups, and who is in them."""

from __future__ import annotations

import msgspec

from pushd.sight import State


class GroupItem(msgspec.Struct):
    """``members``: how many."""

    group: str
    members: int


class GroupPage(msgspec.Struct):
    items: list[GroupItem]
    next: str | None


class Group(msgspec.Struct, omit_defaults=True):
    """``members``: how many; ``online``: how many of them are. ``state``: as in ``UserItem``."""

    group: str
    members: int
    online: int
    state: State = "known"


class Member(msgspec.Struct, omit_defaults=True):
    """``joined``: when. ``cursor``: where the group's channel was then. ``state``: as in
    ``UserItem``."""

    user: str
    online: bool
    joined: int
    cursor: str
    state: State = "known"


class MemberPage(msgspec.Struct):
    items: list[Member]
    next: str | None


class GroupOfUser(msgspec.Struct):
    """As ``Member`` has it, and how many members the group has."""

    group: str
    members: int
    joined: int
    cursor: str


class GroupOfUserPage(msgspec.Struct):
    items: list[GroupOfUser]
    next: str | None


class MembersBody(msgspec.Struct, forbid_unknown_fields=True):
    """User ids. Nobody may be in both lists."""

    add: list[str] = []
    remove: list[str] = []


class MembersChanged(msgspec.Struct):
    """How many have in fact joined and left, and how many there are now."""

    group: str
    added: int
    removed: int
    members: int
