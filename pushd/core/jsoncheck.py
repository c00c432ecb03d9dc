"""One strict look at a JSON body before it is stored and copied to everybody as it is.

What is accepted here decodes to the same value in every client: a message that some of them
cannot read would stop those at its seq for ever. msgspec alone keeps huge integers, any depth
below its recursion limit, and the last of duplicate keys.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

import msgspec

from pushd.core.positions import MAX_SEQ
from pushd.errors import BadRequest

MAX_DEPTH: Final = 32
# Beyond this JavaScript rounds, so that one id becomes another.
MAX_INT: Final = MAX_SEQ

T = TypeVar("T")

_decode = msgspec.json.Decoder().decode
_POSITION = re.compile(r"\(byte (\d+)\)")
_NOT_A_NUMBER = re.compile(rb"-?(nan|inf(inity)?)\b", re.IGNORECASE)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Assigning it in JavaScript changes the object's prototype instead of adding a member.
_PROTO: Final = "__proto__"


def check_json(raw: bytes | memoryview, max_depth: int = MAX_DEPTH) -> None:
    """Raise BadRequest unless ``raw`` is JSON that every client reads alike.

    That is: strict UTF-8 without BOM, one value and nothing after it, at most ``max_depth``
    arrays and objects within each other, finite numbers, integers within ±(2^53-1), no lone
    surrogates, no key twice in one object, no key ``__proto__``.
    """
    body = raw if type(raw) is bytes else bytes(raw)
    try:
        value = _decode(body)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _malformed(body, error) from None
    kind = type(value)
    if kind is dict or kind is list:
        _check_containers(value, body, max_depth)
    elif kind is int:
        _check_int(value)


def strict_decode(raw: bytes | memoryview, type_: type[T], max_depth: int = MAX_DEPTH) -> T:
    """``raw`` as a ``type_`` (say, a msgspec.Struct) after ``check_json``; else BadRequest.

    ``max_depth`` counts from the outermost object: one more than a payload one level down has.
    """
    check_json(raw, max_depth)
    try:
        value: T = _decoder(cast("Any", type_)).decode(raw)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The JSON has another form than expected: {error}.") from None
    return value


@lru_cache(maxsize=256)
def _decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_)


def _check_containers(root: Any, body: bytes, max_depth: int) -> None:
    """Walk level by level, never recursing: depth, integers, keys."""
    members = 0
    strings: list[str] = []
    level = [root]
    depth = 0
    while level:
        depth += 1
        if depth > max_depth:
            raise _too_deep(max_depth)
        below = []
        for container in level:
            values = container
            if type(container) is dict:
                members += len(container)
                strings += container
                if _PROTO in container:
                    raise BadRequest("The JSON has a key '__proto__'; choose another name.")
                values = container.values()
            for value in values:
                kind = type(value)
                if kind is str:
                    strings.append(value)
                elif kind is dict or kind is list:
                    below.append(value)
                elif kind is int and not -MAX_INT <= value <= MAX_INT:
                    _check_int(value)
        level = below
    # Every member has its colon, and each other colon is within a string. So fewer members and
    # colons decoded than there are in the text: a key came twice and only its last value is here.
    colons = body.count(b":")
    if members == colons:
        return
    # A colon written as an escape is in the strings without being in the text.
    if members + "".join(strings).count(":") != colons or b"\\u003" in body:
        check_unique_keys(body)


def check_unique_keys(raw: bytes) -> None:
    """Raise BadRequest that names the key if one comes twice in an object, or for no JSON at all.

    Exact but slow: ``check_json`` calls it only for what cannot be settled by counting.
    """

    def unique(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise BadRequest(f"The key {_shown(key)} comes twice in one object of the JSON.")
            seen.add(key)

    try:
        json.loads(raw.decode(), object_pairs_hook=unique, parse_int=float)
    except RecursionError:  # also within a value that a later duplicate hides from the walk
        raise BadRequest("The JSON is nested far too deep.") from None
    except ValueError as error:
        raise BadRequest(f"Not well-formed JSON: {error}.") from None


def _check_int(value: int) -> None:
    if not -MAX_INT <= value <= MAX_INT:
        shown = str(value) if value.bit_length() <= 128 else f"of {value.bit_length()} bits"
        raise BadRequest(
            f"The integer {shown} is beyond ±(2^53-1), where JavaScript rounds; "
            "send it as a string."
        )


def _too_deep(max_depth: int) -> BadRequest:
    return BadRequest(f"The JSON is nested deeper than {max_depth} arrays and objects.")


def _malformed(body: bytes, error: Exception) -> BadRequest:
    """Says in words what a decoder's message hides. Off the hot path."""
    if not body.strip(b" \t\r\n"):
        return BadRequest('There is no JSON here; an empty string would be "" with its quotes.')
    if body.startswith(b"\xef\xbb\xbf"):
        return BadRequest("The JSON begins with a byte order mark; send UTF-8 without one.")
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or 0 in body[:2]:
        return BadRequest("The JSON seems to be UTF-16 or UTF-32; send UTF-8.")
    try:
        body.decode()
    except UnicodeDecodeError as broken:
        return BadRequest(f"The JSON is not UTF-8 at byte {broken.start}: {broken.reason}.")
    message = str(error)
    if "out of range" in message:
        return BadRequest("A number in the JSON is too large to be kept; send it as a string.")
    found = _POSITION.search(message)
    at = int(found[1]) if found else len(body)
    if _NOT_A_NUMBER.match(body, at) or _NOT_A_NUMBER.match(body, max(at - 1, 0)):
        return BadRequest(f"NaN and Infinity (byte {at}) are not JSON; send null or a string.")
    if _SURROGATE.search(body, max(at - 12, 0), at + 1) and ("surrog" in message or not found):
        return BadRequest(f"Half of a surrogate pair (\\ud800 to \\udfff) before byte {at}.")
    return BadRequest(f"Not well-formed JSON: {message.removeprefix('JSON is malformed: ')}.")


def _shown(key: str) -> str:
    return json.dumps(key if len(key) <= 60 else key[:60] + "…", ensure_ascii=False)
