"""The hot route that reads one channel: ``GET /v1/channels/{channel}/messages``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from pushd.catchup import judged
from pushd.core.names import Kind, check_device, kind_of
from pushd.core.permissions import Identity
from pushd.core.positions import HEAD, START, Cursor, parse_cursor
from pushd.core.pulling import parse_count, parse_seq, parse_wait
from pushd.errors import Forbidden, PushdError
from pushd.front.bodies import DEFAULT_LIMIT
from pushd.front.connection import HttpConnection
from pushd.hub import Hub
from pushd.log import Marks


class Ask(NamedTuple):
    """The parameters of a pull. ``cursor`` None: from the delivered cursor of the device."""

    cursor: Cursor | None
    limit: int
    wait: float
    device: str | None
    atleast: int = 0  # a seq that the client was told of


def parse_ask(given: Mapping[str, str], max_limit: int, max_wait: float) -> Ask:
    """Raises BadRequest that says what is wrong."""
    return Ask(
        parse_cursor(given["after"]) if "after" in given else None,
        parse_count("limit", given["limit"], max_limit) if "limit" in given else DEFAULT_LIMIT,
        parse_wait(given.get("wait", "0"), max_wait),
        check_device(given["device"]) if "device" in given else None,
        parse_seq("atleast", given["atleast"]) if "atleast" in given else 0,
    )


def device_of(identity: Identity, named: str | None) -> str | None:
    """The device that a request speaks for; a token may pin it."""
    if identity.device is None or named is None:
        return identity.device or named
    if identity.device != named:
        raise Forbidden(
            "The token is for another device.",
            cure="Leave device out, or get a token for this device.",
        )
    return named


def first_contact(hub: Hub, user: str | None, channel: str) -> Cursor:
    """Where a device starts that has no cursor: what is its own from the start, groups from
    where the user has joined, else from now on."""
    kind = kind_of(channel)
    if kind in (Kind.USER, Kind.SESSION):
        return START
    if kind is not Kind.GROUP or user is None:
        return HEAD
    joined = hub.log.groups.since(channel, user)
    if joined is None:
        return HEAD
    at = hub.pulls.position(channel)
    # All of a later life came later; and what is not kept any more is not missed.
    return joined if joined.epoch == at.epoch and joined.seq >= at.first - 1 else START


def delivered_or_first(hub: Hub, user: str | None, channel: str, marks: Marks | None) -> Cursor:
    """Where a pull begins that names no cursor."""
    if marks is not None and marks.delivered is not None:
        return marks.delivered
    return first_contact(hub, user, channel)


class SinglePull:
    """``GET /v1/channels/{channel}/messages``: from the request to its answer, maybe held."""

    __slots__ = ("_ask", "_channel", "_connection", "_cursor", "_hub", "_identity")

    def __init__(
        self, connection: HttpConnection, identity: Identity, channel: str, ask: Ask
    ) -> None:
        self._connection = connection
        self._hub = connection.hub
        self._identity = identity
        self._channel = channel
        self._ask = ask
        self._cursor = START

    def start(self) -> None:
        """Raises Forbidden, Reset, Overloaded."""
        hub, identity, channel = self._hub, self._identity, self._channel
        self._connection.caller.check_read(identity, channel, time.time())
        hub.counters.pulls += 1
        device = device_of(identity, self._ask.device)
        cursor = self._ask.cursor
        if cursor is not None:
            self._from(cursor, device)
        elif identity.user is None or device is None:
            self._from(first_contact(hub, identity.user, channel), None)
        else:
            hub.log.load_marks(identity.user, device, [channel], self._loaded)

    def _loaded(self, marks: dict[str, Marks] | PushdError) -> None:
        try:
            if isinstance(marks, PushdError):
                raise marks
            hub, user, channel = self._hub, self._identity.user, self._channel
            hub.access.check_read(self._identity, channel, time.time())
            self._from(delivered_or_first(hub, user, channel, marks.get(channel)), None)
        except PushdError as error:
            self._connection.refuse(error)

    def _from(self, cursor: Cursor, device: str | None) -> None:
        """``device``: records the cursor as delivered (it was given, so it was processed)."""
        hub, channel = self._hub, self._channel
        if hub.log.behind(channel, cursor, self._ask.atleast):
            hub.log.catch_up([channel], lambda away: self._caught_up(cursor, device, away))
        else:
            self._begin(cursor, device)

    def _caught_up(self, cursor: Cursor, device: str | None, away: PushdError | None) -> None:
        try:
            self._hub.access.check_read(self._identity, self._channel, time.time())
            self._begin(cursor, device)
        except PushdError as error:
            self._connection.refuse(judged(error, away))

    def _begin(self, cursor: Cursor, device: str | None) -> None:
        hub, channel = self._hub, self._channel
        at = hub.pulls.position(channel)
        after = hub.pulls.places.after(channel, cursor, at)
        # "From the start" stays that, wherever the start has moved to by the time of the answer.
        self._cursor = cursor if cursor is START else Cursor(at.epoch, after)
        user = self._identity.user
        if device is not None and user is not None and cursor.seq:
            hub.deliveries.record(user, device, channel, Cursor(at.epoch, after))
        if after >= at.seq and self._ask.wait:
            poll = hub.pulls.hold([channel], self._ask.wait, self._finish, self._identity)
            if poll is not None:
                self._connection.waiting = poll
                return
        self._answer()

    def _finish(self) -> None:
        """The poll is over. Permission is decided now, when the answer is made."""
        try:
            self._hub.access.check_read(self._identity, self._channel, time.time())
            self._answer()
        except PushdError as error:
            self._connection.refuse(error)

    def _answer(self) -> None:
        answer = self._hub.pulls.answer(self._channel, self._cursor, self._ask.limit, self._arrived)
        if answer is not None:
            self._connection.respond(answer)

    def _arrived(self, answer: bytes | PushdError) -> None:
        try:
            if isinstance(answer, PushdError):
                raise answer
            self._hub.access.check_read(self._identity, self._channel, time.time())
        except PushdError as error:
            self._connection.refuse(error)
        else:
            self._connection.respond(answer)
