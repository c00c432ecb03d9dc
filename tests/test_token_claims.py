"""The claims of a JWT whose signature is good: what each must look like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jwt.api_jws import PyJWS

from pushd.auth import Authenticator, JwtKey
from pushd.core.permissions import Identity
from pushd.errors import PushdError, TokenExpired, Unauthorized

NOW = 1_763_650_000.0
SECRET = "a secret of at least thirty-two bytes"
HS256 = JwtKey("HS256", SECRET)
CLAIMS = {"sub": "alice", "exp": int(NOW) + 60}


def sign(claims: str | dict[str, Any]) -> str:
    # Not jwt.encode: it refuses some of the claims that are to be refused here.
    payload = claims if isinstance(claims, str) else json.dumps(claims)
    return PyJWS().encode(payload.encode(), SECRET, "HS256")


def accept(token: str, key: JwtKey = HS256) -> Identity:
    return Authenticator([], [key]).identify(token, NOW)


def refusal(token: str, key: JwtKey = HS256) -> PushdError:
    with pytest.raises((Unauthorized, TokenExpired)) as caught:
        accept(token, key)
    # Never a part of the token in a text that is logged.
    assert not [part for part in token.split(".") if len(part) > 8 and part in str(caught.value)]
    assert len(caught.value.detail) < 300
    return caught.value


@pytest.mark.parametrize(
    "exp",
    [
        None,
        True,
        False,
        str(int(NOW) + 60),
        NOW + 60,
        float(int(NOW) + 60),
        [int(NOW) + 60],
        {},
        2**53,
        2**63,
        2**64,
        10**400,
        -1,
    ],
    ids=lambda exp: ascii(exp)[:20],
)
def test_bad_exp(exp: Any) -> None:
    assert type(refusal(sign({"sub": "alice", "exp": exp}))) is Unauthorized


@pytest.mark.parametrize("exp", ["1e10", "1763650060.0", "Infinity", "NaN", "1" * 5000, "-"])
def test_bad_exp_in_the_text(exp: str) -> None:
    assert type(refusal(sign('{"sub":"alice","exp":' + exp + "}"))) is Unauthorized


@pytest.mark.parametrize("exp", [0, 1, int(NOW) - 1, int(NOW)])
def test_expired(exp: int) -> None:
    assert type(refusal(sign({"sub": "alice", "exp": exp}))) is TokenExpired


def test_the_largest_exp() -> None:
    assert accept(sign({"sub": "alice", "exp": 2**53 - 1})).expires == 2**53 - 1


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ('{"exp":9999999999}', "sub"),
        ('{"sub":"alice"}', "exp"),
        ('{"sub":"alice","sub":"bob","exp":9999999999}', "twice"),
        ('{"sub":"alice","exp":1,"exp":9999999999}', "twice"),
        ('["alice"]', "object"),
        ("null", "object"),
        ("", "empty"),
        ("{", "JSON"),
        ("[" * 2800 + "]" * 2800, "deep"),
        ('{"sub":"alice","exp":9999999999} ' + "x", "JSON"),
    ],
    ids=lambda value: value[:40],
)
def test_bad_claims_as_text(claims: str, reason: str) -> None:
    refused = refusal(sign(claims))
    assert type(refused) is Unauthorized
    assert reason in refused.detail


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"sub": ""}, "user id is empty"),
        ({"sub": None}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": ["alice"]}, "sub"),
        ({"sub": "alice:orders"}, "':'"),
        ({"sub": "a*"}, "'*'"),
        ({"sub": "../bob"}, "'/'"),
        ({"sub": ".."}, "'..'"),
        ({"sub": "a\0"}, "control"),
        ({"sub": "\ud800"}, "surrogate"),
        ({"sub": "e\u0301"}, "NFC"),
        ({"sub": "x" * 201}, "200 bytes"),
        ({"nbf": int(NOW) + 6}, "nbf"),
        ({"nbf": 10**300}, "nbf"),
        ({"nbf": NOW + 3600.5}, "nbf"),
        ({"nbf": "0"}, "nbf"),
        ({"nbf": True}, "nbf"),
        ({"iat": int(NOW) + 61}, "iat"),
        ({"iat": 10**300}, "iat"),
        ({"iat": "0"}, "iat"),
        ({"device": ""}, "device id is empty"),
        ({"device": "a:b"}, "':'"),
        ({"device": 7}, "device"),
        ({"jti": 7}, "jti"),
        ({"pushd": []}, "pushd"),
        ({"pushd": {"subscribe": "*"}}, "subscribe"),
        ({"pushd": {"subscribe": None}}, "subscribe"),
        ({"pushd": {"subscribe": [1]}}, "subscribe"),
        ({"pushd": {"publish": ["a*b"]}}, "'*'"),
        ({"pushd": {"publish": ["$control"]}}, "internal"),
        ({"pushd": {"subscribe": [""]}}, "empty"),
        ({"pushd": {"attributes": "Alice"}}, "attributes"),
        ({"pushd": {"attributes": {"name": "x" * 1020}}}, "1024 bytes"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_bad_claims(more: dict[str, Any], reason: str) -> None:
    refused = refusal(sign(CLAIMS | more))
    assert type(refused) is Unauthorized
    assert reason in refused.detail


def test_attributes_of_the_largest_size() -> None:
    attributes = {"name": "x" * 1013}
    assert accept(sign(CLAIMS | {"pushd": {"attributes": attributes}})).attributes == attributes


@pytest.mark.parametrize("nbf", [0, int(NOW), NOW - 0.5, int(NOW) + 5])
def test_good_nbf(nbf: float) -> None:
    assert accept(sign(CLAIMS | {"nbf": nbf})).user == "alice"


@pytest.mark.parametrize("iat", [None, -1, 0, NOW - 0.5, int(NOW) + 60])
def test_good_iat(iat: float | None) -> None:
    assert accept(sign(CLAIMS | {"iat": iat})).iat == iat


ABSENT = "absent"  # no claim at all; no value here is spelt so


@pytest.mark.parametrize("claim", ["aud", "iss"])
@pytest.mark.parametrize(
    "value",
    [
        *(ABSENT, None, "", "push", "pushd2", "xpushd", "PUSHD", "pushd ", "*"),
        *(["pushd"], ["pushd", "x"], [], {"pushd": 1}, 1, True),
    ],
    ids=ascii,
)
def test_aud_and_iss_are_compared_to_the_letter(claim: str, value: Any) -> None:
    key = JwtKey("HS256", SECRET, **{claim: "pushd"})
    assert accept(sign(CLAIMS | {claim: "pushd"}), key).user == "alice"
    claims = CLAIMS if value is ABSENT else CLAIMS | {claim: value}
    refused = refusal(sign(claims), key)
    assert type(refused) is Unauthorized
    assert f"'{claim}'" in refused.detail
