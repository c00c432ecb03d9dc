"""One call: what is asked, by whom; and what may be answered."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from pushd.core.jsoncheck import check_json
from pushd.errors import CallRefused, TooLarge
from pushd.outbound import new_id

MAX_DETAIL: Final = 500  # characters of what the application says to a caller whom it refuses


class Asked(NamedTuple):
    """``data``: strict JSON. ``session``: whose frame it was; None over HTTP."""

    name: str
    id: str | None
    user: str
    device: str | None
    session: str | None
    attributes: Mapping[str, Any]
    data: bytes

    def make_id(self) -> str:
        """How the application knows the call again: by user, id, name and data; else by itself.

        It is the same after a restart, without anything to remember.
        """
        if self.id is None:
            return new_id()
        parts = [self.user.encode(), self.id.encode(), self.name.encode(), self.data]
        digest = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
        return "call_" + base64.urlsafe_b64encode(digest[:18]).decode()


def checked_data(data: bytes, most: int) -> bytes:
    """What a caller may be given. Raises BadRequest, TooLarge: the application's fault."""
    if len(data) > most:
        raise TooLarge(f"An answer's data may have {most} bytes; this has {len(data)}.")
    check_json(data)
    return data


def refusal(detail: str, data: bytes | None, most: int) -> CallRefused:
    """The application's no, fit for the caller. Raises as ``checked_data``."""
    extra = {} if data is None else {"data": msgspec.Raw(checked_data(data, most))}
    return CallRefused(detail[:MAX_DETAIL] or "The application refused this call.", extra=extra)
