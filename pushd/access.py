"""Whether somebody may have an answer at this moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from pushd.core.permissions import Identity, may_read
from pushd.errors import Forbidden, TokenExpired
from pushd.revocations import Standing


@dataclass(frozen=True, slots=True)
class Access:
    """Whether an identity may have an answer now. Asked when the answer is made."""

    public_namespaces: frozenset[str]
    standing: Standing = field(default_factory=Standing)

    def check_read(self, identity: Identity, channel: str, now: float) -> None:
        """``now``: Unix seconds. Raises TokenExpired, Unauthorized or Forbidden."""
        self.check_valid(identity, now)
        if not may_read(identity, channel, self.public_namespaces):
            raise Forbidden(f"You may not read channel {channel!r}.")

    def check_valid(self, identity: Identity, now: float) -> None:
        """Raises TokenExpired; Unauthorized when it was revoked or its key is gone."""
        if identity.expires is not None and identity.expires <= now:
            raise TokenExpired("The token has expired.")
        standing = self.standing
        if standing.revoked or standing.lost:
            standing.check(identity, now)
