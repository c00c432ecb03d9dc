"""Which web pages may talk to this server: one list for WebSocket and CORS."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LOOPBACK = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


class Origins:
    """Exact origins (RFC 6454), and with ``loopback`` (development) any page of this machine."""

    def __init__(self, allowed: Iterable[str], *, loopback: bool = False) -> None:
        self._allowed = frozenset(allowed)
        self._loopback = loopback

    def allows(self, origin: str) -> bool:
        """Compared byte for byte: no case folding, no default ports; ``null`` only if listed."""
        if origin in self._allowed:
            return True
        return self._loopback and _LOOPBACK.fullmatch(origin) is not None

    def allows_upgrade(self, origin: str | None, host: str) -> bool:
        """Also pages of this very host, and programs, which send no Origin."""
        if origin is None or self.allows(origin):
            return True
        return origin != "null" and origin.partition("://")[2] == host
