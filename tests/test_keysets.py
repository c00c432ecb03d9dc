"""JWK sets: which keys of one are used, for what, and every way to smuggle another in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from pushd.auth import Authenticator, JwtKey
from pushd.errors import BadSetting, Unauthorized
from pushd.keysets import MAX_JWKS_BYTES, MAX_JWKS_KEYS, ReadyKey, parse_jwks

NOW = 1_763_650_000.0
CLAIMS = {"sub": "alice", "exp": int(NOW) + 60}
ALGS = ("RS256", "ES256", "EdDSA")
ISS, AUD = "https://login.example.com", "pushd"


@cache
def private(kind: str) -> Any:
    match kind:
        case "RS256":
            return rsa.generate_private_key(65537, 2048)
        case "RSA-1024":
            return rsa.generate_private_key(65537, 1024)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "Ed448":
            return ed448.Ed448PrivateKey.generate()
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def jwk(kind: str, *, secret: bool = False, **members: Any) -> dict[str, Any]:
    """A key as a JWK; members that are None are left out."""
    key = private(kind) if secret else private(kind).public_key()
    algorithm: Any = OKPAlgorithm
    if kind.startswith("RS"):
        algorithm = RSAAlgorithm
    elif kind in ("ES256", "P-384"):
        algorithm = ECAlgorithm
    made = algorithm.to_jwk(key, as_dict=True)
    made.pop("key_ops", None)
    made.update({"kid": "k", "use": "sig"})
    made.update(members)
    return {name: value for name, value in made.items() if value is not None}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


class Source:
    """Keys that do not change."""

    weakness = None

    def __init__(self, *keys: ReadyKey, algs: tuple[str, ...] = ALGS) -> None:
        self.keys = keys
        self.algs = frozenset(algs)

    def ask(self) -> bool:
        return False


def authenticator(
    raw: bytes, algs: tuple[str, ...] = ALGS, *static: JwtKey, **rules: str
) -> Authenticator:
    return Authenticator([], static, sources=[Source(*parse_jwks(raw, algs, **rules).keys)])


def token(kind: str, claims: dict[str, Any] = CLAIMS, **header: Any) -> str:
    alg = kind if kind in ALGS else "EdDSA"
    return jwt.encode(claims, private(kind), alg, {"kid": "k", **header})


def left_out(raw: bytes, algs: tuple[str, ...] = ALGS) -> str:
    """Why the only key of a set is not used."""
    with pytest.raises(BadSetting) as caught:
        parse_jwks(raw, algs)
    assert len(caught.value.detail) < 300
    return caught.value.detail


@pytest.mark.parametrize("kind", ALGS)
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"alg": "its own"},
        {"use": None},
        {"key_ops": ["verify"]},
        {"use": None, "key_ops": ["sign", "verify"]},
        {"x5c": ["AAAA"], "x5t": "y", "unknown": {"more": 1}, "exp": 5},
    ],
    ids=lambda members: ",".join(members) or "plain",
)
def test_keys_that_are_used(kind: str, members: dict[str, Any]) -> None:
    members = members | ({"alg": kind} if "alg" in members else {})
    auth = authenticator(jwks(jwk(kind, **members)))
    assert auth.identify(token(kind), NOW).user == "alice"
    for other in set(ALGS) - {kind}:
        with pytest.raises(Unauthorized):
            auth.identify(token(other), NOW)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({"kty": "oct", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "kid": "k"}, "secret"),
        (lambda: jwk("RS256", secret=True), "private"),
        (lambda: jwk("ES256", secret=True), "private"),
        (lambda: jwk("EdDSA", secret=True), "private"),
        (lambda: jwk("RS256", d=""), "private"),
        (lambda: jwk("RS256", use="enc"), "use"),
        (lambda: jwk("RS256", use=""), "use"),
        (lambda: jwk("RS256", use=["sig"]), "malformed"),
        (lambda: jwk("RS256", key_ops=["encrypt", "wrapKey"]), "key_ops"),
        (lambda: jwk("RS256", key_ops=[]), "key_ops"),
        (lambda: jwk("RS256", key_ops="verify"), "malformed"),
        (lambda: jwk("RS256", alg="HS256"), "alg"),
        (lambda: jwk("RS256", alg="RS512"), "alg"),
        (lambda: jwk("RS256", alg="none"), "alg"),
        (lambda: jwk("ES256", alg="RS256"), "alg"),
        (lambda: jwk("RS256", alg=1), "malformed"),
        (lambda: jwk("RS256", kid=1), "malformed"),
        (lambda: jwk("RS256", kty="rsa"), "kind"),
        (lambda: jwk("RS256", kty="oct"), "kind"),
        (lambda: jwk("RS256", kty="EC"), "kind"),
        (lambda: jwk("ES256", kty="RSA"), "no valid"),
        (lambda: jwk("EdDSA", kty="EC"), "kind"),
        (lambda: jwk("P-384"), "kind"),
        (lambda: jwk("P-384", crv="P-256"), "no valid"),
        (lambda: jwk("Ed448"), "kind"),
        (lambda: jwk("Ed448", crv="Ed25519"), "no valid"),
        (lambda: jwk("EdDSA", crv="X25519"), "kind"),
        (lambda: jwk("ES256", y="AAAA"), "no valid"),
        (lambda: jwk("ES256", y=jwk("ES256")["x"]), "no valid"),
        (lambda: jwk("ES256", x="!" * 43), "no valid"),
        (lambda: jwk("EdDSA", x=None), "no valid"),
        (lambda: jwk("RSA-1024"), "1024 bits"),
        (lambda: jwk("RS256", n="_" * 1400), "bits"),
        (lambda: jwk("RS256", n="_" * 100_000), "too long"),
        (lambda: jwk("RS256", e="_" * 40 + "w"), ""),
        (lambda: jwk("RS256", e=b64((2**32 + 1).to_bytes(5, "big"))), "exponent"),
        (lambda: jwk("RS256", e=b64((2**16 + 2).to_bytes(3, "big"))), ""),
        (lambda: jwk("RS256", e="AQ"), ""),
        (lambda: jwk("RS256", e="AA"), ""),
        (lambda: jwk("RS256", e=""), "no valid"),
        (lambda: jwk("RS256", n=None), "no valid"),
        ({}, "malformed"),
        ({"kty": "RSA"}, "no valid"),
    ],
)
def test_keys_that_are_left_out(key: Any, reason: str) -> None:
    made = key() if callable(key) else key
    assert reason in left_out(jwks(made))
    # Beside a good one it does no harm: that one is used, and nothing else.
    found = parse_jwks(jwks(made, jwk("EdDSA", kid="good")), ALGS)
    assert [ready.key.kid for ready in found.keys] == ["good"]
    assert len(found.notes) == 1


@pytest.mark.parametrize("kind", ALGS)
def test_only_the_allowed_algorithms(kind: str) -> None:
    allowed = tuple(alg for alg in ALGS if alg != kind)
    assert "not among the allowed" in left_out(jwks(jwk(kind)), allowed)


@pytest.mark.parametrize("kind", ALGS)
def test_a_public_key_is_no_secret(kind: str) -> None:
    """The oldest trick: HS256 with what everybody can read."""
    auth = authenticator(jwks(jwk(kind)), ALGS, JwtKey("HS256", "s" * 32))
    pem = (
        private(kind)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for guess in (pem, pem.strip(), jwks(jwk(kind)), jwk(kind).get("n", "x").encode(), b""):
        for alg in ("HS256", kind):
            head = b64(json.dumps({"alg": alg, "kid": "k"}).encode())
            signed = f"{head}.{token(kind).split('.')[1]}"
            forged = f"{signed}.{b64(hmac.digest(guess, signed.encode(), hashlib.sha256))}"
            with pytest.raises(Unauthorized):
                auth.identify(forged, NOW)


def test_an_oct_key_of_a_set_signs_nothing() -> None:
    auth = authenticator(
        jwks({"kty": "oct", "k": b64(b"x" * 32), "kid": "k"}, jwk("EdDSA", kid="other"))
    )
    forged = jwt.encode(CLAIMS, b"x" * 32, "HS256", {"kid": "k"})
    with pytest.raises(Unauthorized, match="No key here"):
        auth.identify(forged, NOW)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no JWKS"),
        (b"[]", "no JWKS"),
        (b"{}", "keys"),
        (b'{"keys":{}}', "no JWKS"),
        (b'{"keys":[1]}', "no JWKS"),
        (b'{"keys":[]}', "no usable key"),
        (b"<html>404</html>", "no JWKS"),
        (b'{"keys":[],"keys":[]}', "twice"),
        (b'{"keys":[{"kty":"RSA","kty":"EC"}]}', "twice"),
        (b'{"keys":[' + b"[" * 5000 + b"]" * 5000 + b"]}", "no JWKS"),
        (b'{"keys":[' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"]}", "no JWKS"),
        (b'{"keys":[' + b"{}," * MAX_JWKS_KEYS + b"{}]}", "more than 100 keys"),
        (b'{"keys":[]}' + b" " * 256 * 1024, "bytes"),
        (b'\xef\xbb\xbf{"keys":[]}', "no JWKS"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_sets_that_are_refused(raw: bytes, reason: str) -> None:
    assert reason in left_out(raw)


def test_a_set_at_its_limit_and_one_beyond() -> None:
    raw = jwks(jwk("EdDSA"))
    assert parse_jwks(raw.ljust(MAX_JWKS_BYTES), ALGS).keys
    assert "bytes" in left_out(raw.ljust(MAX_JWKS_BYTES + 1))


def test_one_kid_is_one_key() -> None:
    two = [jwk("EdDSA"), jwk("other")]
    assert "two EdDSA keys" in left_out(jwks(*two))
    assert "two EdDSA keys" in left_out(jwks(*(each | {"kid": None} for each in two)))
    # The same key twice is one; and other algorithms are other names.
    assert len(parse_jwks(jwks(jwk("EdDSA"), jwk("EdDSA")), ALGS).keys) == 1
    assert len(parse_jwks(jwks(jwk("EdDSA"), jwk("RS256"), jwk("ES256")), ALGS).keys) == 3
    # What is not used anyway takes no name away.
    assert len(parse_jwks(jwks(jwk("EdDSA"), jwk("other", use="enc")), ALGS).keys) == 1


def test_a_kid_belongs_to_its_issuer() -> None:
    """Two issuers have a key of one kid: neither can speak for the other."""
    ours = parse_jwks(jwks(jwk("EdDSA")), ALGS, None, ISS)
    theirs = parse_jwks(jwks(jwk("other")), ALGS, None, "https://other.example.com")
    auth = Authenticator([], [], sources=[Source(*ours.keys), Source(*theirs.keys)])
    assert auth.identify(token("EdDSA", CLAIMS | {"iss": ISS}), NOW).user == "alice"
    fine = token("other", CLAIMS | {"iss": "https://other.example.com"})
    assert auth.identify(fine, NOW).user == "alice"
    for kind, iss in [("other", ISS), ("EdDSA", "https://other.example.com"), ("EdDSA", None)]:
        claims = CLAIMS if iss is None else CLAIMS | {"iss": iss}
        with pytest.raises(Unauthorized):
            auth.identify(token(kind, claims), NOW)


def test_one_key_for_two_audiences() -> None:
    """Both entries may say so; their order does not matter."""
    sets = [parse_jwks(jwks(jwk("EdDSA")), ALGS, aud, ISS) for aud in ("a", "b")]
    auth = Authenticator([], [], sources=[Source(*each.keys) for each in sets])
    for aud in ("a", "b"):
        assert auth.identify(token("EdDSA", CLAIMS | {"iss": ISS, "aud": aud}), NOW).user
    with pytest.raises(Unauthorized, match="aud"):
        auth.identify(token("EdDSA", CLAIMS | {"iss": ISS, "aud": "c"}), NOW)


def test_static_keys_of_two_issuers_may_have_one_kid() -> None:
    keys = [JwtKey("HS256", name * 32, kid="1", iss=name) for name in "ab"]
    auth = Authenticator([], keys)
    for name in "ab":
        made = jwt.encode(CLAIMS | {"iss": name}, name * 32, "HS256", {"kid": "1"})
        assert auth.identify(made, NOW).user == "alice"
    with pytest.raises(BadSetting, match="same kid"):
        Authenticator([], [keys[0], JwtKey("HS256", "c" * 32, kid="1", iss="a")])


def test_without_a_kid_only_a_key_without_one() -> None:
    auth = authenticator(jwks(jwk("EdDSA")))
    nameless = jwt.encode(CLAIMS, private("EdDSA"), "EdDSA")
    with pytest.raises(Unauthorized, match="No key here"):
        auth.identify(nameless, NOW)
    assert authenticator(jwks(jwk("EdDSA", kid=None))).identify(nameless, NOW).user == "alice"


def test_fingerprints_tell_keys_and_rules_apart_and_nothing_else() -> None:
    def of(raw: bytes, **rules: str) -> str:
        return parse_jwks(raw, ALGS, **rules).keys[0].fingerprint

    plain = jwks(jwk("EdDSA"))
    assert of(plain) == of(jwks(jwk("EdDSA", use=None, alg="EdDSA")))
    others = [of(plain, aud=AUD), of(plain, iss=ISS), of(jwks(jwk("EdDSA", kid="2")))]
    others += [of(jwks(jwk("other"))), of(jwks(jwk("RS256")))]
    assert len({of(plain), *others}) == 6
    assert ReadyKey(JwtKey("HS256", "a" * 32)).fingerprint != hashlib.sha256(b"a" * 32).hexdigest()


def test_nothing_printed_shows_a_key() -> None:
    found = parse_jwks(jwks(jwk("RS256")), ALGS)
    assert jwk("RS256")["n"] not in repr(found)
    assert "a" * 32 not in repr(ReadyKey(JwtKey("HS256", "a" * 32)))
    for raw in (jwks(jwk("EdDSA", secret=True)), jwks({"kty": "oct", "k": "c2VjcmV0c2VjcmV0"})):
        reason = left_out(raw)
        assert jwk("EdDSA", secret=True)["d"] not in reason
        assert "c2VjcmV0" not in reason
