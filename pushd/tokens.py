"""JSON Web Tokens: who a user's application says they are, and what they may do.

The settings say which algorithm a key has; a token can only pick among those, by ``kid``.
No error and no repr here contains a token or a key.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from pushd.core.jsoncheck import check_unique_keys, strict_decode
from pushd.core.names import check_device, check_user
from pushd.core.permissions import Identity, check_attributes, check_pattern
from pushd.core.positions import MAX_SEQ
from pushd.errors import BadRequest, BadSetting, NotReady, TokenExpired, Unauthorized
from pushd.keysets import JwtKey, ReadyKey

# Of tokens and of API keys; checked before anything else looks at one.
MAX_CREDENTIAL_CHARS: Final = 8 * 1024
# It names an algorithm and a key. Looked through before the signature, so for everybody.
MAX_HEADER_BYTES: Final = 1024
# Clocks differ a little: a token minted elsewhere this instant is not refused. ``exp`` is exact.
NBF_LEEWAY_S: Final = 5
IAT_LEEWAY_S: Final = 60

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
# Keys that a token brings along, and extensions that would have to be understood.
_REFUSED_HEADERS: Final = ("jku", "x5u", "jwk", "x5c", "crit", "b64")


class KeySource(Protocol):
    """Keys that come from somewhere and change while the server runs."""

    algs: frozenset[str]
    keys: tuple[ReadyKey, ...]

    @property
    def weakness(self) -> str | None:
        """What the log should warn of at the start, if anything."""
        ...

    def ask(self) -> bool:
        """An unknown kid came. Whether it is worth coming again: its keys are being fetched."""
        ...


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None


class _Grants(msgspec.Struct):
    subscribe: list[str] = []
    publish: list[str] = []
    attributes: dict[str, Any] = {}


class _Claims(msgspec.Struct):
    sub: str
    exp: int
    nbf: int | float = 0
    aud: Any = None
    iss: Any = None
    device: str | None = None
    jti: str | None = None
    iat: int | float | None = None
    pushd: _Grants | None = None


_decode_claims = msgspec.json.Decoder(_Claims).decode


def is_jwt(credential: str) -> bool:
    """Whether it looks like one: three parts, of which the first names an algorithm.

    What looks like one is checked here and nowhere else, however wrong it is.
    """
    head, _, rest = credential.partition(".")
    if rest.count(".") != 1:
        return False
    try:
        header = msgspec.json.decode(_from_base64(head))
    except (BadRequest, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header


class TokenVerifier:
    """Checks tokens with the keys of the settings and those of ``sources``."""

    def __init__(self, keys: Sequence[JwtKey], sources: Sequence[KeySource] = ()) -> None:
        """Raise BadSetting for an unusable key, or two of one ``kid`` and issuer."""
        self._fixed = [ReadyKey(key) for key in keys]
        kids = [(key.kid, key.iss) for key in keys if key.kid is not None]
        if len(set(kids)) != len(kids):
            raise BadSetting("Two JWT keys have the same kid.")
        self.sources = tuple(sources)
        self._by_name: dict[tuple[str, str | None], list[ReadyKey]] = {}
        self.fingerprints: frozenset[str] = frozenset()
        self.index()

    def index(self) -> None:
        """Look at all keys anew: those of a source have changed."""
        self._by_name = {}
        keys = [*self._fixed, *(key for source in self.sources for key in source.keys)]
        for ready in keys:
            self._by_name.setdefault((ready.key.alg, ready.key.kid), []).append(ready)
        self.fingerprints = frozenset(ready.fingerprint for ready in keys)

    @property
    def weaknesses(self) -> list[str]:
        """What the log should warn of at the start: short keys, sets without an audience."""
        found = [key.weakness for key in self._fixed]
        found += [source.weakness for source in self.sources]
        return [weakness for weakness in found if weakness]

    def verify(self, token: str, now: float) -> Identity:
        """Whose token (three parts) this is. ``now``: Unix seconds.

        Raises Unauthorized, TokenExpired for one that was good until its ``exp``, or NotReady
        while keys are fetched among which its own may be.
        """
        head, body, tail = token.split(".")
        refusal = "The token's signature does not fit."
        try:
            candidates = self._candidates(_from_base64(head))
            signature = _from_base64(tail)
            signed = f"{head}.{body}".encode()
            for ready in candidates:
                if not ready.algorithm.verify(signed, ready.material, signature):
                    continue
                try:
                    return _identity_of(_from_base64(body), ready, now)
                except BadRequest as error:
                    # Another entry may have the same key for another issuer or audience.
                    refusal = f"The token is not valid. {error.detail}"
        except BadRequest as error:
            refusal = f"The token is not valid. {error.detail}"
        raise Unauthorized(refusal)

    def _candidates(self, raw_header: bytes) -> list[ReadyKey]:
        if len(raw_header) > MAX_HEADER_BYTES:
            raise BadRequest(f"Its header is longer than {MAX_HEADER_BYTES} bytes.")
        header = strict_decode(raw_header, _Header)
        present = msgspec.json.decode(raw_header)
        for name in _REFUSED_HEADERS:
            if name in present:
                raise BadRequest(f"Its header has '{name}', which is refused here.")
        found = self._by_name.get((header.alg, header.kid))
        if found is None:
            asked = [source.ask() for source in self.sources if header.alg in source.algs]
            if any(asked):
                raise NotReady(
                    "The keys of the token's issuer are being fetched.",
                    retry_after=1,
                    cure="Come again after Retry-After seconds, with the same token.",
                )
            raise BadRequest("No key here has its alg and kid.")
        return found


def mint_token(
    secret: str | bytes,
    user: str,
    device: str | None = None,
    subscribe: Sequence[str] = (),
    publish: Sequence[str] = (),
    ttl_s: float = 3600,
    now: float | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> str:
    """An HS256 token for ``user``, good for ``ttl_s`` seconds from ``now`` (Unix; the clock).

    For the command line and for trying things out; applications mint their own. Raises
    BadRequest for a user, device or pattern that would be refused when the token is used.
    """
    issued = int(time.time() if now is None else now)
    claims: dict[str, Any] = {"sub": check_user(user), "iat": issued, "exp": issued + int(ttl_s)}
    if device is not None:
        claims["device"] = check_device(device)
    grants = {"subscribe": subscribe, "publish": publish}
    own: dict[str, Any] = {
        name: [check_pattern(p) for p in given] for name, given in grants.items() if given
    }
    if attributes:
        own["attributes"] = check_attributes(attributes)
    if own:
        claims["pushd"] = own
    header = {"alg": "HS256", "typ": "JWT"}
    signed = b".".join(_to_base64(msgspec.json.encode(part)) for part in (header, claims))
    ready = ReadyKey(JwtKey("HS256", secret))
    token = b".".join((signed, _to_base64(ready.algorithm.sign(signed, ready.material)))).decode()
    if len(token) > MAX_CREDENTIAL_CHARS:
        raise BadRequest("The token would be too long; use patterns that cover more.")
    return token


def _identity_of(payload: bytes, ready: ReadyKey, now: float) -> Identity:
    """The claims of a token whose signature is good. Unknown ones are ignored."""
    key = ready.key
    check_unique_keys(payload)
    try:
        claims = _decode_claims(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Its claims: {error}.") from None
    if not 0 <= claims.exp <= MAX_SEQ:
        raise BadRequest("'exp' is no time.")
    if claims.nbf > now + NBF_LEEWAY_S:
        raise BadRequest("It is not valid yet ('nbf').")
    if claims.iat is not None and claims.iat > now + IAT_LEEWAY_S:
        # It would outlive every revocation until then.
        raise BadRequest("It was issued in the future ('iat').")
    # Compared as they are: no list, no substring, no pattern.
    if key.aud is not None and claims.aud != key.aud:
        raise BadRequest("Its 'aud' is not the one string that this server expects.")
    if key.iss is not None and claims.iss != key.iss:
        raise BadRequest("Its 'iss' is not the one string that this server expects.")
    check_expiry(claims.exp, now)
    grants = claims.pushd or _Grants()
    return Identity(
        user=check_user(claims.sub),
        device=None if claims.device is None else check_device(claims.device),
        expires=claims.exp,
        subscribe=tuple(check_pattern(pattern) for pattern in grants.subscribe),
        publish=tuple(check_pattern(pattern) for pattern in grants.publish),
        jti=claims.jti,
        attributes=check_attributes(grants.attributes),
        iat=claims.iat,
        key=ready.fingerprint,
    )


def check_expiry(expires: float, now: float) -> None:
    """``exp`` is exact. Raises TokenExpired."""
    if now >= expires:
        raise TokenExpired("The token has expired.")


def _from_base64(segment: str) -> bytes:
    # The library's decoder skips what is no base64: one token would have many spellings.
    if not _SEGMENT.fullmatch(segment) or len(segment) % 4 == 1:
        raise BadRequest("A part of it is empty or not base64url.")
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _to_base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
