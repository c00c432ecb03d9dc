"""From a credential to an identity: API keys of services, JWTs of users.

No error and no repr here contains a credential.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pushd.core.permissions import SCOPES, Identity, check_pattern
from pushd.errors import BadRequest, BadSetting, Unauthorized
from pushd.hook import ConnectHook, Sent
from pushd.keysets import JwtKey, fingerprint
from pushd.nodetokens import PREFIX, NodeTokens
from pushd.revocations import Standing
from pushd.tokens import (
    MAX_CREDENTIAL_CHARS,
    KeySource,
    TokenVerifier,
    check_expiry,
    is_jwt,
    mint_token,
)

__all__ = ["ApiKey", "Authenticator", "JwtKey", "mint_token"]

NO_HEADERS: Final[Mapping[bytes, bytes]] = {}

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
        max_cached: int = 50_000,
        *,
        sources: Sequence[KeySource] = (),
        standing: Standing | None = None,
        hook: ConnectHook | None = None,
        nodes: NodeTokens | None = None,
    ) -> None:
        """``hook``: whom to ask about what is neither an API key nor a JWT, by its rules.
        ``nodes``: what other nodes of the cluster are known by.

        Raise BadSetting for a key that is malformed or has the name or kid of another.
        """
        self.standing = Standing() if standing is None else standing
        self.hook = hook
        self.nodes = nodes
        self._cache: OrderedDict[bytes, Identity] = OrderedDict()
        self._max_cached = max_cached
        self.install(keys, jwt_keys, sources)

    def install(
        self,
        keys: Sequence[ApiKey],
        jwt_keys: Sequence[JwtKey],
        sources: Sequence[KeySource] = (),
    ) -> None:
        """Have these keys and no others from now on. Raises BadSetting, and nothing changes."""
        services = [_service(key) for key in keys]
        if len({key.name for key in keys}) != len(keys):
            raise BadSetting("Two API keys have the same name.")
        self._verifier = TokenVerifier(jwt_keys, sources)
        self._services = services
        self._learn_fingerprints()

    def keys_changed(self) -> None:
        """A source has other keys now: tokens of those that went count no longer."""
        self._verifier.index()
        self._learn_fingerprints()

    def _learn_fingerprints(self) -> None:
        own = frozenset(identity.key for _, identity in self._services)
        hooked = frozenset[str]() if self.hook is None else self.hook.fingerprints
        nodes = frozenset[str]() if self.nodes is None else frozenset({self.nodes.fingerprint})
        self.standing.replace_keys(own | self._verifier.fingerprints | hooked | nodes)

    @property
    def weaknesses(self) -> list[str]:
        """What the log should warn of at the start: short keys, sets without an audience."""
        found = self._verifier.weaknesses
        if self.hook is not None and self.hook.weakness is not None:
            found.append(self.hook.weakness)
        return found

    def identify(
        self,
        credential: str | None,
        now: float,
        headers: Mapping[bytes, bytes] = NO_HEADERS,
        address: str = "",
        *,
        renew: bool = False,
    ) -> Identity:
        """Whose credential this is. ``now``: Unix seconds; ``headers``, ``address``: of the request
        that brought it, for the connect hook; ``credential`` None: the headers alone are to tell.

        Raises Unauthorized, TokenExpired for a token that was good until its ``exp``, or NotReady
        while keys are fetched among which its own may be. Unasked (no refusal): the application is
        being asked; NotReady and RateLimited: it cannot be. Conflict: of a node, see NodeTokens.
        """
        if credential is None:
            return self._ask(None, now, headers, address, renew)
        if len(credential) > MAX_CREDENTIAL_CHARS:
            raise Unauthorized(f"The credential is longer than {MAX_CREDENTIAL_CHARS} characters.")
        if not credential.isascii():
            raise Unauthorized("The credential has characters that are not ASCII.")
        if self.nodes is not None and credential.startswith(PREFIX):
            return self.nodes.identify(credential, now)
        raw = credential.encode()
        digest = hashlib.sha256(raw).digest()
        if raw.count(b".") != 2:
            service = self._find_service(digest)
            return service or self._ask(credential, now, headers, address, renew)
        identity = self._cache.get(digest)
        if identity is not None and identity.key not in self.standing.keys:
            del self._cache[digest]  # another key may vouch for it as well
            identity = None
        if identity is None:
            if self._asks and not is_jwt(credential):
                return self._ask(credential, now, headers, address, renew)
            identity = self._verifier.verify(credential, now)
            self._cache[digest] = identity
            if len(self._cache) > self._max_cached:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(digest)
            check_expiry(identity.expires or 0, now)
        self.standing.check(identity, now)
        return identity

    def is_asked_for(self, identity: Identity) -> bool:
        """Whether the application vouches for it: then it holds for the headers it came with."""
        return self.hook is not None and identity.key in self.hook.fingerprints

    def sent(self, headers: Mapping[bytes, bytes]) -> Sent:
        """What of these headers an answer of the application would hold for."""
        return () if self.hook is None else self.hook.sent(headers)

    def shown(self, headers: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Those of the headers that the application is to see with a token; usually none."""
        if self.hook is None or self.hook.rules is None:
            return NO_HEADERS
        named = self.hook.rules.headers
        return {name: headers[name] for name in named if name in headers} or NO_HEADERS

    @property
    def takes_cookies(self) -> bool:
        """Whether cookies may say who somebody is."""
        return self.hook is not None and self.hook.takes_cookies

    @property
    def _asks(self) -> bool:
        return self.hook is not None and self.hook.rules is not None

    def _ask(
        self,
        credential: str | None,
        now: float,
        headers: Mapping[bytes, bytes],
        address: str,
        renew: bool,
    ) -> Identity:
        if self.hook is None or not self._asks or credential == "":
            raise Unauthorized(
                "This needs a key or token."
                if not credential
                else "The credential is neither a known API key nor a JWT."
            )
        return self.hook.identify(credential, self.hook.sent(headers), address, now, renew=renew)

    def _find_service(self, digest: bytes) -> Identity | None:
        found = None
        # No early end: the time taken does not tell which key was close.
        for key_digest, identity in self._services:
            if hmac.compare_digest(key_digest, digest):
                found = identity
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
    mark = fingerprint("service", key.name, key.sha256, sorted(scopes), patterns)
    identity = Identity(user=None, scopes=scopes, patterns=patterns, key_name=key.name, key=mark)
    return bytes.fromhex(key.sha256), identity
