"""History backwards: ``GET /v1/channels/{channel}/messages?before=SEQ`` or ``?last=N``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import structlog

from pushd.catchup import judged
from pushd.core.history import Back, newest, window
from pushd.core.permissions import Identity
from pushd.core.positions import Cursor
from pushd.core.pulling import UNWRITTEN, Position, answer_body
from pushd.errors import Overloaded, PushdError
from pushd.front.pulls import device_of
from pushd.log import Head, MissingMessages

if TYPE_CHECKING:
    from pushd.front.connection import HttpConnection

MAX_READS = 8  # for one page, of a channel that is changed meanwhile again and again

log = structlog.get_logger("pushd.front")


class History:
    """From the request to its answer. Records nothing, and is not held."""

    __slots__ = ("_ask", "_channel", "_connection", "_hub", "_identity", "_reads")

    def __init__(
        self, connection: HttpConnection, identity: Identity, channel: str, ask: Back
    ) -> None:
        self._connection = connection
        self._hub = connection.hub
        self._identity = identity
        self._channel = channel
        self._ask = ask
        self._reads = 0

    def start(self) -> None:
        """Raises Forbidden, Reset, OwnerAway."""
        self._connection.caller.check_read(self._identity, self._channel, time.time())
        device_of(self._identity, self._ask.device)
        hub, before = self._hub, self._ask.before
        hub.counters.pulls += 1
        epoch, upto = ("", 0) if before is None else (before.epoch, before.seq - 1)
        if hub.log.behind(self._channel, Cursor(epoch, upto), upto):
            hub.log.catch_up([self._channel], self._caught_up)
        else:
            self._decide()

    def _caught_up(self, away: PushdError | None) -> None:
        try:
            self._hub.access.check_read(self._identity, self._channel, time.time())
            self._decide()
        except PushdError as error:
            self._connection.refuse(judged(error, away))

    def _decide(self) -> None:
        hub = self._hub
        head = hub.log.heads.get(self._channel)
        at = UNWRITTEN if head is None else Position(head.epoch, head.first, head.seq)
        after, upto = window(self._ask, at)
        if head is None or after == upto:
            self._respond(at, upto, [])
            return
        kept = hub.tails.messages(head, after, upto - after, sys.maxsize)
        if kept is not None:
            hub.counters.pulls_cached += 1
            self._respond(at, upto, newest(kept, hub.pulls.max_bytes))
            return
        self._read(head, after, upto)

    def _read(self, head: Head, after: int, upto: int) -> None:
        hub = self._hub
        redactions = head.redactions

        def done(messages: list[bytes] | PushdError) -> None:
            changed = hub.log.heads.get(self._channel) is not head or head.redactions != redactions
            try:
                hub.access.check_read(self._identity, self._channel, time.time())
                if changed or isinstance(messages, MissingMessages) or upto < head.first:
                    self._again()
                elif isinstance(messages, PushdError):
                    self._connection.refuse(messages)
                else:
                    at = Position(head.epoch, head.first, head.seq)
                    # What was trimmed meanwhile is left out.
                    self._respond(at, upto, messages[-(upto - head.first + 1) :])
            except PushdError as error:
                self._connection.refuse(error)

        hub.log.read_back(head, after, upto, hub.pulls.max_bytes, done)

    def _again(self) -> None:
        """The channel changed while it was read: decide anew, and not without end."""
        self._reads += 1
        if self._reads >= MAX_READS:
            log.error("a channel could not be read", channel=self._channel, reads=MAX_READS)
            raise Overloaded("The channel changed again and again meanwhile.", retry_after=1)
        self._decide()

    def _respond(self, at: Position, upto: int, messages: list[bytes]) -> None:
        after = upto - len(messages)
        stale = self._hub.pulls.stale(self._channel)
        body = answer_body(self._channel, at, after, messages, more=after >= at.first, stale=stale)
        self._connection.respond(self._hub.responses.make(200, body))
