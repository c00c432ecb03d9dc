"""The keys that client tokens are checked with: made ready once, one algorithm each; JWKS.

No error and no repr here contains a key.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from pushd.core.jsoncheck import strict_decode
from pushd.errors import BadRequest, BadSetting
from pushd.settings.jwt_tables import JWKS_ALGORITHMS
from pushd.settings.tables import ALGORITHMS as NAMES

ALGORITHMS: Final[dict[str, Algorithm]] = {
    name: algorithm for name, algorithm in get_default_algorithms().items() if name in NAMES
}
MAX_JWKS_BYTES: Final = 256 * 1024
MAX_JWKS_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192  # a check costs with the square of them
MAX_RSA_EXPONENT_BITS: Final = 32

# (kty, crv) of a JWK to the one algorithm that it is used with.
_KINDS: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_PUBLIC: Final = {"RS256": ("n", "e"), "ES256": ("crv", "x", "y"), "EdDSA": ("crv", "x")}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_MAX_MEMBER: Final = 2048  # characters; 8192 bits take 1366
# Fingerprints are compared within one process only. So nobody can test guesses of a secret on one.
_SALT: Final = secrets.token_bytes(32)


@dataclass(slots=True, frozen=True)
class JwtKey:
    """A key that tokens are checked with. ``material``: HS256 secret, PEM, or a key object.

    ``aud`` and ``iss``: what such tokens must say, to the letter; None: not asked for.
    """

    alg: str
    material: Any = field(repr=False)
    kid: str | None = None
    aud: str | None = None
    iss: str | None = None


class ReadyKey:
    """A key made ready: parsing a PEM costs more than checking a signature.

    ``fingerprint`` names the key and all rules that its tokens were checked by.
    """

    __slots__ = ("algorithm", "fingerprint", "key", "material", "weakness")

    def __init__(self, key: JwtKey) -> None:
        """Raise BadSetting for a key that its algorithm cannot use."""
        algorithm = ALGORITHMS.get(key.alg)
        if algorithm is None:
            raise BadSetting(f"Unknown JWT algorithm '{key.alg}'; known: {', '.join(ALGORITHMS)}.")
        try:
            material = algorithm.prepare_key(key.material)
        except (InvalidKeyError, ValueError, TypeError) as error:
            # Of foreign errors only the kind: their messages might quote the key.
            reason = str(error) if isinstance(error, InvalidKeyError) else type(error).__name__
            raise BadSetting(f"The {key.alg} key (kid {key.kid}) is unusable: {reason}") from None
        self.key = key
        self.algorithm = algorithm
        # Of a private key the public half is enough, and all that verify() takes.
        self.material = material.public_key() if hasattr(material, "public_key") else material
        self.weakness = algorithm.check_key_length(material)
        self.fingerprint = fingerprint(key.alg, key.kid, key.aud, key.iss, _raw(self.material))

    def __repr__(self) -> str:
        return f"ReadyKey({self.key!r})"


def fingerprint(*parts: object) -> str:
    """One text for these parts, of this process only; it gives nothing of them away."""
    digest = hashlib.blake2b(repr(parts).encode(), key=_SALT, digest_size=16)
    return digest.hexdigest()


def _raw(material: Any) -> bytes:
    if isinstance(material, bytes):
        return material
    raw: bytes = material.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return raw


@dataclass(slots=True, frozen=True)
class KeySet:
    """``notes``: which keys of it were left out, and why."""

    keys: tuple[ReadyKey, ...]
    notes: tuple[str, ...]


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Jwk(msgspec.Struct):
    kty: str
    crv: str | None = None
    kid: str | None = None
    use: str | None = None
    key_ops: list[str] | None = None
    alg: str | None = None
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


class _LeftOut(Exception):
    """This key of a set is not used; why."""


def parse_jwks(
    raw: bytes, algs: Collection[str], aud: str | None = None, iss: str | None = None
) -> KeySet:
    """The keys of a JWK set (RFC 7517) that may check signatures with one of ``algs``.

    Raises BadSetting for a set that is broken, ambiguous or without any such key.
    """
    if len(raw) > MAX_JWKS_BYTES:
        raise BadSetting(f"The key set has more than {MAX_JWKS_BYTES} bytes.")
    try:
        members = strict_decode(raw, _Jwks).keys
    except BadRequest as error:
        raise BadSetting(f"The key set is no JWKS: {error.detail}") from None
    if len(members) > MAX_JWKS_KEYS:
        raise BadSetting(f"The key set has more than {MAX_JWKS_KEYS} keys.")
    found: dict[tuple[str, str | None], ReadyKey] = {}
    notes: list[str] = []
    for number, member in enumerate(members, 1):
        try:
            ready = _ready(member, algs, aud, iss)
        except _LeftOut as reason:
            notes.append(f"key {number}: {reason}")
            continue
        name = (ready.key.alg, ready.key.kid)
        other = found.setdefault(name, ready)
        if other.fingerprint != ready.fingerprint:
            raise BadSetting(f"The key set has two {name[0]} keys of one kid (key {number}).")
    if not found:
        raise BadSetting("; ".join(["The key set has no usable key", *notes[:5]]) + ".")
    return KeySet(tuple(found.values()), tuple(notes))


def _ready(
    member: Mapping[str, Any], algs: Collection[str], aud: str | None, iss: str | None
) -> ReadyKey:
    if not _PRIVATE.isdisjoint(member):
        # Whoever could read the set can sign with it.
        raise _LeftOut("holds a private key or a secret, which everybody can read: replace it")
    try:
        jwk = msgspec.convert(member, _Jwk)
    except msgspec.ValidationError:
        raise _LeftOut("is malformed") from None
    if jwk.use not in (None, "sig"):
        raise _LeftOut("is not for signatures (use)")
    if jwk.key_ops is not None and "verify" not in jwk.key_ops:
        raise _LeftOut("is not for checking signatures (key_ops)")
    alg = _KINDS.get((jwk.kty, None if jwk.kty == "RSA" else jwk.crv))
    if alg is None or alg not in JWKS_ALGORITHMS:
        raise _LeftOut("is of a kind that is not known here (kty, crv)")
    if jwk.alg not in (None, alg):
        raise _LeftOut("is for an algorithm that is not known here (alg)")
    if alg not in algs:
        raise _LeftOut(f"is for {alg}, which is not among the allowed algs")
    return ReadyKey(JwtKey(alg, _public_key(jwk, alg), jwk.kid, aud, iss))


def _public_key(jwk: _Jwk, alg: str) -> Any:
    names = _PUBLIC[alg]
    parts = {"kty": jwk.kty, **{name: getattr(jwk, name) for name in names}}
    if any(len(part or "") > _MAX_MEMBER for part in parts.values()):
        raise _LeftOut("is too long")
    try:
        key: Any = ALGORITHMS[alg].from_jwk(parts)
    except (InvalidKeyError, ValueError, TypeError, UnsupportedAlgorithm):
        raise _LeftOut(f"is no valid {alg} key") from None
    if alg == "RS256":
        numbers = key.public_numbers()
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise _LeftOut(f"has {key.key_size} bits: {MIN_RSA_BITS} to {MAX_RSA_BITS} are taken")
        if numbers.e.bit_length() > MAX_RSA_EXPONENT_BITS or numbers.e % 2 == 0:
            raise _LeftOut("has an exponent that is not taken")
    return key
