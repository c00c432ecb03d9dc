"""Bodies that take a while to look through are served in turns (see ``pushd.turns``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pushd.core.permissions import Identity
from pushd.errors import PushdError
from pushd.front.asking import Asking
from pushd.front.connection import HttpConnection
from pushd.front.request import Request
from pushd.hook import Unasked
from pushd.hub import Hub

# Bytes of a body: some 0.1 ms of a usual one, half a millisecond of brackets.
HEAVY: Final = 4096


def whose(identity: Identity) -> str:
    """Who has turns of its own: a user, or a service by its key."""
    return identity.key if identity.user is None else identity.user


def hold_body(hub: Hub, size: int) -> None:
    """It is whole and has to wait: a quarter is left to those that come. Raises Overloaded."""
    hub.bodies.take(size, leave=hub.bodies.most // 4)


def serve_in_turn(
    handler: Callable[..., None], connection: HttpConnection, request: Request, *more: str
) -> None:
    """What the handler does, soon. Raises Unauthorized, Overloaded."""
    identity = connection.caller.identify(request)
    hold_body(connection.hub, len(request.body))
    connection.hub.start_job(_serve, handler, connection, request, more, whose(identity))


async def _serve(
    handler: Callable[..., None],
    connection: HttpConnection,
    request: Request,
    more: tuple[str, ...],
    who: str,
) -> None:
    hub = connection.hub
    try:
        async with hub.turns.of(who):
            if not connection.out.closed:
                try:
                    handler(connection, request, *more)
                except Unasked as unasked:  # what was known of its caller has ended meanwhile
                    Asking(connection, request, unasked.question)
    except PushdError as error:
        connection.refuse(error)
    except Exception:
        connection.refuse(PushdError("The server failed to answer this."))
        raise
    finally:
        hub.bodies.give(len(request.body))
