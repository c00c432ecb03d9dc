"""A call answered by the application's webhook."""

from __future__ import annotations

import math

import msgspec
import structlog
import trio

from pushd.calls.asked import Asked, checked_data, refusal
from pushd.calls.publishing import Publishing
from pushd.core.frames import null_data
from pushd.core.jsoncheck import MAX_DEPTH, check_json
from pushd.errors import (
    CallFailed,
    CallTimedOut,
    NoHandler,
    Overloaded,
    PushdError,
    StorageFull,
)
from pushd.outbound import Answer, CircuitOpen, Endpoint, NoAnswer, envelope
from pushd.publish import Fanned

LARGE = 4096  # bytes that are looked through in a thread
LEVELS = 4  # around the data of a message in "publish"

log = structlog.get_logger("pushd.calls")


class Result(msgspec.Struct):
    """What the application answers with 200."""

    data: msgspec.Raw = msgspec.field(default_factory=null_data)
    publish: list[Fanned] = []


class Problem(msgspec.Struct):
    """What it answers with 4xx to refuse a call: a problem object (RFC 9457) has ``detail``."""

    detail: str
    data: msgspec.Raw = msgspec.field(default_factory=null_data)


_results = msgspec.json.Decoder(Result)
_problems = msgspec.json.Decoder(Problem)


async def answer_by_webhook(
    endpoint: Endpoint, asked: Asked, publishing: Publishing, max_data: int, within_s: float
) -> bytes:
    """The result as JSON; what it publishes is on disk.

    Raises NoHandler, CallRefused, Overloaded, StorageFull; CallFailed for whatever goes wrong.
    """
    id_ = asked.make_id()
    try:
        answer = await _posted(endpoint, asked, id_, within_s)
        if answer.status in (200, 204):
            return await _taken(answer, publishing, id_, max_data)
        if answer.status == 404:
            raise NoHandler(f"The application has no handler for {asked.name!r}.")
        reason = f"status {answer.status}"
        # 401 is about us: it does not believe the signature.
        if 400 <= answer.status < 500 and answer.status != 401:
            try:
                problem = _problems.decode(answer.body)
            except msgspec.MsgspecError:
                pass
            else:
                data = bytes(problem.data)
                raise refusal(problem.detail, None if data == b"null" else data, max_data)
    except _Garbage as error:
        reason = str(error)
    log.warning("a call failed", call=asked.name, user=asked.user, reason=reason)
    raise CallFailed("The application failed to handle this call.")


class _Garbage(Exception):
    """The answer cannot be used."""


async def _posted(endpoint: Endpoint, asked: Asked, id_: str, within_s: float) -> Answer:
    data = {
        "name": asked.name,
        "id": asked.id,
        "user": asked.user,
        "device": asked.device,
        "session": asked.session,
        "attributes": asked.attributes,
        "data": msgspec.Raw(asked.data),
    }
    deadline = trio.current_time() + within_s
    try:
        return await endpoint.post(envelope("call", data), id_=id_, within_s=within_s)
    except CircuitOpen as error:
        raise Overloaded(
            "The application does not answer.", retry_after=math.ceil(error.retry_after_s)
        ) from None
    except NoAnswer as error:
        log.warning("a call had no answer", call=asked.name, user=asked.user, reason=error.reason)
        if trio.current_time() >= deadline:
            raise CallTimedOut("The application did not answer in time.") from None
        raise CallFailed("The application did not answer.") from None


async def _taken(answer: Answer, publishing: Publishing, id_: str, max_data: int) -> bytes:
    if not answer.body:
        return b"null"
    try:
        if len(answer.body) > LARGE:
            result = await trio.to_thread.run_sync(_parse, answer.body)
        else:
            result = _parse(answer.body)
        data = checked_data(bytes(result.data), max_data)
        if result.publish:
            await publishing.publish([(each.to, each.message) for each in result.publish], id_)
    except (Overloaded, StorageFull):
        raise
    except msgspec.ValidationError as error:
        raise _Garbage(f"the answer has another form than expected: {error}") from None
    except PushdError as error:
        raise _Garbage(f"the answer cannot be used: {error.detail}") from None
    return data


def _parse(body: bytes) -> Result:
    check_json(body, MAX_DEPTH + LEVELS)
    return _results.decode(body)
