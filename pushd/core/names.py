"""Names of channels, users, groups and devices: what is allowed, and what a name means.

Nothing is normalised or mended here: a name is taken as it is or refused with the reason,
because two spellings of one name would be two logs (docs/protocol.md, "Names").
"""

from __future__ import annotations

import enum
import re
import unicodedata
from functools import lru_cache
from typing import Final

from pushd.errors import BadRequest

MAX_CHANNEL_BYTES: Final = 255
MAX_USER_BYTES: Final = 200
MAX_DEVICE_BYTES: Final = 128

SESSION_PREFIX: Final = "session:"
PRESENCE_PREFIX: Final = "$presence:"

# '/' splits paths, ',' splits lists, '*' ends patterns, '?' begins query strings.
FORBIDDEN: Final = frozenset("/,*?")

_PLAIN = re.compile(r"[!-~]+", re.ASCII)
_INVISIBLE_CATEGORIES: Final = {
    "Cc": "a control character",
    "Cf": "an invisible format character",
    "Cs": "half of a surrogate pair",
    "Co": "a private-use character",
    "Cn": "an unassigned code point",
    "Zs": "white space",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
# Letters, marks and symbols by category, yet nothing is seen: fillers, joiners, variation
# selectors, the empty Braille cell. They would make two names that look the same.
_INVISIBLE: Final = (
    frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
    | frozenset(map(chr, range(0x180B, 0x1810)))
    | frozenset(map(chr, range(0xFE00, 0xFE10)))
    | frozenset(map(chr, range(0xE0100, 0xE01F0)))
)


class Kind(enum.Enum):
    """What a channel is for; decides who may read it and how long it lives."""

    ALL = "all"
    USER = "user"
    GROUP = "group"
    SESSION = "session"
    INTERNAL = "internal"
    TOPIC = "topic"


# Bounded: names come from strangers. Refusals are not remembered, they raise.
@lru_cache(maxsize=16_384)
def check_channel(name: str) -> str:
    """Return ``name`` if it may name a channel, else raise BadRequest that says why."""
    check_characters(name, "channel name", MAX_CHANNEL_BYTES)
    _refuse_dots(name, "channel name")
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _RESERVED_PREFIXES:
        _check_reserved(prefix, rest)
    return name


@lru_cache(maxsize=16_384)
def check_user(user: str) -> str:
    """Return ``user`` if it may be a user id, else raise BadRequest that says why."""
    return _check_id(user, "user id", MAX_USER_BYTES)


@lru_cache(maxsize=16_384)
def check_group(group: str) -> str:
    """Return ``group`` if it may be a group id (as a user id), else raise BadRequest."""
    return _check_id(group, "group id", MAX_USER_BYTES)


@lru_cache(maxsize=16_384)
def check_device(device: str) -> str:
    """Return ``device`` if it may be a device id, else raise BadRequest that says why."""
    return _check_id(device, "device id", MAX_DEVICE_BYTES)


def kind_of(channel: str) -> Kind:
    """The kind of a checked channel name."""
    prefix, colon, _ = channel.partition(":")
    if colon:
        kind = _RESERVED_PREFIXES.get(prefix)
        if kind is not None:
            return kind
    elif channel == "all":
        return Kind.ALL
    return Kind.INTERNAL if channel[:1] == "$" else Kind.TOPIC


def session_id(channel: str) -> str:
    """Of a channel that ``kind_of`` says is a session's: which session."""
    return channel[len(SESSION_PREFIX) :]


def presence_of(topic: str) -> str | None:
    """The channel that tells who follows ``topic``; None: its name would be too long."""
    channel = PRESENCE_PREFIX + topic
    return channel if len(channel.encode()) <= MAX_CHANNEL_BYTES else None


def inbox_owner(channel: str) -> str | None:
    """The user whose inbox this is (``user:ID`` or ``user:ID:NAME``), or None."""
    if not channel.startswith("user:"):
        return None
    return channel.split(":", 2)[1]


def namespace_of(channel: str) -> str:
    """What the settings refer to: the part before the first ``:``, or the whole name."""
    return channel.partition(":")[0]


def check_characters(text: str, what: str, max_bytes: int) -> None:
    """Raise BadRequest unless ``text`` is short, visible, NFC and free of ``FORBIDDEN``."""
    if not text:
        raise BadRequest(f"The {what} is empty.")
    # Every character is at least one byte: refuses a megabyte before looking at it.
    if len(text) > max_bytes:
        raise BadRequest(f"The {what} is longer than {max_bytes} bytes.")
    for character in FORBIDDEN:
        if character in text:
            raise BadRequest(f"The {what} contains '{character}', which is not allowed there.")
    if _PLAIN.fullmatch(text):
        return
    for index, character in enumerate(text):
        reason = _INVISIBLE_CATEGORIES.get(unicodedata.category(character))
        if reason is None and character in _INVISIBLE:
            reason = "an invisible character"
        if reason is not None:
            raise BadRequest(f"The {what} contains {reason} (U+{ord(character):04X}) at {index}.")
    if len(text.encode()) > max_bytes:
        raise BadRequest(f"The {what} is longer than {max_bytes} bytes of UTF-8.")
    if not unicodedata.is_normalized("NFC", text):
        raise BadRequest(f"The {what} is not in Unicode NFC form; normalise it before sending.")


_RESERVED_PREFIXES: Final = {
    "user": Kind.USER,
    "group": Kind.GROUP,
    "session": Kind.SESSION,
}


def _check_id(text: str, what: str, max_bytes: int) -> str:
    check_characters(text, what, max_bytes)
    _refuse_dots(text, what)
    # 'user:A:B' is the inbox B of user A: with colons in ids it could be somebody else's too.
    if ":" in text:
        raise BadRequest(f"The {what} contains ':', which is not allowed there.")
    return text


def _check_reserved(prefix: str, rest: str) -> None:
    if prefix == "user":
        user, *more = rest.split(":")
        if len(more) > 1 or "" in more:
            raise BadRequest("An inbox is named 'user:ID' or 'user:ID:NAME'.")
        check_user(user)
    elif prefix == "group":
        check_group(rest)
    elif not rest:
        raise BadRequest(f"The {prefix} id after '{prefix}:' is empty.")
    else:
        _refuse_dots(rest, f"{prefix} id")


def _refuse_dots(text: str, what: str) -> None:
    # HTTP clients resolve these away in paths, even when percent-encoded.
    if text in (".", ".."):
        raise BadRequest(f"The {what} must not be '{text}'.")
