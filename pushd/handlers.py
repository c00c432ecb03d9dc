"""Handlers of calls in Python, for the module that the setting ``handlers`` names.

    import msgspec
    from pushd.handlers import Call, Refused, handler

    class Order(msgspec.Struct):
        item: str
        count: int = 1

    @handler("ORDER_CREATE")
    async def create(call: Call, order: Order) -> dict:
        if order.count > 10:
            raise Refused("Ten at most.", {"most": 10})
        await call.publish({"item": order.item}, users=[call.user], channels=["orders"])
        return {"ok": True}

Handlers run on pushd's own Trio loop: whatever blocks (a database driver, a computation) belongs
into ``trio.to_thread.run_sync``, or nobody is served meanwhile.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_type_hints

import msgspec

from pushd.core.frames import Message, Targets
from pushd.core.messages import DEFAULT_TYPE
from pushd.errors import BadRequest, CallRefused

MAX_NAME_BYTES = 128

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
Publish = Callable[[list[tuple[Targets, Message]]], Awaitable[list[dict[str, Any]]]]


class Refused(CallRefused):
    """Raise it to say no: the caller gets ``detail`` and ``data`` (anything that JSON can hold)."""

    def __init__(self, detail: str, data: Any = None) -> None:
        super().__init__(detail, extra={} if data is None else {"data": data})


@dataclass(slots=True, frozen=True)
class Call:
    """One call, as a handler sees it.

    ``user`` is who calls, from the token. ``session``: the one whose frame it was, None over HTTP.
    ``attributes``: what others may know of the user. ``id``: the client's; the same one again is
    the same call again, because its answer may have been lost.
    """

    name: str
    id: str | None
    user: str
    device: str | None
    session: str | None
    attributes: Mapping[str, Any]
    publish_many: Publish

    async def publish(
        self,
        data: Any,
        *,
        type: str = DEFAULT_TYPE,  # noqa: A002 (the message's member is called so)
        id: str | None = None,  # noqa: A002
        sender: str | None = None,
        **to: Any,
    ) -> list[dict[str, Any]]:
        """Publish as a service; returns the results once they are on disk.

        ``to``: as ``to`` of ``POST /v1/publish``: channels, users, groups, …, all. An ``id`` keeps
        a repeated call from storing it twice. Raises PushdError.
        """
        try:
            targets = msgspec.convert(to, Targets)
        except msgspec.ValidationError as error:
            raise BadRequest(f"These are no targets: {error}") from None
        message = Message(msgspec.Raw(msgspec.json.encode(data)), type, id, sender)
        return await self.publish_many([(targets, message)])


class Handler(NamedTuple):
    """``decoder`` None: it takes no body."""

    name: str
    function: Callable[..., Awaitable[Any]]
    decoder: msgspec.json.Decoder[Any] | None


registered: dict[str, Handler] = {}


def handler(name: str) -> Callable[[F], F]:
    """Registers an async function ``(call)`` or ``(call, body)`` for calls of this name.

    ``body`` is decoded into its annotation: any type that msgspec knows; without one, whatever
    JSON it is (objects as dict). Raises ValueError or TypeError when that cannot be.
    """
    if not name or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"A handler's name has 1 to {MAX_NAME_BYTES} bytes: {name!r}")

    def register(function: F) -> F:
        other = registered.get(name)
        if other is not None and _place(other.function) != _place(function):
            raise ValueError(
                f"Calls of {name!r} have two handlers: {'.'.join(_place(other.function))} and "
                f"{'.'.join(_place(function))}"
            )
        registered[name] = Handler(name, function, _decoder_of(function))
        return function

    return register


def _place(function: Any) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def _decoder_of(function: Callable[..., Awaitable[Any]]) -> msgspec.json.Decoder[Any] | None:
    where = ".".join(_place(function))
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{where} must be an 'async def'")
    names = list(inspect.signature(function).parameters)
    if len(names) not in (1, 2):
        raise TypeError(f"{where} must take (call) or (call, body)")
    if len(names) == 1:
        return None
    try:
        wanted = get_type_hints(function).get(names[1], Any)
        return msgspec.json.Decoder(wanted)
    except (NameError, TypeError) as error:
        raise TypeError(f"{where}: a body cannot be decoded into its type ({error})") from None
