"""Who is on a connection: asked of the keys once, then remembered while the header stays."""

from __future__ import annotations

import time

from pushd.core.names import SESSION_PREFIX
from pushd.core.permissions import Identity
from pushd.errors import Unauthorized
from pushd.front.request import Request
from pushd.hub import Hub


class Caller:
    """The identity of one connection's requests, and what it was last allowed to read."""

    __slots__ = ("_allowed", "_channel", "_credential", "_hub", "_identity")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._credential = b""
        self._identity: Identity | None = None
        self._allowed: Identity | None = None
        self._channel = ""

    def identify(self, request: Request) -> Identity:
        """Raises Unauthorized, TokenExpired."""
        header = request.headers.get(b"authorization")
        if header is None:
            raise Unauthorized("This needs a key or token.")
        now = time.time()
        if self._identity is not None and header == self._credential:
            try:
                self._hub.access.check_valid(self._identity, now)
            except Unauthorized:
                pass  # the keys may be others now: they are asked anew
            else:
                return self._identity
        self._identity = self._hub.authenticator.identify(bearer(header), now)
        self._credential = header
        return self._identity

    def check_read(self, identity: Identity, channel: str, now: float) -> None:
        """As ``Access.check_read``; the same question again costs two comparisons."""
        if identity is self._allowed and channel == self._channel:
            self._hub.access.check_valid(identity, now)
            return
        self._hub.access.check_read(identity, channel, now)
        if not channel.startswith(SESSION_PREFIX):  # which may end before the connection
            self._allowed, self._channel = identity, channel


def bearer(header: bytes) -> str:
    """The credential in an Authorization header. Raises Unauthorized."""
    scheme, _, credential = header.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthorized("Authorization must be 'Bearer' and a key or token.")
    return credential.strip()
