"""One address of the application: signed requests with retries, behind a circuit breaker."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import structlog
import trio

from pushd.metrics import Counters
from pushd.outbound.breaker import Breaker
from pushd.outbound.client import MAX_ANSWER, MAX_CONNECTIONS, HttpClient
from pushd.outbound.signing import Signer
from pushd.outbound.wire import Answer, NoAnswer

ATTEMPT_S = 5.0
TRIES = 4
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0

log = structlog.get_logger("pushd.outbound")


class CircuitOpen(NoAnswer):
    """It was not asked, because the attempts before all failed. ``retry_after_s``: when to come."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Endpoint:
    """See the package. ``run`` is the service. ``name``: in logs, metrics and stats."""

    def __init__(
        self,
        name: str,
        url: str,
        keys: Sequence[bytes],
        counters: Counters,
        *,
        attempt_s: float = ATTEMPT_S,
        max_connections: int = MAX_CONNECTIONS,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        """``keys``: see ``keys_of``. ``attempt_s``: one attempt, from the name's look-up on."""
        self.name = name
        self._client = HttpClient(url, max_connections, max_answer)
        self._signer = Signer(keys)
        self._counters = counters
        self._attempt_s = attempt_s
        self._breaker = Breaker()
        self._reason = ""  # of the last failure
        self.run = self._client.run

    def sign_with(self, keys: Sequence[bytes]) -> None:
        """From the next attempt on."""
        self._signer = Signer(keys)

    @property
    def host(self) -> str:
        """Where it is, without what may be secret in its address."""
        return self._client.place.netloc

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open or half open: the application does not answer."""
        return self._breaker.state(trio.current_time()) != "closed"

    def state(self) -> dict[str, Any]:
        """For operators."""
        circuit = self._breaker.state(trio.current_time())
        reason = None if circuit == "closed" else self._reason
        return {"host": self.host, "circuit": circuit, "reason": reason}

    async def post(self, body: bytes, *, id_: str, within_s: float, tries: int = TRIES) -> Answer:
        """``within_s``: for all attempts and the pauses between them.

        An answer of 429 or from 500 on is no answer: it is asked again. Raises NoAnswer.
        """
        deadline = trio.current_time() + within_s
        for left in reversed(range(tries)):
            try:
                return await self._in_room(body, id_, deadline)
            except CircuitOpen:
                raise
            except _TryAgain as failure:
                delay = self._delay(tries - 1 - left, failure.retry_after_s)
                if not left or trio.current_time() + delay >= deadline:
                    raise NoAnswer(failure.reason, failure.status) from failure
            await trio.sleep(delay)
        raise NoAnswer("no attempt was asked for")

    def _delay(self, failed: int, asked_s: float | None) -> float:
        """Full jitter: those that failed together shall not come again together."""
        return max(random.uniform(0, min(FIRST_DELAY_S * 2**failed, LONGEST_DELAY_S)), asked_s or 0)

    async def _in_room(self, body: bytes, id_: str, deadline: float) -> Answer:
        """The time that it waits for a connection is not the application's."""
        self._check_circuit()
        room = self._client.room
        with trio.move_on_at(deadline) as waiting:
            await room.acquire()
        if waiting.cancelled_caught:
            raise NoAnswer("all its connections are taken")
        try:
            return await self._attempt(body, id_, deadline)
        finally:
            room.release()

    def _check_circuit(self) -> None:
        wait_s = self._breaker.wait_s(trio.current_time())
        if wait_s:
            raise CircuitOpen(self._reason, wait_s)

    async def _attempt(self, body: bytes, id_: str, deadline: float) -> Answer:
        breaker = self._breaker
        self._check_circuit()  # it may have opened while this one waited
        breaker.begin()
        known = False
        try:
            answer = await self._asked(body, id_, deadline)
            # An error of its own (500) shows that it is there: one bad request must not be able
            # to cut everybody else off.
            if answer.status == 429 or answer.status > 500:
                raise _TryAgain(f"status {answer.status}", answer.status, answer.retry_after_s)
            known = True
            if breaker.succeeded():
                log.info("answers again: circuit closed", endpoint=self.name, host=self.host)
        except NoAnswer as error:
            known = True
            self._failed(error.reason)
            if isinstance(error, _TryAgain):
                raise
            raise _TryAgain(error.reason, error.status) from error
        finally:
            if not known:
                breaker.abandoned()
        if answer.status == 500:
            self._counters.outbound_failures += 1
            raise _TryAgain("status 500", 500)
        return answer

    async def _asked(self, body: bytes, id_: str, deadline: float) -> Answer:
        self._counters.outbound_requests += 1
        headers = [
            ("Content-Type", "application/json"),
            *self._signer.headers(id_, int(time.time()), body),
        ]
        seconds = max(min(self._attempt_s, deadline - trio.current_time()), 0.0)
        with trio.move_on_after(seconds):
            return await self._client.post(headers, body)
        raise NoAnswer(f"no whole answer within {seconds:.3g} s")

    def _failed(self, reason: str) -> None:
        self._counters.outbound_failures += 1
        self._reason = reason
        if self._breaker.failed(trio.current_time()):
            self._counters.circuits_opened += 1
            log.warning(
                "does not answer: circuit open",
                endpoint=self.name,
                host=self.host,
                reason=reason,
            )


class _TryAgain(NoAnswer):
    def __init__(
        self, reason: str, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason, status)
        self.retry_after_s = retry_after_s
