"""A call answered by a Python handler."""

from __future__ import annotations

import msgspec
import structlog

from pushd.calls.asked import Asked, checked_data, refusal
from pushd.calls.publishing import Publishing
from pushd.errors import BadRequest, CallFailed, CallRefused, Overloaded, StorageFull
from pushd.handlers import Call, Handler, Refused

log = structlog.get_logger("pushd.calls")


async def answer_by_handler(
    handler: Handler, asked: Asked, publishing: Publishing, max_data: int
) -> bytes:
    """The result as JSON. Raises BadRequest, CallRefused; CallFailed for whatever goes wrong."""
    arguments = [_call(asked, publishing), *_body(handler, asked)]
    try:
        try:
            result = await handler.function(*arguments)
        except Refused as refused:
            raise _refusal(refused, max_data) from None
        return checked_data(msgspec.json.encode(result), max_data)
    except (CallRefused, Overloaded, StorageFull):
        raise  # its own no; or that of the log to what it has published
    except (Exception, SystemExit):
        log.exception("a handler failed", call=asked.name, user=asked.user)
        raise CallFailed("The application failed to handle this call.") from None


def _call(asked: Asked, publishing: Publishing) -> Call:
    return Call(
        name=asked.name,
        id=asked.id,
        user=asked.user,
        device=asked.device,
        session=asked.session,
        attributes=asked.attributes,
        publish_many=publishing.publish,
    )


def _body(handler: Handler, asked: Asked) -> list[object]:
    if handler.decoder is None:
        return []
    try:
        return [handler.decoder.decode(asked.data)]
    except msgspec.ValidationError as error:
        raise BadRequest(
            f"data has another form than {asked.name!r} expects: {error}",
            cure="Send what the application's handler takes; detail says what is wrong.",
        ) from None


def _refusal(refused: Refused, max_data: int) -> CallRefused:
    data = refused.extra.get("data")
    encoded = None if data is None else msgspec.json.encode(data)
    return refusal(refused.detail, encoded, max_data)
