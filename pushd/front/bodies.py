"""Request bodies of the hot routes as typed structs."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pushd.core.frames import CallBody
from pushd.core.jsoncheck import check_json
from pushd.errors import BadRequest

DEFAULT_LIMIT = 100  # messages of one answer, per channel

T = TypeVar("T")


class MultiBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/pull``. ``wait`` in seconds."""

    cursors: dict[str, str] = {}
    mine: bool = False
    limit: int = DEFAULT_LIMIT
    wait: float = 0.0
    device: str | None = None
    atleast: dict[str, int] = {}


class AckBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/ack``."""

    cursors: dict[str, str]
    device: str | None = None


class ReadBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/channels/{channel}/read``. ``device``: who reads; it is not told."""

    cursor: str
    device: str | None = None


class HttpCall(CallBody, forbid_unknown_fields=True):
    """The body of ``POST /v1/call``."""


multi_decoder = msgspec.json.Decoder(MultiBody)
ack_decoder = msgspec.json.Decoder(AckBody)
read_decoder = msgspec.json.Decoder(ReadBody)
call_decoder = msgspec.json.Decoder(HttpCall)


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises BadRequest that says what is wrong and where."""
    check_json(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as cause:
        raise BadRequest(f"The body has another form than expected: {cause}") from None
