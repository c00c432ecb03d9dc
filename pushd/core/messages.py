"""A message before it has a number (draft) and as it is pulled (bytes)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

DEFAULT_TYPE = "message"

_encode_string = msgspec.json.Encoder().encode


@dataclass(slots=True, frozen=True)
class Draft:
    """What a publisher gave. ``data`` is checked JSON, kept byte for byte."""

    data: bytes
    type: str = DEFAULT_TYPE
    id: str | None = None
    sender: str | None = None


def message_id(epoch: str, seq: int, given: str | None) -> str:
    """The publisher's id, or ``EPOCH.SEQ``: derived, so that it needs no storage."""
    return given if given is not None else f"{epoch}.{seq}"


def encode_message(
    seq: int, epoch: str, type_: str, id_: str | None, sender: str | None, at: int, data: bytes
) -> bytes:
    """The message as pulled. ``at``: ms since 1970. Built once, joined into every answer."""
    id_json = b'"%s.%d"' % (epoch.encode(), seq) if id_ is None else _encode_string(id_)
    sender_json = b"" if sender is None else b',"sender":' + _encode_string(sender)
    return b'{"seq":%d,"id":%s,"type":%s%s,"at":%d,"data":%s}' % (
        seq,
        id_json,
        _encode_string(type_),
        sender_json,
        at,
        data,
    )
