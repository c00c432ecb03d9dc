"""Python values as the JSON that goes out."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from pushd.errors import BadRequest


def encode(value: Any) -> bytes:
    """As JSON. Raises BadRequest for NaN and infinities, TypeError for what has no JSON form."""
    raw = msgspec.json.encode(value)
    # The library writes those as null: another value than the one that was given.
    if b"null" in raw:
        # What is Raw is JSON already.
        plain = msgspec.to_builtins(value, builtin_types=(msgspec.Raw,))
        if not _is_finite(plain):
            raise BadRequest("NaN and infinity are not JSON; send null or a string.")
    return raw


def _is_finite(value: Any) -> bool:
    """Of builtin types; a loop, since data may be nested deeply."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, float) and not math.isfinite(each):
            return False
        if isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list | tuple | set | frozenset):
            left += each
    return True
