"""Parameters that several operations share: their form, their check, their words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from pushd.core.names import check_channel, check_device, check_group, check_user
from pushd.core.positions import MAX_SEQ
from pushd.core.pulling import parse_count, parse_seq
from pushd.errors import BadRequest
from pushd.web.operation import Param, Schema

MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 100
MAX_REASON_BYTES: Final = 123  # what a close frame holds (RFC 6455, 5.5)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_NODE = re.compile(r"[!-~]{1,64}", re.ASCII)


def text(most: int, least: int = 1) -> Schema:
    """A schema. Lengths in characters."""
    return {"type": "string", "minLength": least, "maxLength": most}


def whole(least: int, most: int, default: int | None = None) -> Schema:
    """A schema: a whole number, both ends included."""
    schema: Schema = {"type": "integer", "minimum": least, "maximum": most}
    return schema if default is None else {**schema, "default": default}


FLAG: Final[Schema] = {"type": "boolean"}


def _flag(name: str) -> Callable[[str], bool]:
    def parse(value: str) -> bool:
        if value not in ("true", "false"):
            raise BadRequest(f"{name} must be true or false.")
        return value == "true"

    return parse


def _matching(name: str, pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not pattern.fullmatch(value):
            raise BadRequest(f"{name} is not in the form of those that answers contain.")
        return value

    return parse


def _limit(value: str) -> int:
    return parse_count("limit", value, MAX_PAGE)


def _seq(name: str, least: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        seq = parse_seq(name, value)
        if seq < least:
            raise BadRequest(f"{name} must be at least {least}.")
        return seq

    return parse


def _at_most(name: str, most: int) -> Callable[[str], str]:
    """Text that is compared, never stored: only its length matters."""

    def parse(value: str) -> str:
        if len(value.encode()) > most:
            raise BadRequest(f"{name} is longer than {most} bytes.")
        return value

    return parse


def _reason(value: str) -> str:
    if not value or len(value.encode()) > MAX_REASON_BYTES or not value.isprintable():
        raise BadRequest(f"reason must be 1 to {MAX_REASON_BYTES} printable bytes.")
    return value


def query(
    name: str, schema: Schema, help_: str, parse: Callable[[str], Any] = str, **members: Any
) -> Param:
    """A parameter of the query. ``members``: as ``Param`` has them."""
    return Param(name, schema, help_, parse, **members)


CHANNEL = Param("channel", text(255), "A channel.", check_channel, required=True, example="news")
USER = Param("user", text(200), "A user id.", check_user, required=True, example="alice")
GROUP = Param("group", text(200), "A group id.", check_group, required=True, example="staff")
SESSION = Param(
    "session",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    "A session, as hello or a list named it.",
    _matching("session", _ID),
    required=True,
    example="nJx3Vq0kT2cZ9aBd",
)
SEQ = Param(
    "seq", whole(1, MAX_SEQ), "The message's number.", _seq("seq", 1), required=True, example="42"
)
OF_SEQ = query("seq", whole(1, MAX_SEQ), "Who has this one; left out: the newest.", _seq("seq", 1))
LIMIT = query(
    "limit", whole(1, MAX_PAGE, DEFAULT_PAGE), "Items of one page.", _limit, default=DEFAULT_PAGE
)
NEXT = query(
    "next", text(1024, 0), "The next of the page before.", _at_most("next", 1024), default=""
)
PREFIX = query(
    "prefix", text(255, 0), "What the names begin with.", _at_most("prefix", 255), default=""
)
ONLINE = query(
    "online", FLAG, "Only those who are online (true), or are not (false).", _flag("online")
)
OF_USER = query("user", text(200), "Only those of this user.", check_user)
OF_NODE = query(
    "node",
    {"type": "string", "pattern": "^[!-~]{1,64}$"},
    "Only those of this node.",
    _matching("node", _NODE),
)
REVOKED_USER = query(
    "user", text(200), "The user whose revocation goes.", check_user, example="alice"
)
REVOKED_JTI = query("jti", text(512), "The token whose revocation goes.", _at_most("jti", 512))
DEVICE = query("device", text(128), "The client's device.", check_device)
REASON = query("reason", text(MAX_REASON_BYTES), "Told to the client.", _reason, default="kicked")
RECONNECT = query(
    "reconnect",
    {**FLAG, "default": False},
    "Whether the client is told that it may come again.",
    _flag("reconnect"),
    default=False,
)
