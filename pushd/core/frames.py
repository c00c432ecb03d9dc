"""What goes over a WebSocket: server frames as ready bytes, client frames as typed structs.

Server frames are unmasked and stateless (RFC 6455, 5.1), so a frame encoded once can be written
to any number of connections.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pushd.core.messages import DEFAULT_TYPE
from pushd.errors import BadRequest, PushdError

PING = b"\x89\x00"
_encode = msgspec.json.Encoder().encode


def text_frame(payload: bytes) -> bytes:
    """One final text frame, unmasked."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


def close_frame(code: int, reason: str) -> bytes:
    """What ends a WebSocket, unmasked. ``reason``: at most 123 bytes of UTF-8."""
    text = reason.encode()
    return b"\x88%c%b%b" % (len(text) + 2, code.to_bytes(2, "big"), text)


def object_json(type_: str, **members: Any) -> bytes:
    """What every transport says in its own bytes: a JSON object of this type."""
    return _encode({"type": type_, **members})


def frame(type_: str, **members: Any) -> bytes:
    """A JSON object of this type as one text frame."""
    return text_frame(object_json(type_, **members))


def hint_json(channel: str, epoch: str, seq: int, jitter_ms: int) -> bytes:
    """The one thing pushed about messages: channel, epoch, newest seq."""
    jitter = b',"jitter_ms":%d' % jitter_ms if jitter_ms else b""
    return b'{"type":"hint","channel":%b,"epoch":"%b","seq":%d%b}' % (
        _encode(channel),
        epoch.encode(),
        seq,
        jitter,
    )


def hint_frame(channel: str, epoch: str, seq: int, jitter_ms: int) -> bytes:
    """A hint as one text frame."""
    return text_frame(hint_json(channel, epoch, seq, jitter_ms))


def error_frame(error: PushdError, id_: str | None = None) -> bytes:
    """A refusal as one text frame. ``id_``: of the frame that is refused."""
    members: dict[str, Any] = {"code": error.code, "detail": error.detail, **error.extra}
    if error.retry_after is not None:
        members["retry_after_ms"] = error.retry_after * 1000
    if id_ is not None:
        members["id"] = id_
    return frame("error", **members)


class Message(msgspec.Struct):
    """The message as a publisher gives it; ``data`` stays untouched bytes."""

    data: msgspec.Raw
    type: str = DEFAULT_TYPE
    id: str | None = None
    sender: str | None = None


class Targets(msgspec.Struct, forbid_unknown_fields=True):
    """Whom a publish goes to."""

    channels: list[str] = []
    users: list[str] = []
    groups: list[str] = []
    sessions: list[str] = []
    all: bool = False


class Wait(msgspec.Struct, forbid_unknown_fields=True):
    """A publish is answered when a device of that user has it, or after ``ms`` milliseconds."""

    delivered_to: str
    ms: int = 5000


class Auth(msgspec.Struct, tag="auth"):
    """Must be the first frame, when the upgrade brought no token."""

    token: str


class Refresh(msgspec.Struct, tag="refresh"):
    """A new token of the same user and device, before the old one expires.

    None: the application is asked about the cookies of the handshake once more.
    """

    token: str | None = None


class Subscribe(msgspec.Struct, tag="subscribe"):
    """More channels, each with a cursor, which is only compared: its head may tell of a reset."""

    channels: dict[str, str]


class Unsubscribe(msgspec.Struct, tag="unsubscribe"):
    """Channels to hint at no more."""

    channels: list[str]


class Ping(msgspec.Struct, tag="ping"):
    """A heartbeat that is answered by pong; any other frame is one as well."""


class Ack(msgspec.Struct, tag="ack"):
    """Cursors up to which this device has the messages. Answered only when one is refused."""

    cursors: dict[str, str]


class Read(msgspec.Struct, tag="read"):
    """How far the user has read. Answered only when it is refused."""

    channel: str
    cursor: str


class Publish(msgspec.Struct, tag="publish"):
    """As POST /v1/publish. ``id`` comes back in the answer, and is the message's if it has none."""

    to: Targets
    message: Message
    id: str | None = None
    wait: Wait | None = None


def null_data() -> msgspec.Raw:
    """A default as a factory: msgspec cannot write a Raw into a JSON schema."""
    return msgspec.Raw(b"null")


class CallBody(msgspec.Struct):
    """For the application. The same ``id``, name and data again are the same call again."""

    name: str
    id: str | None = None
    # Not "Raw | None": in a union with None, Raw takes nothing but null.
    data: msgspec.Raw = msgspec.field(default_factory=null_data)


class Call(CallBody, tag="call"):
    """For the application; answered by result or error if it has an ``id``."""


ClientFrame = Auth | Refresh | Subscribe | Unsubscribe | Ping | Ack | Read | Publish | Call
_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)


def decode_client_frame(text: str) -> ClientFrame:
    """Raises BadRequest with the cause; an unknown frame is refused, never a reason to close."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as cause:
        raise BadRequest(f"This frame is not one that pushd knows: {cause}") from None


# The close codes, and whether a client may come again as it is.
RECONNECT: Final[dict[int, bool]] = {
    1000: False,
    1001: True,
    1008: True,
    1009: True,
    1011: True,
    1012: True,
    1013: True,
    4001: False,
    4003: False,
    4008: True,
    4009: False,
    4029: True,
}


_CLOSE: Final = {401: 4001, 403: 4003, 429: 4029, 500: 1011, 503: 1013}


def close_code(error: PushdError) -> int:
    """What a session is closed with that cannot be, for this reason."""
    return _CLOSE.get(error.status, 1008)


def bye_json(
    code: int, reason: str, retry_after_ms: int = 0, reconnect: bool | None = None
) -> bytes:
    """Said before every close that the server begins. ``reconnect`` None: as the table says."""
    return object_json(
        "bye",
        code=code,
        reason=reason,
        reconnect=RECONNECT[code] if reconnect is None else reconnect,
        retry_after_ms=retry_after_ms,
    )


def bye_frame(
    code: int, reason: str, retry_after_ms: int = 0, reconnect: bool | None = None
) -> bytes:
    """``bye_json`` as one text frame."""
    return text_frame(bye_json(code, reason, retry_after_ms, reconnect))
