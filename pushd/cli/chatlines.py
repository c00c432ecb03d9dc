"""Chat records, one JSON object a line: ``{"day","minute","user","text","to"?}``."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from pushd.core.names import FORBIDDEN
from pushd.errors import BadRequest

# A new day follows the last one at once: nobody wants to wait for a gap between two days.
_NEW_DAY_S: Final = 60


class ChatLine(msgspec.Struct, frozen=True):
    """One record. ``minute`` counts from the beginning of its day."""

    number: int
    day: str
    minute: int
    user: str
    text: str
    to: str | None
    digest: str


class _Record(msgspec.Struct, frozen=True):
    day: str
    minute: int
    user: str
    text: str
    to: str | None = None


_decoder = msgspec.json.Decoder(_Record)


def read_lines(path: Path, limit: int | None = None) -> Iterator[ChatLine]:
    """Records with their line numbers (from 1). Raises BadRequest that names the wrong line."""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            if limit is not None and number > limit:
                return
            try:
                record = _decoder.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
                raise BadRequest(f"{path}, line {number}: {cause}") from None
            yield ChatLine(
                number,
                record.day,
                record.minute,
                record.user,
                record.text,
                record.to,
                hashlib.sha256(raw.strip()).hexdigest()[:12],
            )


def user_id(nick: str) -> str:
    """A nick as a user id: without the white space that no id has, other signs as ``_``."""
    kept = "".join(
        "_"
        if character in FORBIDDEN or character == ":" or not character.isprintable()
        else character
        for character in unicodedata.normalize("NFC", nick)
        if not character.isspace()
    )
    return kept if kept not in ("", ".", "..") else "_"


def messages_of(
    line: ChatLine, channel: str, prefix: str, *, inbox: bool
) -> list[tuple[str, dict[str, Any]]]:
    """What is published for a record: to the channel, and a copy to whom it addresses.

    The id is made of the line's number and content, so the same file again stores nothing twice.
    """
    data: dict[str, Any] = {"text": line.text, "day": line.day, "minute": line.minute}
    if line.to is not None:
        data["to"] = line.to
    identity = f"{prefix}-{line.number}-{line.digest}"
    message = {"data": data, "id": identity, "sender": user_id(line.user)}
    targets = [channel]
    if inbox and line.to is not None:
        targets.append(f"user:{user_id(line.to)}")
    return [(target, message) for target in targets]


def paced(lines: Iterable[ChatLine], speed: float) -> Iterator[tuple[float, list[ChatLine]]]:
    """Lines of one minute together, and when they are due: seconds from the beginning."""
    group: list[ChatLine] = []
    due_s = 0.0
    for line in lines:
        if group and (line.day, line.minute) != (group[-1].day, group[-1].minute):
            yield due_s, group
            same_day = line.day == group[-1].day
            passed_s = 60 * (line.minute - group[-1].minute) if same_day else _NEW_DAY_S
            due_s += max(passed_s, 0) / speed
            group = []
        group.append(line)
    if group:
        yield due_s, group
