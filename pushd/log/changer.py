"""The writer's work beside appending: changes that somebody asked for, and sweeping after them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from pushd.errors import PushdError
from pushd.log import failures
from pushd.log.changes import EraseUser, Request
from pushd.log.checkpoint import Checkpointer
from pushd.log.crossing import Answer, Outcome
from pushd.log.decide import Decider
from pushd.log.holds import Holds
from pushd.log.idclock import IdClock
from pushd.log.ledger import Ledger
from pushd.log.store import Store
from pushd.log.sweeper import Sweeper
from pushd.log.wiper import Wiper


class Changer:
    """On the writer's thread. Raises sqlite3.Error when the disk cannot be trusted any more.

    A cut and the sweeping of its rows are two commits, and the loop is told between them: whoever
    misses a message can see at the head why.
    """

    def __init__(
        self,
        store: Store,
        clock: IdClock,
        decider: Decider,
        sweeper: Sweeper,
        checkpointer: Checkpointer,
        holds: Holds,
        post: Callable[[Outcome], None],
    ) -> None:
        self.cut_messages = self.deleted_channels = 0
        self.wiper = Wiper(checkpointer, sweeper.garbage, sweeper.aside)
        self._store = store
        self._clock = clock
        self._decider = decider
        self._sweeper = sweeper
        self._checkpointer = checkpointer
        self._holds = holds
        self._post = post

    def change(self, requests: list[Request]) -> None:
        """In one commit; those that are refused leave no trace in it.

        When it raises, those that are left in ``requests`` were not answered.
        """
        try:
            self._commit(requests)
        except sqlite3.Error as error:
            if failures.is_damage(error):
                self._undo()
                self._one_by_one(requests)
            else:
                self._roll_back(error)
                self._refuse(requests, error)

    def _one_by_one(self, requests: list[Request]) -> None:
        """One of them met a damaged page, which makes its transaction useless for all others."""
        while requests:
            known = len(self._sweeper.damage)
            try:
                self._commit(requests[:1])
            except sqlite3.Error as error:
                if not failures.is_damage(error):
                    self._roll_back(error)
                    self._refuse(requests[:1], error)
                else:
                    self._undo()
                    # It has noted where, and does without that.
                    if len(self._sweeper.damage) > known:
                        continue
                    self._refuse(requests[:1], error)
            del requests[:1]

    def _refuse(self, requests: list[Request], error: sqlite3.Error) -> None:
        """One error object each: they are raised in different tasks."""
        why = failures.unreadable if failures.is_damage(error) else failures.refusal
        refused: list[Answer] = [(one, why(error)) for one in requests]
        self._post(Outcome(refused, [], 0, requests=len(requests)))

    def _commit(self, requests: list[Request]) -> None:
        now_ms = time.time_ns() // 1_000_000
        damage = self._sweeper.damage
        ledger = Ledger(self._store.connection, now_ms, self._clock, damage, self._holds)
        with self._store.transaction():
            results: list[tuple[Request, object]] = [
                (one, _applied(one, ledger)) for one in requests
            ]
        self._decider.forget_channels(garbage.channel for garbage in ledger.garbage)
        if any(isinstance(request, EraseUser) for request in requests):
            self._store.devices.forget()
        self.cut_messages += ledger.cut_messages
        self.deleted_channels += ledger.deleted_channels
        self._checkpointer.grow(3 * (1 + sum(one.weight for one in requests) + len(ledger.effects)))
        self._post(Outcome(results, [], 0, ledger.effects, len(requests)))
        self._sweeper.add(ledger.garbage)
        if ledger.left_members:
            self._sweeper.sweep_members()
        if any(one.wipes and not isinstance(result, PushdError) for one, result in results):
            self.wiper.add(garbage.log_id for garbage in ledger.garbage)

    def sweep_if_due(self) -> bool:
        """Whether it was."""
        due = self._sweeper.due
        if due is None or due > time.monotonic():
            return False
        try:
            effects, forgotten = self._sweeper.slice()
        except sqlite3.Error as error:
            if failures.is_damage(error) and self._sweeper.set_aside(error):
                self._undo()
            else:
                self._roll_back(error)
                self._sweeper.failed()
            return True
        self._decider.forget_channels(forgotten)
        if effects:
            self._post(Outcome([], [], 0, effects))
        self._checkpointer.grow(self._sweeper.pages())
        return True

    def _roll_back(self, error: sqlite3.Error) -> None:
        if not failures.is_passing(error):
            raise error
        self._undo()

    def _undo(self) -> None:
        self._store.rollback()
        self._decider.forget()


def _applied(request: Request, ledger: Ledger) -> object:
    try:
        return request.apply(ledger)
    except PushdError as refusal:
        return refusal
