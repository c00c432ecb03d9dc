"""Keys, headers and signatures of JWTs: the honest ones and every known way to cheat."""

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
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pushd.auth import Authenticator, JwtKey
from pushd.errors import BadSetting, PushdError, Unauthorized
from pushd.tokens import MAX_HEADER_BYTES

NOW = 1_763_650_000.0
SECRET = "a secret of at least thirty-two bytes"
CLAIMS = {"sub": "alice", "exp": int(NOW) + 60}


@cache
def private_key(alg: str) -> Any:
    if alg == "RS256":
        return rsa.generate_private_key(65537, 2048)
    if alg == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(alg: str) -> bytes:
    return (
        private_key(alg)
        .public_key()
        .public_bytes(  # type: ignore[no-any-return]
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def private_pem(alg: str) -> bytes:
    return private_key(alg).private_bytes(  # type: ignore[no-any-return]
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: str | dict[str, Any], claims: str | dict[str, Any], secret: str | bytes) -> str:
    """A token with any header and claims, signed with HMAC-SHA256 whatever the header says."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    signed = ".".join(b64(part.encode()) for part in parts)
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{b64(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def sign(claims: str | dict[str, Any], **header: Any) -> str:
    return forge({"alg": "HS256", **header}, claims, SECRET)


HS256 = JwtKey("HS256", SECRET)


def refusal(token: str, *keys: JwtKey, now: float = NOW) -> PushdError:
    with pytest.raises(Unauthorized) as caught:
        Authenticator([], keys or [HS256]).identify(token, now)
    # Never a part of the token in a text that is logged.
    assert not [part for part in token.split(".") if len(part) > 8 and part in str(caught.value)]
    assert SECRET not in str(caught.value)
    assert len(caught.value.detail) < 300
    return caught.value


def accept(token: str, *keys: JwtKey, now: float = NOW) -> Any:
    return Authenticator([], keys or [HS256]).identify(token, now)


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("form", ["public pem", "private pem", "object"])
def test_every_algorithm(alg: str, form: str) -> None:
    material = {
        "public pem": public_pem(alg).decode(),
        "private pem": private_pem(alg),
        "object": private_key(alg).public_key(),
    }[form]
    key = JwtKey(alg, material)
    token = jwt.encode(CLAIMS, private_key(alg), alg)
    assert accept(token, key).user == "alice"
    for secret in (public_pem(alg), public_pem(alg).decode().strip(), b""):
        for name in (alg, "HS256"):
            forged = forge({"alg": name}, CLAIMS, secret)
            assert type(refusal(forged, key)) is Unauthorized
            assert type(refusal(forged, key, HS256)) is Unauthorized
    other = jwt.encode(CLAIMS, SECRET, "HS256")
    assert "No key here" in refusal(other, key).detail


def test_unknown_claims_and_header_members_are_ignored() -> None:
    claims = CLAIMS | {"roles": ["x"], "n": 2**70, "pushd": {"more": 1}}
    assert accept(sign(claims, typ="at+jwt", cty="x", x5t="y")).subscribe == ()
    assert accept(sign(CLAIMS | {"aud": ["other"], "iss": "other"})).user == "alice"
    assert accept(sign(CLAIMS | {"device": None, "jti": "j", "pushd": None})).jti == "j"


# --- headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alg", ["none", "None", "nOnE", "NONE", "", "hs256", "HS256 ", "HS384", "RS256", None, 1, []]
)
@pytest.mark.parametrize("kid", [None, "a"])
def test_other_algs(alg: Any, kid: str | None) -> None:
    signed = forge({"alg": alg, "kid": kid}, CLAIMS, SECRET)
    unsigned = signed.rsplit(".", 1)[0] + "."
    for token in (signed, unsigned):
        assert type(refusal(token, HS256, JwtKey("HS256", SECRET, kid="a"))) is Unauthorized


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("{}", "alg"),
        ("[]", "object"),
        ('"HS256"', "object"),
        ("", "empty"),
        ('{"alg":"HS256"', "truncated"),
        ('{"alg":"none","alg":"HS256"}', "twice"),
        ('{"alg":"HS256","kid":"a","kid":"b"}', "twice"),
        ('{"alg":"HS256","kid":1}', "kid"),
        ('{"alg":"HS256","kid":["a"]}', "kid"),
        ('{"alg":"HS256","jku":"https://evil.example/keys"}', "'jku'"),
        ('{"alg":"HS256","x5u":"https://evil.example/cert"}', "'x5u'"),
        ('{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}', "'jwk'"),
        ('{"alg":"HS256","x5c":[]}', "'x5c'"),
        ('{"alg":"HS256","crit":["exp"]}', "'crit'"),
        ('{"alg":"HS256","crit":null}', "'crit'"),
        ('{"alg":"HS256","b64":false}', "'b64'"),
        ('{"alg":"HS256","x":' + "[" * 300 + "]" * 300 + "}", "deeper"),
        ('{"alg":"HS256","x":[' + "[]," * 340 + "[]]}", "longer"),
        ('{"alg":"HS256","x":NaN}', "NaN"),
    ],
    ids=lambda value: value[:40],
)
def test_bad_headers(header: str, reason: str) -> None:
    assert reason in refusal(forge(header, CLAIMS, SECRET)).detail


def test_a_header_at_the_limit() -> None:
    """Anybody can send one: what is looked through before the signature is short."""
    fits = sign(CLAIMS, more="x" * 500)
    header = base64.urlsafe_b64decode(fits.partition(".")[0] + "==")
    missing = MAX_HEADER_BYTES - len(header)
    assert accept(sign(CLAIMS, more="x" * (500 + missing))).user == "alice"
    assert "longer" in refusal(sign(CLAIMS, more="x" * (501 + missing))).detail


def test_a_kid_names_one_key() -> None:
    keys = [JwtKey("HS256", SECRET, kid="a"), JwtKey("HS256", "b" * 32, kid="b")]
    assert accept(sign(CLAIMS, kid="a"), *keys).user == "alice"
    for kid in ("b", "c", "", "A", "a\0", "../../dev/null", "../a", "a' OR '1'='1", "/etc/passwd"):
        refusal(sign(CLAIMS, kid=kid), *keys)
    refusal(sign(CLAIMS), *keys)  # without a kid only keys without one
    refusal(sign(CLAIMS, kid="a"), HS256)
    # Each key has one algorithm, also by its kid.
    refusal(sign(CLAIMS, kid="r"), JwtKey("RS256", public_pem("RS256"), kid="r"), HS256)


def test_keys_without_kid_are_tried_in_turn() -> None:
    keys = [JwtKey("HS256", "old" * 12), HS256]
    assert accept(sign(CLAIMS), *keys).user == "alice"
    assert accept(forge({"alg": "HS256"}, CLAIMS, "old" * 12), *keys).user == "alice"


# --- shape and signature ---------------------------------------------------------------------


def test_damaged_tokens() -> None:
    token = sign(CLAIMS)
    head, body, tail = token.split(".")
    bob = b64(json.dumps(CLAIMS | {"sub": "bob"}).encode())
    flipped = ("A" if tail[5] != "A" else "B").join((tail[:5], tail[6:]))
    damaged = [
        f"{head}.{body}.",
        f"{head}..{tail}",
        f".{body}.{tail}",
        "..",
        f"{head}.{body}",
        f"{token}.",
        f"{token}.{tail}",
        f".{token}",
        f"{head}.{bob}.{tail}",
        f"{head}.{body}.{flipped}",
        f"{head}.{body}.{tail[:-2]}",
        f"{head}.{body}.{tail}AAAA",
        f"{head}.{body}.{tail}=",
        f"{head}=.{body}.{tail}",
        f"{head}.{body}.{tail}!",
        f"{head}.{body}. {tail}",
        f"{head}.{body}.{tail}\n",
        f"{head}.{body}.ü{tail}",
        f"{head}.{body}.{tail[:-1]}+",
        token.upper(),
        f"Bearer {token}",
        "A.A.A",
        f"{head}.{body}.{'A' * 2**20}",
    ]
    assert accept(token).user == "alice"
    for bad in damaged:
        assert type(refusal(bad)) is Unauthorized


def test_an_unsigned_expired_token_is_not_called_expired() -> None:
    expired = forge({"alg": "HS256"}, {"sub": "alice", "exp": 1}, "guessed" * 5)
    assert type(refusal(expired)) is Unauthorized


# --- keys in the settings --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([JwtKey("none", "")], "Unknown JWT algorithm"),
        ([JwtKey("HS512", SECRET)], "Unknown JWT algorithm"),
        ([JwtKey("HS256", "")], "empty"),
        ([JwtKey("HS256", "RSA")], "asymmetric"),
        ([JwtKey("RS256", SECRET)], "unusable"),
        ([JwtKey("EdDSA", "RSA")], "unusable"),
        ([JwtKey("ES256", "EdDSA")], "unusable"),
        ([JwtKey("HS256", SECRET, kid="a"), JwtKey("HS256", "b" * 32, kid="a")], "same kid"),
    ],
)
def test_unusable_keys_are_bad_settings(keys: list[JwtKey], reason: str) -> None:
    pems = {"RSA": public_pem("RS256"), "EdDSA": public_pem("EdDSA")}
    keys = [
        JwtKey(key.alg, pems.get(key.material, key.material), key.kid, key.aud, key.iss)
        for key in keys
    ]
    with pytest.raises(BadSetting) as caught:
        Authenticator([], keys)
    assert reason in caught.value.detail
    assert SECRET not in caught.value.detail
    assert "BEGIN" not in caught.value.detail


def test_weak_keys_are_reported_not_refused() -> None:
    assert Authenticator([], [HS256]).weaknesses == []
    auth = Authenticator([], [JwtKey("HS256", "short")])
    assert len(auth.weaknesses) == 1
    assert "short" not in auth.weaknesses[0]
    assert auth.identify(forge({"alg": "HS256"}, CLAIMS, "short"), NOW).user == "alice"
