"""Publishes whose answer waits until a user has the message: records, no tasks.

What a device has is told by acks and pulls, all of which are recorded here on their way to the
log. Nothing of it delays a commit, a hint or a pull.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog
import trio

from pushd.access import Access
from pushd.core.frames import Wait
from pushd.core.names import Kind, check_user, inbox_owner, kind_of
from pushd.core.permissions import Identity
from pushd.core.positions import Cursor
from pushd.core.wheel import Expiring, TimingWheel
from pushd.errors import BadRequest, PushdError
from pushd.groups import GROUP
from pushd.happenings import Happenings, SessionClosed
from pushd.limits import Shares
from pushd.log import Log, Stored, UserMarks
from pushd.metrics import Counters
from pushd.session import Session

MOST_OF_KEY: Final = 1_000  # publishes of one API key that wait

log = structlog.get_logger("pushd.deliveries")

K = TypeVar("K")
Finish = Callable[[bool], None]


class Delivery(Expiring):
    """One publish that waits for ``user``. It ends once: delivered, too late, or cancelled."""

    __slots__ = ("_deliveries", "_ended", "_finish", "leave", "session", "user", "wait_s", "wanted")

    def __init__(
        self,
        deliveries: Deliveries,
        user: str,
        wait_s: float,
        wanted: dict[str, Cursor | None],
        leave: Callable[[], None],
        session: Session | None,
    ) -> None:
        super().__init__()
        self.user = user
        self.wait_s = wait_s
        self.wanted = wanted  # the channels that count, and where the message is in each
        self.leave = leave  # gives its share back
        self.session = session  # whose publish it is, if it came as a frame
        self._deliveries = deliveries
        self._finish: Finish | None = None
        self._ended = False

    def stored(self, stored: list[Stored], finish: Finish) -> None:
        """The message is on disk: from now on it waits. ``finish`` may be called at once."""
        again = False
        for each in stored:
            if each.channel in self.wanted:
                self.wanted[each.channel] = Cursor(each.epoch, each.seq)
                again = again or each.duplicate
        self._finish = finish
        self._deliveries.hold(self, stored_before=again)

    def begin(self, finish: Finish) -> None:
        """As ``stored``, where ``wanted`` is known already, and a device may have it."""
        self._finish = finish
        self._deliveries.hold(self, stored_before=True)

    @property
    def waits(self) -> bool:
        """It has not ended."""
        return not self._ended

    def came(self, channel: str, cursor: Cursor) -> None:
        """A device of the user has everything up to there."""
        at = self.wanted.get(channel)
        if at is not None and at.epoch == cursor.epoch and at.seq <= cursor.seq:
            self.end(delivered=True)

    def expire(self) -> None:
        """Its time is up."""
        self.end(delivered=False)

    def end(self, *, delivered: bool) -> None:
        """Answer it. Safe to call twice."""
        if not self._ended:
            self.cancel()
            assert self._finish is not None
            self._deliveries.counters.waits_delivered += delivered
            self._finish(delivered)

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """Within it the publish is submitted: one that is refused at once does not wait."""
        try:
            yield
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Forget it, unanswered: its publisher has left, or nothing was stored."""
        if not self._ended:
            self._ended = True
            self._deliveries.forget(self)
            self.leave()


class Deliveries:
    """All publishes of this node that wait, by the user that they wait for."""

    def __init__(
        self,
        log: Log,
        access: Access,
        wheel: TimingWheel[Expiring],
        counters: Counters,
        happenings: Happenings,
        shares: Shares,
        most_s: float,
    ) -> None:
        """``shares``: how much of a user's may be held at once. ``most_s``: the longest wait."""
        self.counters = counters
        self._log = log
        self._access = access
        self._wheel = wheel
        self._shares = shares
        self._of_keys = Shares(MOST_OF_KEY, "publishes of one key that wait for a delivery")
        self._most_s = most_s
        self._waiting: dict[str, dict[Delivery, None]] = {}
        self._of_sessions: dict[Session, dict[Delivery, None]] = {}
        self._draining = False
        happenings.listen(SessionClosed, self._closed)

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    # -- what devices have ---------------------------------------------------------------------

    def record(self, user: str, device: str, channel: str, cursor: Cursor) -> None:
        """The device has everything up to ``cursor``, which is a position of the channel."""
        self._log.record_delivered(user, device, channel, cursor)
        if self._waiting:
            for delivery in list(self._waiting.get(user, ())):
                try:
                    delivery.came(channel, cursor)
                except Exception:  # the publisher's connection must not harm this one
                    log.exception("a publish that waited could not be answered")

    # -- who waits -----------------------------------------------------------------------------

    def expect(
        self, identity: Identity, wait: Wait, channels: list[str], session: Session | None = None
    ) -> Delivery:
        """Before a publish to ``channels`` that shall wait; then call ``stored`` or ``cancel``.

        Raises BadRequest when the user reads none of them, Overloaded beyond the publisher's share.
        """
        user = check_user(wait.delivered_to)
        if wait.ms < 0:
            raise BadRequest("wait.ms must be a number of milliseconds, such as 5000.")
        wanted: dict[str, Cursor | None] = {
            channel: None for channel in channels if self._may_reach(user, channel)
        }
        if not wanted:
            raise BadRequest(f"wait.delivered_to: {user!r} reads none of the targets.")
        shares, who = self._share_of(identity)
        shares.enter(who)
        wait_s = min(wait.ms / 1000, self._most_s)
        return Delivery(self, user, wait_s, wanted, lambda: shares.leave(who), session)

    def expect_elsewhere(
        self, user: str, wait_s: float, wanted: dict[str, Cursor], leave: Callable[[], None]
    ) -> Delivery:
        """For a publish that another node has answered for: ``begin`` it. ``leave``: it is over."""
        return Delivery(self, user, min(wait_s, self._most_s), {**wanted}, leave, None)

    def _share_of(self, identity: Identity) -> tuple[Shares, str]:
        if identity.user is not None:
            return self._shares, identity.user
        return self._of_keys, identity.key_name or ""

    def _may_reach(self, user: str, channel: str) -> bool:
        """Of a topic only tokens know who reads it: whoever acks or pulls there has it."""
        kind = kind_of(channel)
        if kind is Kind.USER:
            return inbox_owner(channel) == user
        if kind is Kind.SESSION:
            session = self._access.session_of(channel)
            if session is None:
                return not self._access.sight.complete
            return session.user == user
        return kind is not Kind.GROUP or self._access.groups.has(channel[len(GROUP) :], user)

    def hold(self, delivery: Delivery, *, stored_before: bool) -> None:
        """From now on it may be ended. ``stored_before``: a device may have it already."""
        if self._draining:
            delivery.end(delivered=False)
            return
        self.counters.waits += 1
        self._waiting.setdefault(delivery.user, {})[delivery] = None
        if delivery.session is not None:
            self._of_sessions.setdefault(delivery.session, {})[delivery] = None
        self._wheel.arm(delivery, trio.current_time() + delivery.wait_s)
        if stored_before:
            self._log.read_user(delivery.user, lambda found: _look(delivery, found))

    def forget(self, delivery: Delivery) -> None:
        """It waits no more. Safe to call for one that never did."""
        self._wheel.disarm(delivery)
        _discard(self._waiting, delivery.user, delivery)
        if delivery.session is not None:
            _discard(self._of_sessions, delivery.session, delivery)

    def _closed(self, happening: SessionClosed) -> None:
        for delivery in list(self._of_sessions.get(happening.session, ())):
            delivery.cancel()

    def drain(self) -> list[Delivery]:
        """From now on nothing waits; what does is given back to be ended."""
        self._draining = True
        return [each for waiting in self._waiting.values() for each in waiting]


def _look(delivery: Delivery, found: dict[str, UserMarks] | PushdError) -> None:
    """What is recorded of a message that an earlier attempt stored."""
    if not isinstance(found, PushdError):
        for channel, marks in found.items():
            for cursor in marks.delivered.values():
                delivery.came(channel, cursor)


def _discard(waiting: dict[K, dict[Delivery, None]], key: K, delivery: Delivery) -> None:
    of_key = waiting.get(key)
    if of_key is not None:
        of_key.pop(delivery, None)
        if not of_key:
            del waiting[key]
