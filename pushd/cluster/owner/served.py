"""What other nodes may ask of the owner: ``POST /v1/cluster/…``, with a node's token only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import msgspec

from pushd.cluster.owner.appending import Appending
from pushd.cluster.owner.changes import Item
from pushd.cluster.owner.feeding import Feeder
from pushd.cluster.wire import (
    AppendBatch,
    AwaitBody,
    AwaitResult,
    FeedAsk,
    LoadBody,
    LoadResults,
    MarksBody,
    MarksFound,
)
from pushd.core.journal import Journal
from pushd.core.positions import Cursor, parse_cursor
from pushd.errors import BadRequest, Forbidden, PushdError, TooLarge
from pushd.front.connection import HttpConnection
from pushd.front.request import Request
from pushd.hub import Hub
from pushd.limits import Shares
from pushd.log import Marks
from pushd.nodetokens import other_generation

MOST_LOADED: Final = 20_000  # channels of one request
MOST_AWAITED: Final = 10_000  # publishes of one node that wait


class _Body(Protocol):
    generation: str


Handler = Callable[[HttpConnection, Request], None]
B = TypeVar("B", bound=_Body)
Serve = Callable[[HttpConnection, str, B], None]


class Served:
    """The routes, and what they need. Used on the loop."""

    def __init__(self, hub: Hub, journal: Journal[Item], generation: str) -> None:
        self._hub = hub
        self._generation = generation
        self.feeder = Feeder(hub.log, journal, generation)
        self.appending = Appending(hub, generation)
        self.awaiting = Shares(MOST_AWAITED, "publishes of one node that wait for a delivery")

    def routes(self) -> dict[bytes, dict[bytes, Handler]]:
        """By what follows ``wire.PATH``, and by method."""
        return {
            b"feed": {b"POST": self._asked(FeedAsk, self._feed)},
            b"append": {b"POST": self._asked(AppendBatch, self._append)},
            b"marks": {b"POST": self._asked(MarksBody, self._marks)},
            b"load": {b"POST": self._asked(LoadBody, self._load)},
            b"await": {b"POST": self._asked(AwaitBody, self._await)},
        }

    def _asked(self, form: type[B], serve: Serve[B]) -> Handler:
        decoder = msgspec.json.Decoder(form)

        def handler(connection: HttpConnection, request: Request) -> None:
            node = connection.caller.identify(request).node
            if node is None:
                raise Forbidden("Only nodes of the cluster may ask this.")
            try:
                body = decoder.decode(request.body)
            except (msgspec.DecodeError, ValueError) as cause:
                raise BadRequest(f"The body has another form than expected: {cause}") from None
            if body.generation != self._generation:
                raise other_generation(self._generation)
            self._hub.counters.nodes_asked += 1
            serve(connection, node, body)

        return handler

    def _respond(self, connection: HttpConnection, answer: Any) -> None:
        body = msgspec.json.encode(answer)
        connection.respond(self._hub.responses.make(200, body))

    # -- each of them --------------------------------------------------------------------------

    def _feed(self, connection: HttpConnection, node: str, body: FeedAsk) -> None:
        self._hub.counters.snapshots += body.after is None and body.page is None
        self._respond(connection, self.feeder.answer(body))

    def _append(self, connection: HttpConnection, node: str, body: AppendBatch) -> None:
        def told(answer: bytes) -> None:
            connection.respond(self._hub.responses.make(200, answer))

        self.appending.store(node, body, told)

    def _marks(self, connection: HttpConnection, node: str, body: MarksBody) -> None:
        hub = self._hub
        delivered = [
            (user, device, channel, parse_cursor(cursor, allow_head=False))
            for user, device, channel, cursor in body.delivered
        ]
        read = [(mark, parse_cursor(mark.cursor, allow_head=False)) for mark in body.read]
        for user in body.seen:
            hub.log.record_seen(user)
        for each in delivered:
            hub.deliveries.record(*each)
        for mark, cursor in read:
            hub.marking.raise_mark(mark.user, mark.channel, cursor, mark.device, mark.session)
        self._respond(connection, _Done(self._generation))

    def _load(self, connection: HttpConnection, node: str, body: LoadBody) -> None:
        if sum(len(channels) for _, _, channels in body.asked) > MOST_LOADED:
            raise TooLarge(f"At most {MOST_LOADED} channels at once.")
        _Loading(self._hub, body, lambda answer: self._loaded(connection, answer)).start()

    def _loaded(
        self, connection: HttpConnection, answer: list[list[MarksFound]] | PushdError
    ) -> None:
        if isinstance(answer, PushdError):
            connection.refuse(answer)
        else:
            self._respond(connection, LoadResults(self._generation, answer))

    def _await(self, connection: HttpConnection, node: str, body: AwaitBody) -> None:
        wanted = {name: parse_cursor(text, allow_head=False) for name, text in body.wanted.items()}
        shares = self.awaiting
        shares.enter(node)
        delivery = self._hub.deliveries.expect_elsewhere(
            body.user, body.ms / 1000, wanted, lambda: shares.leave(node)
        )
        connection.waiting = delivery
        delivery.begin(
            lambda delivered: self._respond(connection, AwaitResult(self._generation, delivered))
        )


class _Done(msgspec.Struct):
    generation: str


class _Loading:
    """Marks of many, looked up together; one answer."""

    def __init__(
        self,
        hub: Hub,
        body: LoadBody,
        done: Callable[[list[list[MarksFound]] | PushdError], None],
    ) -> None:
        self._hub = hub
        self._asked = body.asked
        self._done = done
        self._found: list[list[MarksFound]] = [[] for _ in body.asked]
        self._missing = len(body.asked)
        self._error: PushdError | None = None

    def start(self) -> None:
        for number, (user, device, channels) in enumerate(self._asked):
            self._hub.log.load_marks(user, device, channels, self._taker(number))
        if not self._asked:
            self._done([])

    def _taker(self, number: int) -> Callable[[dict[str, Marks] | PushdError], None]:
        def take(marks: dict[str, Marks] | PushdError) -> None:
            if isinstance(marks, PushdError):
                self._error = marks
            else:
                self._found[number] = [_found(name, each) for name, each in marks.items()]
            self._missing -= 1
            if not self._missing:
                self._done(self._error or self._found)

        return take


def _found(channel: str, marks: Marks) -> MarksFound:
    return MarksFound(channel, _text(marks.delivered), _text(marks.read), _text(marks.since))


def _text(cursor: Cursor | None) -> str | None:
    return None if cursor is None else str(cursor)
