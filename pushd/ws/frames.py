"""What each client frame does. A handler raises PushdError to have it told to the client."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from pushd.catchup import caught_up, judged
from pushd.core.frames import (
    Ack,
    Auth,
    Call,
    ClientFrame,
    Ping,
    Publish,
    Read,
    Refresh,
    Subscribe,
    Unsubscribe,
    error_frame,
    frame,
)
from pushd.core.jsoncheck import MAX_DEPTH, check_json
from pushd.core.permissions import Identity
from pushd.deliveries import Delivery
from pushd.errors import BadRequest, Forbidden, PushdError, TooLarge
from pushd.hook import Unasked
from pushd.log import Marks, Stored

if TYPE_CHECKING:
    from pushd.ws.session import WebSocketSession

PONG = frame("pong")


class FrameHandlers:
    """The frames of one session."""

    __slots__ = ("_session",)

    def __init__(self, session: WebSocketSession) -> None:
        self._session = session

    def handle(self, client_frame: ClientFrame, text: str) -> None:
        """``text``: as it came. Raises PushdError."""
        match client_frame:
            case Ping():
                self._session.send(PONG)
            case Ack():
                self._ack(client_frame)
            case Read():
                self._read(client_frame)
            case Subscribe():
                self._subscribe(client_frame)
            case Unsubscribe():
                self._unsubscribe(client_frame)
            case Publish():
                self._publish(client_frame, text)
            case Refresh():
                self._refresh(client_frame)
            case Call():
                self._call(client_frame, text)
            case Auth():
                raise BadRequest("This session has its identity; 'refresh' brings a new token.")

    def _subscribe(self, asked: Subscribe) -> None:
        session = self._session
        hub = session.hub
        most = hub.settings.max_channels_per_session
        if len(asked.channels) > most:
            raise TooLarge(f"A session may follow {most} channels.")
        good, denied = hub.sessions.allowed(session, asked.channels)

        def loaded(marks: dict[str, Marks] | PushdError) -> None:
            if isinstance(marks, PushdError):
                session.settled()
                session.deny(marks)
            else:
                caught_up(hub.log, asked.channels, partial(follow, marks))

        def follow(marks: dict[str, Marks], away: PushdError | None) -> None:
            session.settled()
            if session.id not in hub.sessions.by_id:
                return  # closed meanwhile
            # Decided now, when it is done: a refresh may have come, or other subscribes.
            allowed, refused = hub.sessions.allowed(session, good)
            # What cannot be judged now, its pull will tell.
            cursors = {} if away is not None else asked.channels
            heads = hub.sessions.follow(session, allowed, cursors, marks)
            denied.extend(refused)
            session.send(frame("subscribed", heads=heads, denied=denied))

        session.began()
        if session.user is None or not good:
            loaded({})
        else:
            hub.log.load_marks(session.user, session.device, good, loaded)

    def _unsubscribe(self, asked: Unsubscribe) -> None:
        most = self._session.hub.settings.max_channels_per_session
        if len(asked.channels) > most:
            raise TooLarge(f"A session may follow {most} channels.")
        gone = self._session.hub.sessions.unfollow(self._session, asked.channels)
        self._session.send(frame("unsubscribed", channels=gone))

    def _ack(self, asked: Ack) -> None:
        session = self._session
        if len(asked.cursors) > session.hub.settings.max_cursors:
            raise TooLarge(f"At most {session.hub.settings.max_cursors} cursors at once.")

        def record(away: PushdError | None) -> None:
            session.settled()
            refused = session.hub.marking.ack(
                session.identity, session.device, asked.cursors, time.time()
            )
            for error in refused.values():
                session.deny(judged(error, away))

        session.began()
        caught_up(session.hub.log, asked.cursors, record)

    def _read(self, asked: Read) -> None:
        session, now = self._session, time.time()

        def record(away: PushdError | None) -> None:
            session.settled()
            try:
                session.hub.marking.read(
                    session.identity, asked.channel, asked.cursor, now, session.device, session
                )
            except PushdError as error:
                session.deny(judged(error, away))

        session.began()
        caught_up(session.hub.log, {asked.channel: asked.cursor}, record)

    def _publish(self, asked: Publish, text: str) -> None:
        """The frame's id is also the message's, unless it has one: so a retry stores once."""
        session = self._session
        publisher = session.hub.publisher
        if asked.message.id is None:
            asked.message.id = asked.id
        delivery: Delivery | None = None

        def done(result: list[Stored] | PushdError) -> None:
            session.settled()
            if isinstance(result, PushdError):
                if delivery is not None:
                    delivery.cancel()
                session.deny(result, asked.id)
                return
            session.hub.counters.acked(result)
            if delivery is not None:
                self._wait(delivery, asked.id, result)
                return
            results = session.hub.audience.results(result)
            session.send(frame("published", id=asked.id, results=results))

        try:
            check_json(text.encode(), MAX_DEPTH + 2)
            session.hub.access.check_valid(session.identity, time.time())
            channels = publisher.channels_of(asked.to)
            draft = publisher.draft(session.identity, asked.message)
            session.count(len(channels))
            with ExitStack() as stack:
                if asked.wait is not None:
                    waits = session.hub.deliveries
                    delivery = waits.expect(session.identity, asked.wait, channels, session)
                    stack.enter_context(delivery.unless_refused())
                publisher.submit(session.identity, channels, draft, done, session)
            session.began()
        except PushdError as error:
            session.deny(error, asked.id)

    def _wait(self, delivery: Delivery, id_: str | None, stored: list[Stored]) -> None:
        """It counts as done for the session: what it waits for may come by the next frame."""
        session = self._session

        def finish(delivered: bool) -> None:
            results = session.hub.audience.results(stored)
            session.send(frame("published", id=id_, results=results, delivered=delivered))

        if session.ended:
            delivery.cancel()
        else:
            delivery.stored(stored, finish)

    def _call(self, asked: Call, text: str) -> None:
        """Not one of the frames that wait for the log: the application may take its time."""
        session = self._session

        def done(result: bytes | PushdError) -> None:
            if asked.id is None:
                return  # nobody wants to know
            if isinstance(result, PushdError):
                session.hub.counters.errors[result.code] += 1
                session.send_result(error_frame(result, asked.id))
            else:
                data = msgspec.Raw(result)
                session.send_result(frame("result", id=asked.id, data=data))

        try:
            check_json(text.encode(), MAX_DEPTH + 1)
            session.hub.access.check_valid(session.identity, time.time())
            session.count()
            session.hub.application.calls.start(session.identity, session.id, asked, done)
        except PushdError as error:
            done(error)

    def _refresh(self, asked: Refresh) -> None:
        """A new token, or the same one, of which the application may say a later end.

        Without one: the cookies of the handshake, if it came by them.
        """
        session = self._session

        def told(answer: Identity | PushdError) -> None:
            session.settled()
            if session.closing or session.ended:
                return
            try:
                if isinstance(answer, PushdError):
                    raise answer.again()
                self._refreshed(answer)
            except PushdError as error:
                session.deny(error)

        try:
            identity = session.hub.authenticator.identify(
                asked.token, time.time(), session.shown, session.address, renew=True
            )
        except Unasked as unasked:
            unasked.question.wait(told)
            session.began()
        else:
            self._refreshed(identity)

    def _refreshed(self, identity: Identity) -> None:
        """It must be of the same user and device; what it no longer covers is unsubscribed."""
        session = self._session
        hub = session.hub
        if identity.user != session.user or (identity.device or session.device) != session.device:
            raise Forbidden("A session is refreshed with a token of the same user and device.")
        hub.sessions.renew(session, identity)
        session.rearm()
        kept, _ = hub.sessions.allowed(session, session.subscriptions)
        gone = hub.sessions.unfollow(session, set(session.subscriptions) - set(kept))
        session.send(frame("refreshed", expires=identity.expires))
        if gone:
            session.send(frame("unsubscribed", channels=gone))
