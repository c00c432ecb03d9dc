"""Groups: who is in them, since when; and whom a change of members concerns at this moment."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from functools import partial
from typing import Final

import trio

from pushd.answers import answer_of
from pushd.core.names import check_user
from pushd.errors import BadRequest, NotFound, TooLarge
from pushd.groups import GROUP
from pushd.log import Membership
from pushd.pace import Pace
from pushd.web.admin.sessions import end_group_elsewhere, end_user
from pushd.web.call import Call, page, searching
from pushd.web.shapes.groups import (
    Group,
    GroupItem,
    GroupOfUser,
    GroupOfUserPage,
    GroupPage,
    Member,
    MemberPage,
    MembersBody,
    MembersChanged,
)
from pushd.web.shapes.people import Kicked

MOST: Final = 10_000  # users in one change
CHUNK: Final = 500  # users looked at between two checkpoints


def _group(call: Call) -> str:
    """The group of the path. Raises Forbidden, whether there is such a group or not."""
    group: str = call.args["group"]
    call.check_channel(GROUP + group)
    return group


async def list_groups(call: Call) -> GroupPage:
    groups, limit = call.hub.log.groups, call.args["limit"]
    async with searching:
        names = await trio.to_thread.run_sync(_search, call, groups.names(), limit + 1)
    found, following = page(names, limit)
    items = [GroupItem(name, len(groups.members(name))) for name in found]
    return GroupPage(items, following)


def _search(call: Call, names: list[str], count: int) -> list[str]:
    prefix, after = call.args["prefix"], call.args["next"]
    wanted = (
        name
        for name in names
        if name > after and name.startswith(prefix) and call.covers(GROUP + name)
    )
    return heapq.nsmallest(count, wanted)


async def get_group(call: Call) -> Group:
    group = _group(call)
    members = call.hub.log.groups.members(group)
    if not members:
        raise NotFound(f"There is no group {group!r}: nobody is in it.")
    async with searching:
        online = set(call.hub.presence.users())
        count = await trio.to_thread.run_sync(_common, list(members), online)
    return Group(group, len(members), count, call.hub.presence.state)


def _common(members: list[str], online: Collection[str]) -> int:
    return sum(user in online for user in members)


async def delete_group(call: Call) -> MembersChanged:
    group = _group(call)
    before = len(call.hub.log.groups.members(group))
    await answer_of(partial(call.hub.log.delete_group, group))
    await call.hub.membership.settled()
    return MembersChanged(group, 0, before, 0)


async def list_members(call: Call) -> MemberPage:
    group, limit = _group(call), call.args["limit"]
    read = partial(call.hub.log.read_members, group, call.args["next"], limit + 1)
    found = await answer_of(read)
    _, following = page([each.name for each in found], limit)
    items = [_member(call, each) for each in found[:limit] if call.covers_user(each.name)]
    return MemberPage(items, following)


def _member(call: Call, known: Membership) -> Member:
    online = call.hub.presence.is_online(known.name)
    return Member(known.name, online, known.at, str(known.joined), call.hub.presence.state)


async def get_member(call: Call) -> Member:
    group, user = _group(call), call.args["user"]
    call.check_user(user)
    found = await answer_of(partial(call.hub.log.read_groups, user, [group]))
    if not found:
        raise NotFound(f"User {user!r} is not in group {group!r}.")
    return _member(call, found[0]._replace(name=user))


async def add_member(call: Call) -> MembersChanged:
    return await _change(call, [call.args["user"]], [])


async def remove_member(call: Call) -> MembersChanged:
    return await _change(call, [], [call.args["user"]])


async def change_members(call: Call) -> MembersChanged:
    body: MembersBody = call.body
    count = len(body.add) + len(body.remove)
    if count > MOST:
        raise TooLarge(f"{count} users; at most {MOST} at once.")
    return await _change(call, body.add, body.remove)


async def _change(call: Call, add: list[str], remove: list[str]) -> MembersChanged:
    """Answers when it is on disk, and all who are connected have been told."""
    group = _group(call)
    for at, user in enumerate((*add, *remove), 1):
        try:
            call.check_user(check_user(user))
        except BadRequest as error:
            raise BadRequest(f"User {at} of {len(add) + len(remove)}: {error.detail}") from None
        if at % CHUNK == 0:
            await trio.lowlevel.checkpoint()
    changed = await answer_of(partial(call.hub.log.change_members, group, add, remove))
    members = len(call.hub.log.groups.members(group))
    await call.hub.membership.settled()
    return MembersChanged(group, len(changed.joined), len(changed.left), members)


async def kick_group(call: Call) -> Kicked:
    """Sessions of members of this moment. Whoever leaves or comes meanwhile need not be among
    them."""
    kicked, group = 0, _group(call)
    members = list(call.hub.log.groups.members(group))
    whole = call.covers_user(None)
    if whole:  # other nodes know the members as well
        end_group_elsewhere(call, group)
    pace = Pace()
    for user in members:
        if call.covers_user(user):
            kicked += end_user(call, user, elsewhere=not whole)
        await pace.rest()
    return Kicked(kicked)


async def list_groups_of_user(call: Call) -> GroupOfUserPage:
    user, after, limit = call.args["user"], call.args["next"], call.args["limit"]
    call.check_user(user)
    groups = call.hub.log.groups
    names = [name for name in groups.of(user) if name > after and call.covers(GROUP + name)]
    found, following = page(names[: limit + 1], limit)
    known = await answer_of(partial(call.hub.log.read_groups, user, found))
    items = [
        GroupOfUser(each.name, len(groups.members(each.name)), each.at, str(each.joined))
        for each in sorted(known)
    ]
    return GroupOfUserPage(items, following)
