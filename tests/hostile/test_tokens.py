"""Tokens: forged, stretched, misdirected, oversized. Each is told 401, and none is ever logged."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.hostile.node import Node, serves_on
from tests.support.app import SECRET
from tests.support.http import request
from tests.support.websocket import Closed

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = "another-secret-of-somebody-else-0123456789"


def public_pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def CONFIG(home: Path) -> str:  # noqa: N802  (a name of the conftest's)
    (home / "rsa.pem").write_bytes(public_pem(RSA))
    (home / "ec.pem").write_bytes(public_pem(EC))
    return """
[[jwt]]
alg = "RS256"
kid = "rsa"
public_key_file = "rsa.pem"

[[jwt]]
alg = "ES256"
kid = "ec"
public_key_file = "ec.pem"
aud = "pushd"
iss = "https://login.example.com"
"""


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    members = {"sub": "alice", "exp": int(time.time()) + 600, "pushd": {"subscribe": ["*"]}}
    members |= changes
    return {name: value for name, value in members.items() if value is not ...}


def forge(
    head: dict[str, Any] | bytes,
    body: dict[str, Any] | bytes,
    key: bytes | None = SECRET.encode(),
    digest: str = "sha256",
) -> str:
    """Signed with HMAC; with no key the signature is empty."""
    parts = [
        each if isinstance(each, bytes) else json.dumps(each).encode() for each in (head, body)
    ]
    signed = ".".join(map(b64, parts))
    signature = b"" if key is None else hmac.digest(key, signed.encode(), digest)
    return f"{signed}.{b64(signature)}"


HS = {"alg": "HS256", "typ": "JWT"}


def good(**changes: Any) -> str:
    return forge(HS, claims(**changes))


BAD: dict[str, Callable[[], str]] = {
    "none": lambda: forge({"alg": "none"}, claims(), None),
    "None": lambda: forge({"alg": "None"}, claims(), None),
    "nOnE": lambda: forge({"alg": "nOnE"}, claims(), None),
    "none with a signature": lambda: forge({"alg": "none"}, claims()),
    "no alg": lambda: forge({"typ": "JWT"}, claims()),
    "alg is a list": lambda: forge({"alg": ["HS256"]}, claims()),
    "hs384": lambda: forge({"alg": "HS384"}, claims(), digest="sha384"),
    "hs512": lambda: forge({"alg": "HS512"}, claims(), digest="sha512"),
    "hs256 in small letters": lambda: forge({"alg": "hs256"}, claims()),
    "hs256 with the public rsa key": lambda: forge(
        {"alg": "HS256", "kid": "rsa"}, claims(), public_pem(RSA)
    ),
    "hs256 with the public ec key": lambda: forge(
        {"alg": "HS256", "kid": "ec"}, claims(), public_pem(EC)
    ),
    "rs256 signed by hmac": lambda: forge(
        {"alg": "RS256", "kid": "rsa"}, claims(), public_pem(RSA)
    ),
    "es256 of zeros": lambda: forge({"alg": "ES256", "kid": "ec"}, claims(), None) + b64(bytes(64)),
    "another secret": lambda: forge(HS, claims(), OTHER.encode()),
    "empty secret": lambda: forge(HS, claims(), b""),
    "unknown kid": lambda: forge({**HS, "kid": "other"}, claims()),
    "kid is a path": lambda: forge({**HS, "kid": "../../../../dev/null"}, claims(), b""),
    "kid is sql": lambda: forge({**HS, "kid": "x' UNION SELECT 'a"}, claims(), b"a"),
    "kid is a number": lambda: forge({**HS, "kid": 1}, claims()),
    "jku": lambda: forge({**HS, "jku": "http://127.0.0.1:1/keys"}, claims()),
    "x5u": lambda: forge({**HS, "x5u": "http://127.0.0.1:1/cert"}, claims()),
    "jwk": lambda: forge({**HS, "jwk": {"kty": "oct", "k": b64(OTHER.encode())}}, claims()),
    "x5c": lambda: forge({**HS, "x5c": ["MII"]}, claims()),
    "crit": lambda: forge({**HS, "crit": ["exp"]}, claims()),
    "b64": lambda: forge({**HS, "b64": False}, claims()),
    "alg twice": lambda: forge(b'{"alg":"none","alg":"HS256"}', claims()),
    "header is a list": lambda: forge(b"[]", claims()),
    "header is no json": lambda: forge(b"\xff", claims()),
    "no exp": lambda: good(exp=...),
    "exp is null": lambda: good(exp=None),
    "exp is a float": lambda: good(exp=time.time() + 600.5),
    "exp is a text": lambda: good(exp=str(int(time.time()) + 600)),
    "exp is true": lambda: good(exp=True),
    "exp is huge": lambda: good(exp=2**63),
    "exp is 1e999": lambda: forge(HS, b'{"sub":"alice","exp":1e999}'),
    "exp has 5,000 digits": lambda: forge(HS, b'{"sub":"alice","exp":%b}' % (b"9" * 5000)),
    "exp is negative": lambda: good(exp=-1),
    "exp twice": lambda: forge(HS, b'{"sub":"alice","exp":1,"exp":9999999999}'),
    "nbf in the future": lambda: good(nbf=int(time.time()) + 600),
    "nbf is a text": lambda: good(nbf="0"),
    "no sub": lambda: good(sub=...),
    "sub is a number": lambda: good(sub=1),
    "sub is empty": lambda: good(sub=""),
    "sub with a colon": lambda: good(sub="alice:bob"),
    "sub with a slash": lambda: good(sub="../bob"),
    "sub with a star": lambda: good(sub="*"),
    "sub in nfd": lambda: good(sub="e\u0301"),
    "sub with an rtl mark": lambda: good(sub="alice\u200f"),
    "device is a path": lambda: good(device="a/b"),
    "a pattern of internals": lambda: good(pushd={"subscribe": ["$*"]}),
    "patterns are a text": lambda: good(pushd={"subscribe": "*"}),
    "a pattern with two stars": lambda: good(pushd={"subscribe": ["a*b*"]}),
    "claims are a list": lambda: forge(HS, b"[]"),
    "claims are no json": lambda: forge(HS, b"\xff\xfe"),
    "claims are deep": lambda: forge(HS, b"[" * 3000),
    "empty signature": lambda: good().rpartition(".")[0] + ".",
    "cut signature": lambda: good()[:-4],
    "another signature": lambda: good().rpartition(".")[0] + "." + good(sub="b").rpartition(".")[2],
    "no signature": lambda: good().rpartition(".")[0],
    "extra segment": lambda: good() + ".e30",
    "empty segments": lambda: "..",
    "padded": lambda: good() + "=",
    "blank within": lambda: good().replace(".", ". ", 1),
    "other base64": lambda: "+/+/." + good().split(".", 1)[1],
    "unicode": lambda: "ä.ö.ü",
    "8,193 characters": lambda: good(pad="x" * 7000)[:8193].ljust(8193, "A"),
}


async def told_4001(node: Node, target: str, token: str | None = None) -> None:
    async with node.socket(target, token=token) as socket:
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reconnect"]) == (4001, False)
        with pytest.raises(Closed):
            await socket.message()


@pytest.mark.parametrize("name", BAD)
async def test_bad_tokens_on_every_way_in(node: Node, name: str) -> None:
    token = node.secret(BAD[name]())
    target = "/v1/channels/user:alice/messages?after=0"
    data = request("GET", target, headers={"Authorization": "Bearer TOKEN"})
    answer = await node.send(data.replace(b"TOKEN", token.encode()))
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert token.encode() not in answer.body
    async with node.socket() as socket:
        await socket.send({"type": "auth", "token": token})
        assert (await socket.expect("bye"))["code"] == 4001
    if token.isascii() and " " not in token:
        await told_4001(node, f"/v1/ws?token={token.replace('+', '%2b')}")
        if "=" not in token and "/" not in token:
            await told_4001(node, "/v1/ws", token=token)
        path = f"/v1/events?channels=news&token={token.replace('+', '%2b')}"
        answer = await node.send(request("GET", path))
        assert answer.status == 401


async def test_a_token_of_a_megabyte(node: Node) -> None:
    """As a header it is a head beyond its limit; in a frame, a frame beyond its limit."""
    token = good(pad="x" * (1 << 20))
    headers = {"Authorization": f"Bearer {token}"}
    answer = await node.send(request("GET", "/v1/channels/a/messages", headers=headers))
    assert (answer.status, answer.code) == (431, "too_large")
    async with node.socket() as socket:
        await socket.send({"type": "auth", "token": good(pad="x" * 40_000)})
        assert (await socket.expect("bye"))["code"] == 4001
    await serves_on(node)


async def test_what_is_good_is_taken(node: Node) -> None:
    """The table above fails for the reason that it names, not because nothing is taken."""
    rs = jwt.encode(claims(), RSA, "RS256", headers={"kid": "rsa"})
    es = claims(aud="pushd", iss="https://login.example.com")
    ec_token = jwt.encode(es, EC, "ES256", headers={"kid": "ec"})
    for token in (good(), good(unknown=[1]), good(nbf=0), rs, ec_token):
        answer = await node.pull("user:alice", node.secret(token), after=0)
        assert answer.status == 200, answer.json


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.example.com.evil.net"},
        {"iss": "https://login.example.co"},
        {"iss": ["https://login.example.com"]},
        {"iss": ...},
        {"aud": ["pushd"]},
        {"aud": "pushd2"},
        {"aud": "PUSHD"},
        {"aud": ...},
    ],
    ids=str,
)
async def test_issuer_and_audience_to_the_letter(node: Node, changes: dict[str, Any]) -> None:
    body = claims(**{"aud": "pushd", "iss": "https://login.example.com", **changes})
    # A library may refuse to sign some of these: by hand, as somebody would who means harm.
    head = {"alg": "ES256", "kid": "ec"}
    signed = ".".join(b64(json.dumps(part).encode()) for part in (head, body))
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(
        signed.encode(), EC
    )
    token = node.secret(f"{signed}.{b64(signature)}")
    answer = await node.pull("user:alice", token, after=0)
    assert (answer.status, answer.code) == (401, "unauthorized")


async def test_expired(node: Node) -> None:
    token = node.secret(good(exp=int(time.time()) - 1))
    answer = await node.pull("user:alice", token, after=0)
    assert (answer.status, answer.code) == (401, "token_expired")
    await told_4001(node, "/v1/ws", token=token)


async def test_at_its_end_a_session_is_closed_and_a_poll_is_401(node: Node) -> None:
    token = node.secret(good(exp=int(time.time()) + 8))  # time for a busy machine
    async with node.socket(token=token) as socket, node.peer() as peer:
        await socket.expect("hello")
        target = "/v1/channels/user:alice/messages?after=head&wait=15"  # or a fifth less
        await peer.write(request("GET", target, token=token))
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reason"]) == (4001, "token_expired")
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "token_expired")


async def test_a_user_of_whom_all_tokens_are_revoked(node: Node) -> None:
    token = node.token("revoked")
    async with node.socket(token=token) as socket:
        await socket.expect("hello")
        body = {"user": "revoked", "until": int(time.time() * 1000) + 600_000}
        key = "test-key-of-a-service"
        answer = await node.ask("POST", "/v1/revocations", token=key, body=body)
        if answer.status == 404:
            pytest.skip("no route for revocations yet")
        assert answer.status < 300, answer.json
        assert (await socket.expect("bye"))["code"] == 4001
    answer = await node.pull("user:revoked", token, after=0)
    assert (answer.status, answer.code) == (401, "unauthorized")


CREDENTIALS = ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer\ta.b.c", "Digest x", "bearer", "\xff"]


@pytest.mark.parametrize("header", CREDENTIALS)
async def test_headers_that_hold_no_token(node: Node, header: str) -> None:
    data = request("GET", "/v1/channels/a/messages", headers={"Authorization": "HEADER"})
    answer = await node.send(data.replace(b"HEADER", header.encode("latin-1")))
    assert (answer.status, answer.code) == (401, "unauthorized")


async def test_a_key_in_an_address_is_no_key(node: Node) -> None:
    key = "test-key-of-a-service"
    await told_4001(node, f"/v1/ws?token={key}")
    answer = await node.send(request("GET", f"/v1/channels/a/messages?after=0&token={key}"))
    assert answer.status == 401
    digest = hashlib.sha256(key.encode()).hexdigest()
    answer = await node.pull("a", digest, after=0)
    assert (answer.status, answer.code) == (401, "unauthorized")
