"""What an answer of the application publishes: stored in one transaction, as by a service."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import trio

from pushd.access import Access
from pushd.core.frames import Message, Targets
from pushd.core.jsoncheck import check_json
from pushd.core.messages import Draft
from pushd.core.names import SESSION_PREFIX
from pushd.core.permissions import PUBLISH, Identity
from pushd.errors import PushdError
from pushd.log import Append, Entry, Log, Stored
from pushd.metrics import Counters
from pushd.publish import Publisher, stored_json

APPLICATION: Final = Identity(None, scopes=frozenset({PUBLISH}), key_name="application")


class Publishing:
    """``publish`` is for handlers as well as for what a webhook answers."""

    def __init__(self, publisher: Publisher, access: Access, log: Log, counters: Counters) -> None:
        self._publisher = publisher
        self._access = access
        self._log = log
        self._counters = counters

    async def publish(
        self, wanted: Sequence[tuple[Targets, Message]], call_id: str = ""
    ) -> list[dict[str, Any]]:
        """All or none; returns the results once they are on disk. Raises PushdError.

        With a ``call_id`` it is what a webhook answered. Messages without an id get one that
        follows from it, their place and their content, so that a call which is answered twice
        alike is stored once. Sessions that have ended meanwhile are left out: the application
        could not know, and what it has for others must not be lost by that.
        """
        if call_id:
            wanted = [(left, message) for to, message in wanted if (left := self._living(to))]
        entries = [
            entry for at, each in enumerate(wanted) for entry in self._entries(each, at, call_id)
        ]
        if not entries:
            return []
        told = trio.Event()
        results: list[list[Stored] | PushdError] = []

        def done(result: list[Stored] | PushdError) -> None:
            results.append(result)
            told.set()

        self._log.submit(Append(entries, APPLICATION.publisher, done))
        await told.wait()  # the log always answers
        result = results[0]
        if isinstance(result, PushdError):
            raise result
        self._counters.acked(result)
        return [stored_json(each) for each in result]

    def _living(self, to: Targets) -> Targets | None:
        """Without sessions that have ended; None when nobody else is named."""
        may_live = self._access.may_live
        alive = [each for each in to.sessions if may_live(SESSION_PREFIX + each)]
        if len(alive) == len(to.sessions):
            return to
        left = msgspec.structs.replace(to, sessions=alive)
        return None if left == Targets() else left

    def _entries(self, wanted: tuple[Targets, Message], at: int, call_id: str) -> list[Entry]:
        to, message = wanted
        check_json(bytes(message.data))
        draft = self._publisher.draft(APPLICATION, message)
        if call_id and draft.id is None:
            draft = Draft(draft.data, draft.type, _id(draft, at, call_id), draft.sender)
        channels = self._publisher.channels_of(to)
        return self._publisher.append(APPLICATION, channels, draft, _unused).entries


def _id(draft: Draft, at: int, call_id: str) -> str:
    digest = hashlib.sha256(f"{draft.type}\0{draft.sender}\0".encode() + draft.data)
    return f"{call_id}.{at}.{digest.hexdigest()[:16]}"


def _unused(_: object) -> None:
    raise AssertionError("these entries are handed in with others")
