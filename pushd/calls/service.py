"""The calls under way: each a bounded task of the node, not of the connection that it came by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from pushd.calls.asked import Asked
from pushd.calls.publishing import Publishing
from pushd.calls.python import answer_by_handler
from pushd.calls.webhook import answer_by_webhook
from pushd.core.frames import CallBody
from pushd.core.permissions import Identity
from pushd.errors import (
    BadRequest,
    CallFailed,
    CallTimedOut,
    Forbidden,
    NoHandler,
    NotReady,
    Overloaded,
    PushdError,
)
from pushd.handlers import MAX_NAME_BYTES, Handler
from pushd.limits import Shares, jittered
from pushd.metrics import Counters
from pushd.outbound import Endpoint

MAX_ID_BYTES: Final = 128

Done = Callable[[bytes | PushdError], None]

log = structlog.get_logger("pushd.calls")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """``timeout_s``: of one call, all attempts. ``max_data``: bytes of a result."""

    timeout_s: float
    max_calls: int
    max_calls_per_user: int
    max_data: int


class Calls:
    """``start`` has a call answered; a caller who leaves stops nothing. ``run`` is the service."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        endpoint: Endpoint | None,
        publishing: Publishing,
        counters: Counters,
        options: CallOptions,
    ) -> None:
        self._handlers = handlers
        self._endpoint = endpoint
        self._publishing = publishing
        self._counters = counters
        self._options = options
        self._shares = Shares(options.max_calls_per_user, "calls of one user at a time")
        self._nursery: trio.Nursery | None = None
        self._idle = trio.Event()
        self._idle.set()
        self.under_way = 0

    def start(self, identity: Identity, session: str | None, call: CallBody, done: Done) -> None:
        """``session``: whose frame it is. ``done`` gets the result as JSON, or the refusal, later.

        Raises Forbidden, BadRequest, NoHandler, Overloaded, NotReady; ``done`` is not called then.
        """
        user = identity.user
        if user is None:
            raise Forbidden(
                "Only users call: this key is of a service.",
                cure="Use the token of a user ('pushctl token'), or ask your application itself.",
            )
        _check_label("name", call.name, MAX_NAME_BYTES)
        if call.id is not None:
            _check_label("id", call.id, MAX_ID_BYTES)
        if call.name not in self._handlers and self._endpoint is None:
            raise NoHandler(f"No handler is registered for {call.name!r}.")
        if self._nursery is None:
            raise NotReady("The server is starting or stopping.", retry_after=1)
        if self.under_way >= self._options.max_calls:
            raise Overloaded("This node has all the calls it takes.", retry_after=jittered())
        self._shares.enter(user)
        if not self.under_way:
            self._idle = trio.Event()
        self.under_way += 1
        self._counters.calls += 1
        device, attributes, data = identity.device, identity.attributes, bytes(call.data)
        asked = Asked(call.name, call.id, user, device, session, attributes, data)
        self._nursery.start_soon(self._one, asked, done)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled, or ``stop``."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def settled(self) -> None:
        """Until no call is under way."""
        await self._idle.wait()

    def stop(self) -> None:
        """What is under way is cancelled; its callers are told that nobody knows."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            self._nursery = None

    async def _one(self, asked: Asked, done: Done) -> None:
        result: bytes | PushdError = CallFailed("The server stopped before the answer came.")
        try:
            result = await self._answer(asked)
        finally:
            self.under_way -= 1
            self._shares.leave(asked.user)
            if not self.under_way:
                self._idle.set()
            if isinstance(result, PushdError):
                self._counters.calls_failed += 1
            try:
                done(result)
            except Exception:  # whoever asked has trouble of its own
                log.exception("a call's answer could not be given", call=asked.name)

    async def _answer(self, asked: Asked) -> bytes | PushdError:
        handler = self._handlers.get(asked.name)
        options = self._options
        try:
            if handler is None:
                assert self._endpoint is not None
                return await answer_by_webhook(
                    self._endpoint, asked, self._publishing, options.max_data, options.timeout_s
                )
            with trio.move_on_after(options.timeout_s):
                return await answer_by_handler(handler, asked, self._publishing, options.max_data)
            log.warning("a handler took too long", call=asked.name, user=asked.user)
            return CallTimedOut(f"The application took more than {options.timeout_s:g} s.")
        except PushdError as error:
            return error
        except Exception:
            log.exception("a call failed", call=asked.name)
            return PushdError("The server failed to have this call answered.")


def _check_label(name: str, value: str, most: int) -> None:
    if not value or len(value.encode()) > most or not value.isprintable():
        raise BadRequest(f"{name} must be 1 to {most} printable bytes.")
