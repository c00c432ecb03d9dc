"""From a credential to an identity: API keys of services, JWTs of users.

No error and no repr here contains a credential.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pushd.core.permissions import SCOPES, Identity, check_pattern, may_publish, may_read
from pushd.errors import BadRequest, BadSetting, Unauthorized
from pushd.tokens import (
    MAX_CREDENTIAL_CHARS,
    JwtKey,
    TokenVerifier,
    check_expiry,
    mint_token,
)

__all__ = ["ApiKey", "Authenticator", "JwtKey", "mint_token"]

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(slots=True, frozen=True)
class ApiKey:
    """A service's key, known by the hex SHA-256 of it. No patterns: every channel.

    The key itself must not contain exactly two dots: that is the look of a JWT.
    """

    name: str
    sha256: str = field(repr=False)
    scopes: Iterable[str]
    patterns: Sequence[str] = ()


class Authenticator:
    """Knows the keys; remembers tokens that were verified, by hash, until they expire."""

    def __init__(
        self,
        keys: Sequence[ApiKey],
        jwt_keys: Sequence[JwtKey],
        public_namespaces: frozenset[str] = frozenset(),
        max_cached: int = 50_000,
    ) -> None:
        """Raise BadSetting for a key that is malformed or has the name or kid of another."""
        self.public_namespaces = public_namespaces
        self._services = [_service(key) for key in keys]
        if len({key.name for key in keys}) != len(keys):
            raise BadSetting("Two API keys have the same name.")
        self._verifier = TokenVerifier(jwt_keys)
        self._cache: OrderedDict[bytes, Identity] = OrderedDict()
        self._max_cached = max_cached

    @property
    def weaknesses(self) -> list[str]:
        """What the log should warn of at the start: keys too short for their algorithm."""
        return self._verifier.weaknesses

    def identify(self, credential: str, now: float) -> Identity:
        """Whose credential this is. ``now``: Unix seconds.

        Raises Unauthorized, or TokenExpired for a token that was good until its ``exp``.
        """
        if len(credential) > MAX_CREDENTIAL_CHARS:
            raise Unauthorized(f"The credential is longer than {MAX_CREDENTIAL_CHARS} characters.")
        if not credential.isascii():
            raise Unauthorized("The credential has characters that are not ASCII.")
        raw = credential.encode()
        digest = hashlib.sha256(raw).digest()
        if raw.count(b".") != 2:
            return self._identify_service(digest)
        identity = self._cache.get(digest)
        if identity is None:
            identity = self._verifier.verify(credential, now)
            self._cache[digest] = identity
            if len(self._cache) > self._max_cached:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(digest)
            check_expiry(identity.expires or 0, now)
        return identity

    def may_read(self, identity: Identity, channel: str) -> bool:
        return may_read(identity, channel, self.public_namespaces)

    def may_publish(self, identity: Identity, channel: str) -> bool:
        return may_publish(identity, channel, self.public_namespaces)

    def _identify_service(self, digest: bytes) -> Identity:
        found = None
        # No early end: the time taken does not tell which key was close.
        for key_digest, identity in self._services:
            if hmac.compare_digest(key_digest, digest):
                found = identity
        if found is None:
            raise Unauthorized("The credential is neither a known API key nor a JWT.")
        return found


def _service(key: ApiKey) -> tuple[bytes, Identity]:
    scopes = frozenset(key.scopes)
    if not _DIGEST.fullmatch(key.sha256):
        raise BadSetting(f"API key '{key.name}': sha256 must be 64 lower-case hex digits.")
    if not scopes <= SCOPES:
        raise BadSetting(f"API key '{key.name}': scopes are {sorted(SCOPES)}.")
    try:
        patterns = tuple(check_pattern(pattern) for pattern in key.patterns)
    except BadRequest as error:
        raise BadSetting(f"API key '{key.name}': {error.detail}") from None
    identity = Identity(user=None, scopes=scopes, patterns=patterns, key_name=key.name)
    return bytes.fromhex(key.sha256), identity
