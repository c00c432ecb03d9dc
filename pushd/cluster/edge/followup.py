"""What a feed asks of an edge beside heads and members: goodbyes, read marks, revocations."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from pushd.cluster.wire import Bye, Feed
from pushd.hub import Hub
from pushd.session import Session

log = structlog.get_logger("pushd.cluster")


def follow_up(hub: Hub, feed: Feed) -> None:
    """For one that is applied: what was revoked is in ``hub.log.revocations`` already."""
    for bye in feed.byes:
        say_goodbye(hub, bye)
    for mark in feed.reads:
        hub.marking.tell(mark.user, mark.channel, mark.cursor, mark.device, mark.session)
    if any(each.until for each in feed.revoked):
        hub.enforcer.look()


def say_goodbye(hub: Hub, bye: Bye) -> None:
    """End those that are here: one session, a user's, or of all members of a group. The held
    polls of one that polls are answered."""
    for session in _named(hub, bye):
        if session.closing:
            continue
        try:
            session.bye(bye.code, bye.reason, bye.retry_after_ms, reconnect=bye.reconnect)
        except Exception:  # one connection's failure is its own
            log.exception("a session could not be ended", session=session.id)


def _named(hub: Hub, bye: Bye) -> Iterable[Session]:
    if bye.user:
        return hub.sessions.of_user(bye.user)
    if bye.group:
        has = hub.log.groups.has
        live = list(hub.sessions.by_id.values())
        return (each for each in live if each.user is not None and has(bye.group, each.user))
    session = hub.sessions.by_id.get(bye.session)
    return () if session is None else (session,)
