"""Pulling: exactly the retained messages after a cursor, at once or when there are some.

One answer for all who ask the same: a finished answer is whole HTTP bytes, kept until the head
moves. A held poll is a record that fan-out or the timing wheel finishes, not a task.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog
import trio

from pushd.core.permissions import Identity, may_read
from pushd.core.positions import Cursor
from pushd.core.pulling import UNWRITTEN, Position, answer_body
from pushd.core.responses import Responses
from pushd.core.topics import NOTHING
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import Forbidden, Overloaded, PushdError, TokenExpired
from pushd.fanout import Fanout
from pushd.limits import Shares
from pushd.log import Head, Log, MissingMessages
from pushd.metrics import Counters
from pushd.places import Places
from pushd.revocations import Standing
from pushd.tails import Tails

log = structlog.get_logger("pushd.pull")

WAIT_SHORTENED = 0.2  # waits end up to this much sooner, so that polls do not come in step

MAX_READS = 8  # for one pull, of a channel that is changed meanwhile again and again

Reply = Callable[[bytes | PushdError], None]


@dataclass(frozen=True, slots=True)
class Access:
    """Whether an identity may have an answer now. Asked when the answer is made."""

    public_namespaces: frozenset[str]
    standing: Standing = field(default_factory=Standing)

    def check_read(self, identity: Identity, channel: str, now: float) -> None:
        """``now``: Unix seconds. Raises TokenExpired, Unauthorized or Forbidden."""
        self.check_valid(identity, now)
        if not may_read(identity, channel, self.public_namespaces):
            raise Forbidden(f"You may not read channel {channel!r}.")

    def check_valid(self, identity: Identity, now: float) -> None:
        """Raises TokenExpired; Unauthorized when it was revoked or its key is gone."""
        if identity.expires is not None and identity.expires <= now:
            raise TokenExpired("The token has expired.")
        standing = self.standing
        if standing.revoked or standing.lost:
            standing.check(identity, now)


class HeldPoll(Expiring):
    """A pull that waits. ``finish`` is called once: something moved, time is up, or drain."""

    __slots__ = ("_channels", "_finish", "_pulls", "done", "identity")

    def __init__(
        self,
        pulls: Pulls,
        channels: list[str],
        finish: Callable[[], None],
        identity: Identity | None,
    ) -> None:
        super().__init__()
        self.identity = identity
        self._pulls = pulls
        self._channels = channels
        self._finish = finish
        self.done = False

    def moved(self) -> None:
        if not self.done:
            self.cancel()
            self._pulls.counters.polls_answered += 1
            self._finish()

    def expire(self) -> None:
        if not self.done:
            self.cancel()
            self._finish()

    def cancel(self) -> None:
        """Forget it, unanswered: its client has left."""
        if self.done:
            return
        self.done = True
        for channel in self._channels:
            self._pulls.fanout.unwait(channel, self)
        self._pulls.wheel.disarm(self)
        self._pulls.held.pop(self, None)
        shares, identity = self._pulls.shares, self.identity
        if shares is not None and identity is not None and identity.user is not None:
            shares.leave(identity.user)


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


class Pulls:
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
        self.log = log
        self.position = places.of
        self.places = places
        self.fanout = fanout
        self.wheel = wheel
        self.counters = counters
        self.max_bytes = max_bytes
        self.held: dict[HeldPoll, None] = {}
        self.shares = shares
        self.draining = False
        self._tails = tails
        self._responses = responses
        self._loading: dict[_Key, list[_Ask]] = {}

    def hold(
        self,
        channels: list[str],
        wait: float,
        finish: Callable[[], None],
        identity: Identity | None = None,
    ) -> HeldPoll | None:
        """Register a poll whose client is at all heads; call it on the turn that found that out.

        ``identity``: whose it is; when that is revoked, the poll is finished. None when it must be
        answered at once (the server is draining). Raises Overloaded beyond the user's share.
        """
        if self.draining:
            return None
        if self.shares is not None and identity is not None and identity.user is not None:
            self.shares.enter(identity.user)
        poll = HeldPoll(self, channels, finish, identity)
        for channel in channels:
            head = self.log.heads.get(channel)
            self.fanout.wait(channel, poll, NOTHING if head is None else (head.epoch, head.seq))
        self.held[poll] = None
        wait *= 1 - WAIT_SHORTENED * random.random()
        self.wheel.arm(poll, trio.current_time() + wait)
        self.counters.polls_held += 1
        return poll

    def answer(
        self, channel: str, cursor: Cursor, limit: int, reply: Reply, read_before: int = 0
    ) -> bytes | None:
        """The whole HTTP answer: returned when it is at hand, else given to ``reply`` later.

        ``read_before``: how often the log was read for it in vain. Raises Reset.
        """
        head = self.log.heads.get(channel)
        if head is None:
            self.places.after(channel, cursor, UNWRITTEN)
            return self._responses.make(200, answer_body(channel, UNWRITTEN, 0, []))
        at = Position(head.epoch, head.first, head.seq)
        after = self.places.after(channel, cursor, at)
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

    def _finish(
        self, head: Head, at: Position, after: int, limit: int, messages: list[bytes]
    ) -> bytes:
        answer = self._responses.make(200, answer_body(head.channel, at, after, messages))
        if (head.epoch, head.first, head.seq) == at:
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
                result = self._finish(head, now, after, ask.limit, messages)
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
        return answer_body(channel, at, self.places.after(channel, cursor, at), [])

    def drain(self) -> list[HeldPoll]:
        """From now on nothing is held; what is held is given back to be finished."""
        self.draining = True
        return list(self.held)
