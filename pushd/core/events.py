"""What goes over server-sent events: ready bytes, each event one chunk of HTTP/1.1.

An event carries the JSON that a frame would (core/frames.py). Its chunk has no state, so an
event encoded once can be written to any number of connections.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, unquote

from pushd.core.frames import hint_json, object_json
from pushd.core.positions import EPOCH_WIDTH, Cursor, parse_cursor
from pushd.errors import BadRequest

LAST_CHUNK: Final = b"0\r\n\r\n"
# What browsers hand back must fit into a request head: a longer id is not given.
MAX_ID: Final = 1024
_PLAIN: Final = ":!$'()-._~@"  # beside letters and digits: they need no escape within an id


def event(type_: str, data: bytes, *, id_: str | None = None, retry_ms: int | None = None) -> bytes:
    """One event as one chunk. ``data``: one line. ``id_``: what to resume with."""
    lines = [b"event: " + type_.encode()]
    if id_ is not None:
        lines.append(b"id: " + id_.encode())
    if retry_ms is not None:
        lines.append(b"retry: %d" % retry_ms)
    text = b"\n".join([*lines, b"data: " + data, b"", b""])
    return b"%x\r\n%b\r\n" % (len(text), text)


def hint_event(channel: str, epoch: str, seq: int, jitter_ms: int) -> bytes:
    """As ``hint_frame``; its id resumes after it."""
    data = hint_json(channel, epoch, seq, jitter_ms)
    return event("hint", data, id_=_part(channel, epoch, seq))


def said_hint(channel: str, epoch: str, seq: int) -> bytes:
    """A hint without an id: what the browser resumes with stays."""
    return event("hint", hint_json(channel, epoch, seq, 0))


def said(type_: str, **members: Any) -> bytes:
    """A JSON object of this type as one event."""
    return event(type_, object_json(type_, **members))


def unchunked(chunk: bytes) -> bytes:
    """The event alone, for HTTP/1.0."""
    return chunk[chunk.index(b"\r\n") + 2 : -2]


def id_of(positions: Iterable[tuple[str, str, int]]) -> str | None:
    """An id for all of these (channel, epoch, seq); None when it would be too long."""
    parts = []
    room = MAX_ID
    for position in positions:
        parts.append(_part(*position))
        room -= len(parts[-1]) + 1
        if room < 0:
            return None
    return ",".join(parts) or None


def _part(channel: str, epoch: str, seq: int) -> str:
    return f"{quote(channel, safe=_PLAIN)}={epoch}.{seq}"


def parse_id(text: str) -> dict[str, Cursor]:
    """The cursors by channel that an id names. One that is not ours names none: the browser
    sends what it has, and nobody could correct it."""
    found: dict[str, Cursor] = {}
    for part in text.split(","):
        name, _, cursor = part.rpartition("=")
        try:
            position = parse_cursor(cursor)
        except BadRequest:
            continue
        if len(position.epoch) == EPOCH_WIDTH:
            found[unquote(name)] = position
    return found
