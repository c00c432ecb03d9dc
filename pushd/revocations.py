"""What ends an identity before its time: it was revoked, or the key that vouched for it is gone.

Asked for every request and every live session, so it costs next to nothing while there is neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from pushd.core.permissions import Identity
from pushd.errors import Unauthorized

USER, JTI = "user", "jti"
KINDS = (USER, JTI)


class Standing:
    """Which identities still count. Used on the loop only.

    ``revoked``: (kind, value) to (when, until), Unix seconds; kept current by whoever owns it.
    ``keys``: the fingerprints of all keys that vouch now. ``lost``: whether one ever went away;
    until then no identity has to be looked up.
    """

    __slots__ = ("keys", "lost", "revoked")

    def __init__(self) -> None:
        self.revoked: Mapping[tuple[str, str], tuple[float, float]] = {}
        self.keys: frozenset[str] = frozenset()
        self.lost = False

    def replace_keys(self, keys: frozenset[str]) -> None:
        """From now on these keys vouch, and no others."""
        self.lost = self.lost or not self.keys <= keys
        self.keys = keys

    def has_ended(self, identity: Identity, now: float) -> bool:
        """Whether ``identity`` no longer counts, its ``exp`` aside."""
        if self.lost and identity.key not in self.keys:
            return True
        if not self.revoked or identity.user is None:
            return False
        found = self.revoked.get((USER, identity.user))
        # Of the same second: nobody knows which came first, so the token is taken for the older.
        if found and now < found[1] and (identity.iat is None or identity.iat <= found[0]):
            return True
        found = None if identity.jti is None else self.revoked.get((JTI, identity.jti))
        return found is not None and now < found[1]

    def check(self, identity: Identity, now: float) -> None:
        """Raises Unauthorized for an identity that no longer counts."""
        if (self.revoked or self.lost) and self.has_ended(identity, now):
            raise Unauthorized("The token was revoked, or the key behind it removed.")
