"""What the owner answers to ``POST /v1/pull``, and how it is asked."""

from __future__ import annotations

from typing import Any

import msgspec

PULL = "/v1/pull"
MOST = 128  # cursors of one pull
LIMIT = 1000  # messages of a channel in one answer


class Part(msgspec.Struct):
    """Of one channel: an answer, a reset, or an error."""

    epoch: str = ""
    first: int = 0
    head: int = 0
    next: str = ""
    more: bool = False
    messages: list[msgspec.Raw] = []
    reset: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    channels: dict[str, Part]


_decoder = msgspec.json.Decoder(_Answer)
_parts = msgspec.json.Decoder(Part)


def pull_body(cursors: dict[str, str], limit: int = LIMIT) -> bytes:
    """``cursors`` in wire form."""
    return msgspec.json.encode({"cursors": cursors, "limit": limit})


def decode_pull(answer: bytes) -> dict[str, Part]:
    """By channel. Raises msgspec.DecodeError."""
    return _decoder.decode(answer).channels


def decode_part(answer: bytes) -> Part:
    """Of one channel. Raises msgspec.DecodeError."""
    return _parts.decode(answer)
