"""What the application is asked, once for all who wait for the same answer."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from pushd.core.permissions import Identity
from pushd.errors import PushdError

Answer = Identity | PushdError
Told = Callable[[Answer], None]

log = structlog.get_logger("pushd.hook")


class Unasked(Exception):
    """Only the application can tell who this is: wait for the ``question``, which has been put."""

    def __init__(self, question: Question) -> None:
        super().__init__("the application has to be asked")
        self.question = question


class Question:
    """``key``: what is asked, as a hash. It is always answered, with an identity or an error.

    Whoever leaves before that cancels nothing: the answer is remembered for those that follow.
    """

    __slots__ = ("_waiting", "answer", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.answer: Answer | None = None
        self._waiting: dict[Told, None] = {}

    def wait(self, told: Told) -> None:
        """Call ``told`` once, with the answer; not before this returns."""
        assert self.answer is None
        self._waiting[told] = None

    def forget(self, told: Told) -> None:
        """They have left. Nothing happens if they have been told."""
        self._waiting.pop(told, None)

    def settle(self, answer: Answer) -> None:
        """This is the answer."""
        self.answer = answer
        waiting, self._waiting = self._waiting, {}
        for told in waiting:
            try:
                told(answer)
            except Exception:  # one connection's failure is its own
                log.exception("an answer of the application could not be passed on")

    async def answered(self) -> Identity:
        """Wait for the answer. Raises the error that it may be."""
        if self.answer is None:
            arrived = trio.Event()

            def told(_: Answer) -> None:
                arrived.set()

            self.wait(told)
            try:
                await arrived.wait()
            finally:
                self.forget(told)
        assert self.answer is not None
        if isinstance(self.answer, PushdError):
            raise self.answer
        return self.answer
