"""About users and tokens that are no longer let in."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pushd.core.positions import MAX_SEQ

Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]


class RevocationBody(msgspec.Struct, forbid_unknown_fields=True):
    """``user`` or ``jti``. ``until``: when no such token is valid any more; left out: 30 days."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    until: Time | None = None


class RevocationItem(msgspec.Struct, omit_defaults=True):
    """``at``: when it was revoked."""

    at: int
    until: int
    user: str | None = None
    jti: str | None = None


class RevocationPage(msgspec.Struct):
    items: list[RevocationItem]
    next: str | None
