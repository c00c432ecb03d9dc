"""``POST /v1/pull``: several channels at once, held until any of them moves; ``POST /v1/ack``."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from msgspec.json import encode

from pushd.catchup import caught_up, judged
from pushd.core.frames import bye_json
from pushd.core.names import check_channel, check_device
from pushd.core.permissions import Identity
from pushd.core.positions import START, Cursor, parse_cursor
from pushd.errors import BadRequest, PushdError, TooLarge
from pushd.front.bodies import MultiBody, ack_decoder, decode_body, multi_decoder
from pushd.front.connection import HttpConnection
from pushd.front.pulls import delivered_or_first, device_of, first_contact
from pushd.front.request import Request
from pushd.log import Marks
from pushd.multianswer import MultiAnswer
from pushd.notices import Box
from pushd.poller import Poller

BYE_NOTICE = msgspec.Raw(bye_json(1012, "restart", 1000))


class MultiPull:
    """From the request to its answer, maybe held. Keeps what was asked in its order."""

    __slots__ = (
        "_asked",
        "_away",
        "_body",
        "_box",
        "_connection",
        "_device",
        "_hub",
        "_identity",
        "_poller",
        "_version",
    )

    def __init__(self, connection: HttpConnection, identity: Identity, body: MultiBody) -> None:
        self._connection = connection
        self._hub = connection.hub
        self._identity = identity
        self._body = body
        self._device: str | None = None
        self._asked: list[tuple[str, Cursor | PushdError]] = []
        self._away: PushdError | None = None  # why the owner of the log could not be asked
        self._box: Box | None = None  # of what the client is told beside messages
        self._poller: Poller | None = None  # whose session it is
        self._version = self._hub.log.groups.version  # at which rights were looked at

    def start(self) -> None:
        """Raises Forbidden, BadRequest, TooLarge; what is wrong with a channel is in the answer."""
        body = self._body
        self._check(body)
        device = check_device(body.device) if body.device is not None else None
        self._device = device_of(self._identity, device)
        self._hub.counters.pulls += 1
        identity = self._identity
        if identity.user is not None:
            if body.mine:
                self._box = self._hub.notices.box(identity.user, self._device)
            if body.wait:
                self._poller = self._hub.pollers.polls(
                    identity.user, self._device, identity, self._connection.address
                )
        mine = [name for name in self._mine() if name not in body.cursors]
        if not mine:
            self._catch_up({})
        elif self._identity.user is None or self._device is None:
            self._catch_up({name: Marks(None, None) for name in mine})
        else:
            self._hub.log.load_marks(
                self._identity.user, self._device, mine, self._marks_loaded(mine)
            )

    def _check(self, body: MultiBody) -> None:
        settings = self._hub.settings
        if len(body.cursors) > settings.max_cursors:
            raise TooLarge(f"At most {settings.max_cursors} cursors at once.")
        if not 1 <= body.limit <= settings.max_pull_messages:
            raise BadRequest(f"limit must be from 1 to {settings.max_pull_messages}.")
        if not body.wait >= 0:
            raise BadRequest("wait must be a number of seconds, such as 25.")
        if not body.cursors and not body.mine:
            raise BadRequest("Nothing is asked for: give cursors, or mine.")

    def _mine(self) -> list[str]:
        if not self._body.mine:
            return []
        if self._identity.user is None:
            raise BadRequest("mine is for users; a service has no channels of its own.")
        own = self._hub.sessions.own_channels(self._identity.user)
        if self._poller is not None and (channel := self._poller.channel) in self._hub.log.heads:
            own.append(channel)
        return own

    def _marks_loaded(self, mine: list[str]) -> Callable[[dict[str, Marks] | PushdError], None]:
        def loaded(marks: dict[str, Marks] | PushdError) -> None:
            if isinstance(marks, PushdError):
                self._connection.refuse(marks)
            else:
                self._catch_up({name: marks.get(name, Marks(None, None)) for name in mine})

        return loaded

    def _catch_up(self, mine: dict[str, Marks]) -> None:
        """A node that is behind what the client was told asks the owner of the log first."""
        ahead = self._ahead(mine) if self._hub.log.mirrors else []
        if not ahead:
            self._loaded(mine)
            return

        def told(away: PushdError | None) -> None:
            self._away = away
            self._loaded(mine)

        self._hub.log.catch_up(ahead, told)

    def _ahead(self, mine: dict[str, Marks]) -> list[str]:
        ahead = [name for name, marks in mine.items() if self._is_ahead(name, marks.delivered)]
        for name, text in self._body.cursors.items():
            try:
                self._hub.access.check_read(self._identity, check_channel(name), time.time())
                if self._is_ahead(name, parse_cursor(text)):
                    ahead.append(name)
            except PushdError:
                continue  # said in its place
        return ahead

    def _is_ahead(self, channel: str, cursor: Cursor | None) -> bool:
        return self._hub.log.behind(channel, cursor or START, self._body.atleast.get(channel, 0))

    def _loaded(self, mine: dict[str, Marks]) -> None:
        hub, user = self._hub, self._identity.user
        if self._version != hub.log.groups.version:
            self._version = hub.log.groups.version
            names = [name for name in self._mine() if name not in self._body.cursors]
            mine = {name: mine.get(name, Marks(None, None)) for name in names}
        if self._body.mine and user is not None and self._device is not None:
            known = mine.get("all")
            if known is None or known.since is None:
                self._hub.log.record_seen(user)
        asked = [(name, self._given(name, text)) for name, text in self._body.cursors.items()]
        asked += [
            (name, self._place(name, delivered_or_first(hub, user, name, marks)))
            for name, marks in mine.items()
        ]
        self._asked = asked
        if self._poller is not None:
            self._poller.follow(asked)
        wait = min(self._body.wait, self._hub.settings.max_wait)
        if wait and not self._moved():
            channels = [name for name, cursor in asked]
            if self._body.mine and self._identity.user is not None:
                channels.append(self._hub.inboxes.news_of(self._identity.user))
            try:
                poll = self._hub.pulls.hold(channels, wait, self._answer, self._identity)
            except PushdError as error:  # too many of this user's are held
                self._connection.refuse(error)
                return
            if poll is not None:
                self._connection.waiting = poll
                if self._box is not None:
                    self._box.hold(poll)
                if self._poller is not None:
                    self._poller.hold(poll)
                return
        self._answer()

    def _given(self, channel: str, text: str) -> Cursor | PushdError:
        """A cursor that the client gave: it is recorded as delivered for its device."""
        try:
            self._hub.access.check_read(self._identity, check_channel(channel), time.time())
            cursor = parse_cursor(text)
        except PushdError as error:
            return error
        place = self._place(channel, cursor)
        user = self._identity.user
        if isinstance(place, Cursor) and user is not None and self._device and cursor.seq:
            self._hub.deliveries.record(user, self._device, channel, place)
        return place

    def _place(self, channel: str, cursor: Cursor) -> Cursor | PushdError:
        at = self._hub.pulls.position(channel)
        try:
            return Cursor(at.epoch, self._hub.pulls.places.after(channel, cursor, at))
        except PushdError as error:
            return judged(error, self._away)

    def _moved(self) -> bool:
        if self._box or (self._poller is not None and self._poller.parted):
            return True
        for channel, cursor in self._asked:
            if isinstance(cursor, PushdError):
                return True
            if self._hub.pulls.position(channel).seq > cursor.seq:
                return True
        return False

    def _answer(self) -> None:
        """Permission is decided now, when the answer is made."""
        now = time.time()
        try:
            self._hub.access.check_valid(self._identity, now)
        except PushdError as error:
            self._connection.refuse(error)
            return
        known = {name for name, _ in self._asked}
        # An inbox that came into being, or a group joined, while the poll was held.
        self._asked += [
            (name, self._place(name, first_contact(self._hub, self._identity.user, name)))
            for name in self._mine()
            if name not in known
        ]
        notices = self._box.take() if self._box is not None else []
        if self._poller is not None:
            notices += self._poller.take()
        if self._hub.pulls.draining:
            notices.append(BYE_NOTICE)
        self._refuse()
        self._ask(encode(notices))

    def _ask(self, notices: bytes) -> None:
        hub = self._hub

        def done(body: bytes) -> None:
            # Members may have left while the disk was read.
            if self._version != hub.log.groups.version and self._refuse():
                self._ask(notices)
            else:
                self._connection.respond(hub.responses.make(200, body))

        MultiAnswer(hub.pulls, self._asked, self._body.limit, notices, done).run()

    def _refuse(self) -> bool:
        """Whether there is a channel that may not be read now, and could be before."""
        hub, now, refused = self._hub, time.time(), False
        self._version = hub.log.groups.version
        for at, (channel, cursor) in enumerate(self._asked):
            if isinstance(cursor, Cursor):
                try:
                    hub.access.check_read(self._identity, channel, now)
                except PushdError as error:
                    self._asked[at] = (channel, error)
                    refused = True
        return refused


def multi_pull(connection: HttpConnection, request: Request) -> None:
    """``POST /v1/pull``."""
    identity = connection.caller.identify(request)
    MultiPull(connection, identity, decode_body(multi_decoder, request.body)).start()


def ack(connection: HttpConnection, request: Request) -> None:
    """204 when all cursors were recorded; else the problem of the first that was not."""
    identity = connection.caller.identify(request)
    body = decode_body(ack_decoder, request.body)
    hub = connection.hub
    if len(body.cursors) > hub.settings.max_cursors:
        raise TooLarge(f"At most {hub.settings.max_cursors} cursors at once.")
    device = device_of(identity, check_device(body.device) if body.device is not None else None)

    def record(away: PushdError | None) -> None:
        refused = hub.marking.ack(identity, device, body.cursors, time.time())
        for error in refused.values():
            connection.refuse(judged(error, away))
            return
        connection.respond(hub.responses.make(204, b""))

    caught_up(hub.log, body.cursors, record)
