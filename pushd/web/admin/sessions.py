"""Live sessions: who is connected from where, and ending that."""

from __future__ import annotations

import heapq
import time
from itertools import islice

import trio

from pushd.core.permissions import ADMIN, READ
from pushd.errors import NotFound
from pushd.sessions import Session
from pushd.web.admin.lags import lags_of
from pushd.web.call import Call, page, searching
from pushd.web.operation import Answer, Operation
from pushd.web.params import LIMIT, NEXT, OF_NODE, OF_USER, REASON, RECONNECT, SESSION, USER
from pushd.web.shapes.people import Kicked, SessionItem, SessionPage

NAMED = 50  # channels that an item names: a thousand sessions may follow a thousand each
KICKED = 4009


def wall_ms(moment: float) -> int:
    """Of a moment on the clock that never jumps, on which sessions keep what they have heard."""
    return int((time.time() - (trio.current_time() - moment)) * 1000)


async def session_items(call: Call, sessions: list[Session]) -> list[SessionItem]:
    """What the caller may know of them."""
    lags = await lags_of(call, sessions)
    return [_item(call, each, lags.get(each.id)) for each in sessions]


def _item(call: Call, session: Session, lag: int | None) -> SessionItem:
    channels = [name for name in session.following if call.covers(name)]
    return SessionItem(
        session=session.id,
        user=session.user,
        device=session.device,
        transport=session.transport,
        node=session.node or call.hub.node_id,
        address=session.address if ADMIN in call.identity.scopes else None,
        since=int(session.since * 1000),
        last_seen=wall_ms(session.last_seen),
        following=len(channels),
        channels=list(islice(channels, NAMED)),
        lag=lag,
    )


async def list_sessions(call: Call) -> SessionPage:
    hub, args = call.hub, call.args
    user, limit = args["user"], args["limit"]
    sessions = hub.sessions.by_id
    if user is not None:
        call.check_user(user)
        sessions = hub.sessions.by_user.get(user, {})
    live = list(sessions.values())
    async with searching:
        names = await trio.to_thread.run_sync(_search, call, live, limit + 1)
    found, following = page(names, limit)
    sessions = hub.sessions.by_id  # some may have ended meanwhile
    living = [sessions[each] for each in found if each in sessions]
    return SessionPage(await session_items(call, living), following)


def _search(call: Call, live: list[Session], count: int) -> list[str]:
    after, node, this = call.args["next"], call.args["node"], call.hub.node_id
    if node is not None:
        live = [each for each in live if (each.node or this) == node]
    wanted = (each.id for each in live if each.id > after and call.covers_user(each.user))
    return heapq.nsmallest(count, wanted)


def end_user(call: Call, user: str, *, elsewhere: bool = True) -> int:
    """Kick all of them, on every node. ``elsewhere`` False: the others are told already.

    Returns how many there were.
    """
    sessions = call.hub.sessions
    end = sessions.end_user if elsewhere else sessions.end_known
    return end(user, KICKED, call.args["reason"], call.args["reconnect"])


def end_group_elsewhere(call: Call, group: str) -> None:
    """Other nodes kick all members whom they know."""
    args = call.args
    call.hub.sessions.on_end("", group, KICKED, args["reason"], args["reconnect"])


async def kick_session(call: Call) -> None:
    session = call.hub.sessions.by_id.get(call.args["session"])
    if session is None or not call.covers_user(session.user):
        raise NotFound("There is no such session.")
    session.bye(KICKED, call.args["reason"], reconnect=call.args["reconnect"])


async def kick_user(call: Call) -> Kicked:
    call.check_user(call.args["user"])
    return Kicked(end_user(call, call.args["user"]))


OPERATIONS = (
    Operation(
        name="list_sessions",
        method="GET",
        path="/v1/sessions",
        tag="Users and sessions",
        summary="Live sessions",
        help=f"Each item names at most {NAMED} of the channels that it follows; lag is of all of "
        "them. The address is shown to keys with scope admin.",
        scopes=(READ, ADMIN),
        params=(OF_USER, OF_NODE, LIMIT, NEXT),
        answers=(Answer(200, "A page of sessions.", SessionPage),),
        handler=list_sessions,
    ),
    Operation(
        name="kick_session",
        method="DELETE",
        path="/v1/sessions/{session}",
        tag="Users and sessions",
        summary="End one session",
        help="The client gets a bye, and its connection is closed (4009). A token that is still "
        "good can connect again: revoke it to keep the user out.",
        scopes=(ADMIN,),
        params=(SESSION, REASON, RECONNECT),
        answers=(Answer(204, "It was told to end."),),
        refusals=(404,),
        handler=kick_session,
    ),
    Operation(
        name="kick_user",
        method="DELETE",
        path="/v1/users/{user}/sessions",
        tag="Users and sessions",
        summary="End all sessions of a user",
        scopes=(ADMIN,),
        params=(USER, REASON, RECONNECT),
        answers=(Answer(200, "How many were told to end.", Kicked),),
        handler=kick_user,
    ),
)
