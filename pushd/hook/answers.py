"""What the application answers: who it is, what they may do, for how long."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pushd.core.jsoncheck import strict_decode
from pushd.core.names import check_device, check_user
from pushd.core.permissions import Identity, check_attributes, check_pattern
from pushd.core.positions import MAX_SEQ
from pushd.errors import BadRequest, TokenExpired

# Twice what a JWT may have: it names its patterns, and has no signature.
MAX_ANSWER_BYTES: Final = 16 * 1024


class _Answer(msgspec.Struct):
    user: str
    device: str | None = None
    attributes: dict[str, Any] = {}
    subscribe: list[str] = []
    publish: list[str] = []
    expires: int | float | None = None
    ttl: int | float | None = None


def identity_of(body: bytes, asked_at: float, key: str) -> Identity:
    """The identity that an answer (200) gives. ``asked_at``: Unix seconds; ``key``: what vouches.

    Unknown members are ignored. Raises BadRequest that says what is wrong with it, and
    TokenExpired when its time was over before it was asked for.
    """
    if len(body) > MAX_ANSWER_BYTES:
        raise BadRequest(f"It has more than {MAX_ANSWER_BYTES} bytes.")
    answer = strict_decode(body, _Answer)
    return Identity(
        user=check_user(answer.user),
        device=None if answer.device is None else check_device(answer.device),
        expires=_expires(answer, asked_at),
        subscribe=tuple(check_pattern(pattern) for pattern in answer.subscribe),
        publish=tuple(check_pattern(pattern) for pattern in answer.publish),
        attributes=check_attributes(answer.attributes),
        iat=asked_at,
        key=key,
    )


def _expires(answer: _Answer, asked_at: float) -> float:
    if (answer.expires is None) == (answer.ttl is None):
        raise BadRequest("It needs 'expires' (Unix seconds) or 'ttl' (seconds), not both.")
    if answer.ttl is not None:
        if not 1 <= answer.ttl <= MAX_SEQ:
            raise BadRequest("'ttl' is no time of 1 second or more.")
        return asked_at + answer.ttl
    assert answer.expires is not None
    if not 0 <= answer.expires <= MAX_SEQ:
        raise BadRequest("'expires' is no time.")
    if answer.expires <= asked_at:
        raise TokenExpired("The application says that this has expired.")
    return answer.expires
