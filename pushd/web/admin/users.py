"""Users: who is online, how far each device is, and forgetting somebody."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import trio

from pushd.answers import answer_of
from pushd.core.names import inbox_owner
from pushd.core.permissions import ADMIN, READ
from pushd.core.pulling import Position
from pushd.log import Head, Marks, UserMarks
from pushd.web.admin.lags import behind
from pushd.web.admin.sessions import KICKED, session_items, wall_ms
from pushd.web.call import Call, page, searching
from pushd.web.operation import Answer, Operation
from pushd.web.params import LIMIT, NEXT, ONLINE, USER
from pushd.web.shapes.people import DeviceState, Erased, User, UserChannel, UserItem, UserPage


class _Wanted(NamedTuple):
    after: str
    online: bool | None
    most: int


async def list_users(call: Call) -> UserPage:
    """Those who are online, and those with an inbox in the log."""
    hub, args = call.hub, call.args
    limit = args["limit"]
    search = _Wanted(args["next"], args["online"], limit + 1)
    async with searching:
        live = set(hub.presence.users())
        channels = [] if search.online else list(hub.log.heads)
        names = await trio.to_thread.run_sync(_search, call, search, live, channels)
    found, following = page(names, limit)
    return UserPage([_item(call, user) for user in found], following)


def _search(call: Call, search: _Wanted, live: set[str], channels: list[str]) -> list[str]:
    owners = {owner for name in channels if (owner := inbox_owner(name)) is not None}
    known: Iterable[str] = owners - live if search.online is False else owners | live
    wanted = (user for user in known if user > search.after and call.covers_user(user))
    return heapq.nsmallest(search.most, wanted)


def _item(call: Call, user: str) -> UserItem:
    hub = call.hub
    sessions = hub.sessions.of_user(user)
    seen = max((each.last_seen for each in sessions), default=hub.presence.left_at(user))
    known = None if seen is None else wall_ms(seen)
    online = hub.presence.is_online(user)
    return UserItem(user, online, len(sessions), known, hub.presence.state)


async def get_user(call: Call) -> User:
    user = call.args["user"]
    call.check_user(user)
    found = await answer_of(partial(call.hub.log.read_user, user))
    for own in call.hub.sessions.own_channels(user):
        marks = found.setdefault(own, UserMarks())
        marks.since = marks.since or call.hub.log.groups.since(own, user)
    item = _item(call, user)
    sessions = await session_items(call, call.hub.sessions.of_user(user))
    heads = call.hub.log.heads
    channels = [
        _channel(call, heads[name], marks)
        for name, marks in sorted(found.items(), key=itemgetter(0))
        if name in heads and call.covers(name)
    ]
    return User(user, item.online, item.last_seen, sessions, channels, item.state)


def _channel(call: Call, head: Head, marks: UserMarks) -> UserChannel:
    at = Position(head.epoch, head.first, head.seq)
    known = Marks(None, marks.read, marks.since)
    return UserChannel(
        channel=head.channel,
        epoch=head.epoch,
        first=head.first,
        head=head.seq,
        read=None if marks.read is None else str(marks.read),
        unread=call.hub.sessions.heads.unread(call.args["user"], head.channel, at, known),
        devices=[
            DeviceState(device, str(cursor), behind(cursor, head))
            for device, cursor in sorted(marks.delivered.items())
        ],
    )


async def erase(call: Call) -> Erased:
    """Sessions go first: they would have new cursors recorded."""
    user = call.args["user"]
    ended = call.hub.sessions.end_user(user, KICKED, "erased")
    erased = await answer_of(partial(call.hub.log.erase_user, user))
    return Erased(sorted(erased.inboxes), sorted(erased.groups), ended)


OPERATIONS = (
    Operation(
        name="list_users",
        method="GET",
        path="/v1/users",
        tag="Users and sessions",
        summary="Users, online or not",
        help="Users who are online, and users with an inbox in the log.",
        scopes=(READ, ADMIN),
        params=(ONLINE, LIMIT, NEXT),
        answers=(Answer(200, "A page of users by name.", UserPage),),
        handler=list_users,
    ),
    Operation(
        name="get_user",
        method="GET",
        path="/v1/users/{user}",
        tag="Users and sessions",
        summary="One user: sessions, cursors, lag, unread",
        help="A user that nothing is known of is no error: users belong to your application.",
        scopes=(READ, ADMIN),
        params=(USER,),
        answers=(Answer(200, "What is known of the user.", User),),
        handler=get_user,
    ),
    Operation(
        name="erase_user",
        method="DELETE",
        path="/v1/users/{user}",
        tag="Users and sessions",
        summary="Erase a user",
        help="Deletes the user's inboxes with all that is in them, cursors, read marks and "
        "devices, and ends the sessions. Messages that the user sent elsewhere stay, as do "
        "revocations. Whoever has a good token can come again: revoke the user first.",
        scopes=(ADMIN,),
        whole=True,
        params=(USER,),
        answers=(Answer(200, "What was deleted.", Erased),),
        refusals=(507,),
        handler=erase,
    ),
)
