"""What a client sends: messages to channels and people, calls to the application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pushd.client.answers import Published
from pushd.client.http import Http
from pushd.client.publishing import (
    LineResults,
    Results,
    call,
    new_id,
    publish,
    publish_to,
)
from pushd.client.retrying import RetryPolicy
from pushd.errors import BadRequest


class Sending:
    """The half of ``Client`` that sends. Raises like all of it."""

    _http: Http
    _retries: RetryPolicy

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        type: str | None = None,  # noqa: A002 - the protocol's word
        id: str | None = None,  # noqa: A002
        sender: str | None = None,
    ) -> Published:
        """Store one message; returns once it is on disk.

        ``id`` makes it idempotent for 24 h; one is made when none is given, so that a retry after
        a lost answer stores nothing twice. ``sender`` may be given by services only.
        """
        message = _message(data, type, id, sender)
        return await publish(self._http, channel, message, self._retries)

    async def publish_to(
        self,
        data: Any,
        *,
        channels: Iterable[str] = (),
        users: Iterable[str] = (),
        groups: Iterable[str] = (),
        sessions: Iterable[str] = (),
        everybody: bool = False,
        type: str | None = None,  # noqa: A002
        id: str | None = None,  # noqa: A002
        sender: str | None = None,
        wait_delivered: str | None = None,
        wait_s: float = 5.0,
    ) -> Results:
        """Store one message in many places at once: in all of them, or (after an error) in none.

        ``users``: their inboxes; ``sessions``: live ones, by id (NotFound when one has ended);
        ``everybody``: the channel ``all``. One result for each target, which says whether somebody
        was ``online`` for it. ``wait_delivered``: return when a device of this user has it, or
        after ``wait_s`` seconds (60 at most); ``delivered`` of the results says which.
        """
        named = {"channels": channels, "users": users, "groups": groups, "sessions": sessions}
        to = _targets(named, everybody)
        wait = None
        if wait_delivered is not None:
            wait = {"delivered_to": wait_delivered, "ms": round(wait_s * 1000)}
        message = _message(data, type, id, sender)
        return await publish_to(self._http, to, message, wait, self._retries)

    def publish_lines(
        self, lines: Iterable[tuple[str, Mapping[str, Any]]], *, batch: int = 500
    ) -> LineResults:
        """Store many (channel, message) in order; ``async for`` gives one result for each.

        A message has ``data`` and may have ``type``, ``id``, ``sender``.
        """
        return LineResults(self._http, lines, self._retries, batch)

    async def call(
        self,
        name: str,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002
        wait_s: float = 60.0,
    ) -> Any:
        """Ask the application behind pushd; returns what it answers. For users, not services.

        Raises NoHandler, CallRefused (the application says no) and CallFailed (nobody knows what
        it has done). Sent again with the same id when there was no answer, so it may be asked more
        than once: it can tell by the id. Give one of your own when your program may run the same
        step twice. ``wait_s``: how long one attempt may take.
        """
        body = {"name": name, "data": data, "id": new_id() if id is None else id}
        return await call(self._http, body, wait_s, self._retries)


def _targets(named: Mapping[str, Iterable[str]], everybody: bool) -> dict[str, Any]:
    to: dict[str, Any] = {}
    for kind, names in named.items():
        if isinstance(names, str):
            raise BadRequest(f"{kind} takes several names: write [{names!r}].")
        if listed := list(names):
            to[kind] = listed
    return {**to, "all": True} if everybody else to


def _message(data: Any, type_: str | None, id_: str | None, sender: str | None) -> dict[str, Any]:
    given = {"type": type_, "sender": sender}
    message = {name: value for name, value in given.items() if value is not None}
    return message | {"data": data, "id": new_id() if id_ is None else id_}
