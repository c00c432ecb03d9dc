"""Asks the application who a token is of, and remembers what it said for as long as it says.

It is down or slow: whoever needs an answer is told to come again (``not_ready``), never that the
token is wrong; who is known stays known.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog
import trio

from pushd.core.permissions import Identity
from pushd.errors import BadRequest, NotReady, PushdError, RateLimited, TokenExpired, Unauthorized
from pushd.hook.answers import identity_of
from pushd.hook.known import Known
from pushd.hook.line import HookRules, Line, Sent, not_ready
from pushd.hook.question import Question, Unasked
from pushd.limits import Addresses
from pushd.metrics import Counters
from pushd.outbound import Answer, Endpoint
from pushd.revocations import Standing
from pushd.settings.application import is_open_to_readers

TELL_S: Final = 10.0  # between two lines of the log about answers that are of no use

log = structlog.get_logger("pushd.hook")


class ConnectHook:
    """Used on the loop only; ``run`` is its service. Without rules it knows nobody."""

    def __init__(
        self, standing: Standing, counters: Counters, addresses: Addresses, node_id: str
    ) -> None:
        self.known = Known()
        self._standing = standing
        self._counters = counters
        self._addresses = addresses
        self._node_id = node_id
        self._line: Line | None = None
        self._open: dict[bytes, Question] = {}
        self._nursery: trio.Nursery | None = None
        self._changed = trio.Event()
        self._told_at = -TELL_S

    def install(self, rules: HookRules | None) -> None:
        """Ask by these rules from now on; None: nobody. Who came by another address is out."""
        if rules == self.rules:
            return
        self._line = None if rules is None else Line(rules, self._counters)
        self.known.clear()
        self._changed.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. What is being asked when the rules change has to come again."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            try:
                async with trio.open_nursery() as nursery:
                    if self._line is not None:
                        self._nursery = nursery
                        nursery.start_soon(self._line.endpoint.run)
                    await self._changed.wait()
                    nursery.cancel_scope.cancel()
            finally:
                self._nursery = None

    # -- who is it -------------------------------------------------------------------------------

    @property
    def rules(self) -> HookRules | None:
        """How the application is asked, if it is."""
        return None if self._line is None else self._line.rules

    @property
    def fingerprints(self) -> frozenset[str]:
        """What vouches for those that the application knows."""
        return frozenset() if self._line is None else frozenset({self._line.fingerprint})

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where the application is asked."""
        return () if self._line is None else (self._line.endpoint,)

    @property
    def takes_cookies(self) -> bool:
        """Whether cookies go along with tokens."""
        return self.rules is not None and b"cookie" in self.rules.headers

    @property
    def weakness(self) -> str | None:
        """What the log should warn of at the start."""
        if self.rules is None or not is_open_to_readers(self.rules.url):
            return None
        return "auth_url is plain http: whoever is on the way can read tokens and cookies"

    @property
    def asking(self) -> int:
        """Questions that are not answered yet."""
        return len(self._open)

    def sent(self, headers: Mapping[bytes, bytes]) -> Sent:
        """What of these headers goes along with a token: the same answer holds for no others."""
        return () if self._line is None else self._line.sent(headers)

    def identify(
        self,
        credential: str | None,
        sent: Sent,
        address: str,
        now: float,
        *,
        renew: bool = False,
    ) -> Identity:
        """What the application said. ``credential`` None: the headers alone are to tell.

        ``renew``: an answer whose time is half over will not do. Raises Unasked, or what is
        refused without asking: Unauthorized, TokenExpired, NotReady, RateLimited.
        """
        line = self._line
        if line is None or (credential is None and not any(sent)):
            raise Unauthorized("This needs a key or token.")
        key = hashlib.sha256(repr((credential, sent)).encode()).digest()
        identity = self._known(key, now, renew)
        if identity is not None:
            self._counters.auth_known += 1
            return identity
        clock = time.monotonic()
        error = self.known.refusal(key, clock)
        if error is not None:
            self._counters.auth_known += 1
            raise error.again()
        question = self._open.get(key)
        if question is None:
            question = self._begin(line, key, credential, sent, address, clock)
        raise Unasked(question)

    def _known(self, key: bytes, now: float, renew: bool) -> Identity | None:
        identity = self.known.identity(key, now)
        if identity is None:
            return None
        if self._standing.has_ended(identity, now):
            # Of before a revocation: the application may say something else by now.
            self.known.forget(key)
            return None
        if renew and identity.expires is not None and identity.iat is not None:
            left = identity.expires - now
            if left < (identity.expires - identity.iat) / 2:
                return None
        return identity

    # -- asking ----------------------------------------------------------------------------------

    def _begin(
        self,
        line: Line,
        key: bytes,
        credential: str | None,
        sent: Sent,
        address: str,
        clock: float,
    ) -> Question:
        if self._nursery is None:
            raise NotReady("The server is starting or stopping.", retry_after=1)
        who = self._addresses.key(address)
        line.limits.begin(who, clock)
        told = {
            "token": credential,
            "headers": line.named(sent),
            "address": address,
            "node": self._node_id,
        }
        question = self._open[key] = Question(key)
        self._nursery.start_soon(self._put, line, question, msgspec.json.encode(told), who)
        return question

    async def _put(self, line: Line, question: Question, body: bytes, who: str | None) -> None:
        """Settles the question, whatever happens."""
        answer: Identity | PushdError = not_ready("The application could not be asked.")
        try:
            with trio.move_on_after(line.rules.timeout_s) as turn:
                await line.room.acquire()
            if not turn.cancelled_caught:
                try:
                    # While this one waited, others of the address may have been refused.
                    line.limits.check(who, time.monotonic())
                    answer = await self._ask(line, question.key, body, who)
                finally:
                    line.room.release()
        except RateLimited as error:
            answer = error
        except Exception:
            log.exception("the application could not be asked")
        finally:
            line.limits.ended(who)
            del self._open[question.key]
            question.settle(answer)

    async def _ask(
        self, line: Line, key: bytes, body: bytes, who: str | None
    ) -> Identity | PushdError:
        self._counters.auth_asked += 1
        asked_at = time.time()
        answer = await line.post(body)
        if isinstance(answer, NotReady):
            return answer
        found = self._read(answer, asked_at, line.fingerprint)
        if isinstance(found, PushdError):
            self.known.refuse(key, found, time.monotonic())
            if found.status == 401:
                self._counters.auth_refused += 1
                line.limits.refused(who, time.monotonic())
            return found
        if self._standing.has_ended(found, time.time()):
            return NotReady("The user was revoked meanwhile: ask again.", retry_after=1)
        self.known.learn(key, found)
        return found

    def _read(self, answer: Answer, asked_at: float, vouches: str) -> Identity | PushdError:
        if answer.status in (401, 403):
            return Unauthorized("The application knows neither this token nor what came with it.")
        problem = f"status {answer.status}"
        if answer.status == 200:
            try:
                return identity_of(answer.body, asked_at, vouches)
            except TokenExpired as error:
                return error.again()  # it will be kept
            except BadRequest as error:
                problem = error.detail
        self._counters.auth_unusable += 1
        now = time.monotonic()
        if now - self._told_at >= TELL_S:
            self._told_at = now
            log.warning("an answer of auth_url is of no use", reason=problem)
        return not_ready("What the application answered is of no use; the log says why.", 10)
