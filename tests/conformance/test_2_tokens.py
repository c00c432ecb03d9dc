"""Section 2, credentials: what a key or token must be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pushd.settings import ApiKeyTable
from pushd.settings.jwt_tables import JwtTable
from tests.conformance.api import KEY, SECRET, Api, serving
from tests.support.jwks import AUD, ISS, key_set, private, provider
from tests.support.jwks import token as of_provider

NEWS = "/v1/channels/news/messages"
GRANTS = {"subscribe": ["news"], "publish": ["news"]}


def claims(**given: Any) -> dict[str, Any]:
    return {"sub": "alice", "exp": int(time.time()) + 60, "pushd": GRANTS, **given}


def by_hand(header: dict[str, Any], payload: str, secret: str = SECRET) -> str:
    """Signed with HS256, whatever the header says: libraries would refuse to make these."""
    parts = [json.dumps(header), payload]
    signed = b".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in parts)
    signature = hmac.digest(secret.encode(), signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    ("scheme", "code"),
    [("Bearer", None), ("bearer", None), ("Basic", "unauthorized"), ("Token", "unauthorized")],
)
async def test_the_scheme_is_bearer(api: Api, scheme: str, code: str | None) -> None:
    # Of both kinds of routes: those that are hot, and the others.
    for path in (f"{NEWS}?after=0", "/v1/channels"):
        answer = await api.ask("GET", path, headers={"Authorization": f"{scheme} {KEY}"})
        assert (None if answer.status == 200 else answer.code) == code


async def test_a_key_may_be_limited_to_patterns(tmp_path: Path, kept: bool) -> None:
    digest = hashlib.sha256(b"a-limited-key-of-a-service").hexdigest()
    table = ApiKeyTable("feed", digest, ("publish", "read"), ("news*", "user:*"))
    async with serving(tmp_path, kept, keys=(table,)) as api:
        for channel, allowed in {
            "news": True,
            "news:1": True,
            "user:bob": True,
            "new": False,
            "all": False,
            "group:g": False,
        }.items():
            key = "a-limited-key-of-a-service"
            path = f"/v1/channels/{channel}/messages"
            sent = await api.ask("POST", path, token=key, body={"data": 1})
            read = await api.pull(channel, key, after=0)
            expected = (201, 200) if allowed else (403, 403)
            assert (sent.status, read.status) == expected, channel


HS256 = {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize(
    ("header", "payload", "good"),
    [
        (HS256, "{}", True),
        ({"alg": "HS256"}, "{}", True),
        ({"alg": "HS384"}, "{}", False),
        ({"alg": "RS256"}, "{}", False),
        ({**HS256, "kid": "1"}, "{}", False),
        ({**HS256, "jku": "https://evil.example"}, "{}", False),
        ({**HS256, "jwk": {}}, "{}", False),
        ({**HS256, "crit": []}, "{}", False),
        (HS256, '{"sub":"bob"}', True),
        (HS256, '{"sub":"bob","sub":"alice"}', False),
        (HS256, '{"unknown":[1]}', True),
        (HS256, '{"unknown":"%s"}' % ("x" * 4000), True),
        (HS256, '{"unknown":"%s"}' % ("x" * 7000), False),
        (HS256, '{"aud":"anybody","iss":"anywhere"}', True),
        (HS256, '{"pushd":{"subscribe":["$*"]}}', False),
        (HS256, '{"pushd":{"subscribe":["a b"]}}', False),
        (HS256, '{"pushd":{"publish":["a,b*"]}}', False),
        (HS256, '{"device":"a/b"}', False),
        (HS256, '{"device":"phone"}', True),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_tokens_that_libraries_would_not_make(
    api: Api, header: dict[str, Any], payload: str, good: bool
) -> None:
    text = json.dumps({"sub": "alice", "exp": int(time.time()) + 60})
    if payload != "{}":
        # As text: a claim may be there twice.
        given = json.loads(payload)
        rest = {name: value for name, value in json.loads(text).items() if name not in given}
        text = payload[:-1] + "," + json.dumps(rest)[1:]
    answer = await api.pull("all", by_hand(header, text))
    assert (answer.status == 200) is good
    assert good or answer.code == "unauthorized"


@pytest.mark.parametrize(
    ("claim", "ahead", "good"),
    [("nbf", 3, True), ("nbf", 30, False), ("iat", 50, True), ("iat", 100, False)],
)
async def test_how_far_a_clock_may_be_behind(api: Api, claim: str, ahead: int, good: bool) -> None:
    token = jwt.encode(claims(**{claim: int(time.time()) + ahead}), SECRET, "HS256")
    assert ((await api.pull("all", token)).status == 200) is good


async def test_a_token_pins_its_device(api: Api) -> None:
    token = jwt.encode(claims(device="phone"), SECRET, "HS256")
    await api.publish("news", 1)
    assert (await api.pull("news", token, after=0)).status == 200
    assert (await api.pull("news", token, after=0, device="phone")).status == 200
    assert (await api.pull("news", token, after=0, device="tablet")).code == "forbidden"
    for path, body in (
        ("/v1/pull", {"cursors": {"news": "0"}}),
        ("/v1/ack", {"cursors": {"news": "0"}}),
        ("/v1/channels/news/read", {"cursor": "0"}),
    ):
        answer = await api.ask("POST", path, token=token, body={**body, "device": "tablet"})
        assert answer.code == "forbidden", path
    answer = await api.ask("GET", "/v1/events?device=tablet", token=token)
    assert answer.code == "forbidden"


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return text.decode()


async def test_each_key_has_its_one_algorithm(tmp_path: Path, kept: bool) -> None:
    keys: dict[str, Any] = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    tables = tuple(JwtTable(alg, pem(key), alg) for alg, key in keys.items())
    async with serving(tmp_path, kept, jwt=tables) as api:
        for alg, key in keys.items():
            token = jwt.encode(claims(), key, alg, {"kid": alg})
            assert (await api.pull("news", token)).status == 200, alg
            nameless = jwt.encode(claims(), key, alg)
            assert (await api.pull("news", nameless)).code == "unauthorized"
            # What everybody knows, taken for a secret.
            confused = by_hand({"alg": "HS256", "kid": alg}, json.dumps(claims()), pem(key))
            assert (await api.pull("news", confused)).code == "unauthorized"
        assert (await api.pull("news", jwt.encode(claims(), SECRET, "HS256"))).status == 200


@pytest.mark.parametrize(
    ("given", "good"),
    [
        ({}, True),
        ({"aud": None}, False),
        ({"aud": "other"}, False),
        ({"aud": [AUD]}, False),
        ({"aud": AUD + "2"}, False),
        ({"aud": AUD[:-1]}, False),
        ({"iss": None}, False),
        ({"iss": "https://login.example.org"}, False),
        ({"iss": ISS + "/"}, False),
        ({"iss": ISS[:-1]}, False),
        ({"iss": [ISS]}, False),
    ],
    ids=str,
)
async def test_audience_and_issuer_are_exact(
    tmp_path: Path, kept: bool, given: dict[str, Any], good: bool
) -> None:
    table = JwtTable("HS256", SECRET[::-1], "k", AUD, ISS)
    made = {name: text for name, text in ({**claims(aud=AUD, iss=ISS), **given}).items() if text}
    token = jwt.api_jws.encode(json.dumps(made).encode(), SECRET[::-1], "HS256", {"kid": "k"})
    async with serving(tmp_path, kept, jwt=(table,)) as api:
        answer = await api.pull("news", token)
        assert (None if answer.status == 200 else answer.code) == (None if good else "unauthorized")


@pytest.mark.parametrize("place", ["file", "address"])
async def test_keys_of_a_set(tmp_path: Path, kept: bool, place: str) -> None:
    async with provider() as host:
        file = tmp_path / "keys.json"
        file.write_bytes(key_set("one"))
        where: tuple[Path | None, str | None] = (file, None)
        if place == "address":
            where = (None, host.url)
        table = JwtTable("", "", None, AUD, ISS, ("EdDSA",), *where)
        async with serving(tmp_path, kept, jwt=(table,)) as api:
            assert (await api.pull("news", of_provider("one"))).status == 200
            assert (await api.pull("news", of_provider("one", aud="x"))).code == "unauthorized"
            other = jwt.encode(claims(aud=AUD, iss=ISS), private("two"), "EdDSA", {"kid": "one"})
            assert (await api.pull("news", other)).code == "unauthorized"
