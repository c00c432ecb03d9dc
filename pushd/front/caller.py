"""Who is on a connection: asked of the keys once, then remembered while the header stays."""

from __future__ import annotations

import time

from pushd.core.names import PRESENCE_PREFIX, SESSION_PREFIX
from pushd.core.permissions import Identity
from pushd.errors import PushdError, Unauthorized
from pushd.front.origins import check_ambient
from pushd.front.request import Request
from pushd.groups import GROUP
from pushd.hook import Question, Sent
from pushd.hub import Hub

# Of a group nobody is a member for ever, and a session may end before the connection: who may read
# these is asked each time.
PASSING = (GROUP, SESSION_PREFIX, PRESENCE_PREFIX)


class Caller:
    """The identity of one connection's requests, and what it was last allowed to read.

    ``gate``: set while a body is being read whose sender the application is asked about.
    """

    __slots__ = (
        "_address",
        "_allowed",
        "_channel",
        "_credential",
        "_hub",
        "_identity",
        "_sent",
        "_told",
        "gate",
    )

    def __init__(self, hub: Hub, address: str) -> None:
        self._hub = hub
        self._address = address
        self._credential: bytes | str | None = b""
        self._identity: Identity | None = None
        self._sent: Sent | None = None  # the headers that the identity holds for; None: any
        self._told: Identity | PushdError | None = None
        self._allowed: Identity | None = None
        self._channel = ""
        self.gate: Question | None = None

    def identify(self, request: Request) -> Identity:
        """By the header ``Authorization``, else by what the browser added, such as cookies.

        Raises Unauthorized, TokenExpired, and the rest of ``Authenticator.identify``: Unasked when
        the application has to tell.
        """
        header = request.headers.get(b"authorization")
        if header is None:
            check_ambient(self._hub, request.method, request.headers)
        identity = self._identity
        if (
            identity is not None
            and header == self._credential
            and (self._sent is None or self._sent == self._hub.authenticator.sent(request.headers))
        ):
            try:
                self._hub.access.check_valid(identity, time.time())
            except PushdError:
                pass  # the keys may be others now, and so may the application's answer
            else:
                return identity
        return self._identify(request, header, None if header is None else bearer(header))

    def identify_by(self, request: Request, token: str) -> Identity:
        """By a token that came elsewhere than in a header. Raises as ``identify``."""
        return self._identify(request, token, token)

    def told(self, answer: Identity | PushdError | None) -> None:
        """The application's answer about the request that is dispatched once more now; None when
        that is over."""
        self._told = answer

    def _identify(
        self, request: Request, shown: bytes | str | None, credential: str | None
    ) -> Identity:
        authenticator = self._hub.authenticator
        told = self._told
        if isinstance(told, PushdError):
            raise told.again()
        identity = told or authenticator.identify(
            credential, time.time(), request.headers, self._address
        )
        asked_for = authenticator.is_asked_for(identity)
        self._sent = authenticator.sent(request.headers) if asked_for else None
        self._credential, self._identity = shown, identity
        return identity

    def check_read(self, identity: Identity, channel: str, now: float) -> None:
        """As ``Access.check_read``; the same question again costs two comparisons."""
        if identity is self._allowed and channel == self._channel:
            self._hub.access.check_valid(identity, now)
            return
        self._hub.access.check_read(identity, channel, now)
        if not channel.startswith(PASSING):
            self._allowed, self._channel = identity, channel


def bearer(header: bytes) -> str:
    """The credential in an Authorization header. Raises Unauthorized."""
    scheme, _, credential = header.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthorized("Authorization must be 'Bearer' and a key or token.")
    return credential.strip()
