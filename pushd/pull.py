"""Pulling: exactly the retained messages after a cursor, at once or when there are some.

One answer for all who ask the same: a finished answer is whole HTTP bytes, kept until the head
moves. Those that wait are in ``polls``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import structlog

from pushd.core.positions import Cursor
from pushd.core.pulling import UNWRITTEN, Position, answer_body
from pushd.core.responses import Responses
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import Overloaded, OwnerAway, PushdError
from pushd.fanout import Fanout
from pushd.limits import Shares
from pushd.log import Head, Log, MissingMessages
from pushd.metrics import Counters
from pushd.places import Places
from pushd.polls import Polls
from pushd.tails import Tails

log = structlog.get_logger("pushd.pull")

# Without the owner, a node that follows another one's log says so, and then does not answer any
# more where it may matter who may read.
STALE_TOLD_S = 2.0
STALE_REFUSED_S = 5.0
MAX_READS = 8  # for one pull, of a channel that is changed meanwhile again and again

Reply = Callable[[bytes | PushdError], None]


class _Ask(NamedTuple):
    """A pull that the log is read for: what ``Pulls.answer`` takes."""

    channel: str
    cursor: Cursor
    limit: int
    reply: Reply
    read_before: int


def _give(ask: _Ask, result: bytes | PushdError) -> None:
    try:
        ask.reply(result)
    except Exception:  # one connection's failure is its own
        log.exception("answering a pull failed")


# What is read in one go: channel, epoch, head, after, limit.
_Key = tuple[str, str, int, int, int]


class Pulls(Polls):
    """Answers pulls from finished answers, else from the tail, else from the log's reader."""

    def __init__(
        self,
        log: Log,
        places: Places,
        tails: Tails,
        fanout: Fanout,
        wheel: TimingWheel[Expiring],
        responses: Responses,
        counters: Counters,
        max_bytes: int,
        shares: Shares | None = None,
    ) -> None:
        """``shares``: how many polls and sessions a user may have."""
        super().__init__(log, fanout, wheel, counters, shares)
        self.position = places.of
        self.places = places
        self.max_bytes = max_bytes
        self._tails = tails
        self._responses = responses
        self._loading: dict[_Key, list[_Ask]] = {}

    def answer(
        self, channel: str, cursor: Cursor, limit: int, reply: Reply, read_before: int = 0
    ) -> bytes | None:
        """The whole HTTP answer: returned when it is at hand, else given to ``reply`` later.

        ``read_before``: how often the log was read for it in vain. Raises Reset.
        """
        stale = self.stale(channel)
        head = self.log.heads.get(channel)
        if head is None:
            self.places.after(channel, cursor, UNWRITTEN)
            return self._responses.make(200, answer_body(channel, UNWRITTEN, 0, [], stale=stale))
        at = Position(head.epoch, head.first, head.seq)
        after = self.places.after(channel, cursor, at)
        if stale is None:
            finished = self._tails.answer(head, after, limit, self._responses.date)
            if finished is not None:
                self.counters.pulls_cached += 1
                return finished
        if after >= head.seq:
            return self._finish(head, at, after, limit, [])
        messages = self._tails.messages(head, after, limit, self.max_bytes)
        if messages is not None:
            return self._finish(head, at, after, limit, messages)
        self._load(head, at, after, _Ask(channel, cursor, limit, reply, read_before))
        return None

    def stale(self, channel: str) -> int | None:
        """Milliseconds, from when on it is told. Raises OwnerAway where nobody may be any more."""
        stale = self.log.stale
        if stale < STALE_TOLD_S:
            return None
        if stale >= STALE_REFUSED_S and not (stale < math.inf and self.places.is_public(channel)):
            raise OwnerAway("This node has not heard of the others for a while.", retry_after=1)
        return int(stale * 1000)

    def _finish(
        self, head: Head, at: Position, after: int, limit: int, messages: list[bytes]
    ) -> bytes:
        newest = after + len(messages)
        # Of what this answer does not bring.
        fading = self.places.fading(head.channel, newest) if newest < at.seq else None
        stale = self.stale(head.channel)
        body = answer_body(head.channel, at, after, messages, fading=fading, stale=stale)
        answer = self._responses.make(200, body)
        if stale is None and (head.epoch, head.first, head.seq) == at:
            self._tails.keep_answer(head, after, limit, answer, self._responses.date)
        return answer

    def _load(self, head: Head, at: Position, after: int, ask: _Ask) -> None:
        """Read an older window from the log, once for all who ask for it meanwhile."""
        state = (head.first, head.redactions)
        key = (head.channel, at.epoch, at.seq, after, ask.limit)
        waiting = self._loading.get(key)
        if waiting is not None:
            waiting.append(ask)
            return
        waiting = self._loading[key] = [ask]

        def loaded(messages: list[bytes] | PushdError) -> None:
            del self._loading[key]
            result: bytes | PushdError
            if isinstance(messages, MissingMessages):
                changed = (head.first, head.redactions) != state
                if changed or self.log.heads.get(head.channel) is not head:
                    for each in waiting:
                        self._again(each)
                    return
                log.error("the log has lost messages", channel=head.channel, cause=messages.detail)
                messages = Overloaded("Messages cannot be read.", retry_after=1)
            if isinstance(messages, PushdError):
                result = messages
            else:
                now = Position(at.epoch, head.first, at.seq)
                try:
                    result = self._finish(head, now, after, ask.limit, messages)
                except PushdError as error:
                    result = error
            for each in waiting:
                _give(each, result)

        try:
            self.log.read_messages(head, after, at.seq, ask.limit, self.max_bytes, loaded)
        except PushdError:
            del self._loading[key]
            raise

    def _again(self, ask: _Ask) -> None:
        """The channel changed while it was read: decide anew.

        One that changes each time is not read without end: an answer without messages, but with
        ``more`` of them, is right at any time, and its client asks again.
        """
        answer: bytes | PushdError | None
        try:
            if ask.read_before + 1 < MAX_READS:
                answer = self.answer(*ask._replace(read_before=ask.read_before + 1))
            else:
                answer = self._responses.make(200, self.stub(ask.channel, ask.cursor))
        except PushdError as error:
            answer = error
        if answer is not None:
            _give(ask, answer)

    def stub(self, channel: str, cursor: Cursor) -> bytes:
        """The object without messages, whether there are some or not. Raises Reset."""
        at = self.places.of(channel)
        after = self.places.after(channel, cursor, at)
        stale = self.stale(channel)
        fading = self.places.fading(channel, after)
        return answer_body(channel, at, after, [], fading=fading, stale=stale)
