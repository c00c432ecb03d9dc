"""Credentials: what is let in, as whom, and every way of not being let in."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import pytest

import pushd.auth
from pushd.auth import ApiKey, Authenticator, JwtKey, mint_token
from pushd.core.permissions import Identity
from pushd.errors import BadRequest, BadSetting, TokenExpired, Unauthorized

SECRET = "a secret of at least thirty-two bytes"
NOW = 1_763_650_000.0


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = [
    ApiKey("root", digest("root-key"), ["publish", "read", "admin"]),
    ApiKey("shop", digest("shop.key"), {"publish"}, ["orders*", "user:*"]),
]


def make(max_cached: int = 50_000) -> Authenticator:
    return Authenticator(KEYS, [JwtKey("HS256", SECRET)], max_cached)


def test_api_keys() -> None:
    auth = make()
    root = auth.identify("root-key", NOW)
    assert root == Identity(None, scopes=frozenset({"publish", "read", "admin"}), key_name="root")
    shop = auth.identify("shop.key", NOW)
    assert (shop.key_name, shop.patterns, shop.expires) == ("shop", ("orders*", "user:*"), None)
    assert shop.is_service
    assert auth.identify("root-key", NOW) is root


@pytest.mark.parametrize(
    "credential",
    [
        *("", " ", "root", "root-key ", "ROOT-KEY", "root-key\0", "rööt", "\ud800"),
        *("Bearer root-key", digest("root-key"), "a.b.c.d", "....", "x" * 8193, "x" * 2**20),
        "a.b." + "c" * 2**20,
    ],
    ids=lambda credential: ascii(credential)[:30],
)
def test_other_credentials(credential: str) -> None:
    auth = make()
    with pytest.raises(Unauthorized) as caught:
        auth.identify(credential, NOW)
    assert len(credential) < 4 or credential not in caught.value.detail
    assert len(caught.value.detail) < 200


def test_length_is_checked_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = make()
    monkeypatch.setattr(pushd.auth, "hashlib", None)
    with pytest.raises(Unauthorized, match="longer than 8192"):
        auth.identify("a.b." + "c" * 2**20, NOW)


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = make()
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(pushd.auth.hmac, "compare_digest", compare)
    auth.identify("root-key", NOW)
    assert compared == [hashlib.sha256(k).digest() for k in (b"root-key", b"shop.key")]


def test_a_minted_token_says_what_was_asked() -> None:
    token = mint_token(
        SECRET, "alice", "phone", ["news", "room:*"], ["chat*", "user:*"], ttl_s=60, now=NOW
    )
    assert make().identify(token, NOW) == Identity(
        "alice",
        device="phone",
        expires=NOW + 60,
        subscribe=("news", "room:*"),
        publish=("chat*", "user:*"),
    )
    assert mint_token(SECRET, "alice", now=NOW) == mint_token(SECRET, "alice", now=NOW + 0.9)
    make().identify(mint_token(SECRET, "alice"), time.time())


@pytest.mark.parametrize(
    ("user", "options"),
    [
        ("", {}),
        ("a:b", {}),
        ("alice", {"device": "a b"}),
        ("alice", {"subscribe": ["a*b"]}),
        ("alice", {"publish": ["$*"]}),
        ("alice", {"subscribe": [f"topic-{n}*" for n in range(1000)]}),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_minting_refuses_what_would_not_be_accepted(user: str, options: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        mint_token(SECRET, user, **options)  # type: ignore[arg-type]


def test_a_verified_token_is_remembered_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = make()
    token = mint_token(SECRET, "alice", ttl_s=60, now=NOW)
    identity = auth.identify(token, NOW)
    monkeypatch.setattr(auth, "_verifier", None)  # from here on there is only the cache
    assert auth.identify(token, NOW + 59.999) is identity
    for moment in (NOW + 60, NOW + 61, NOW + 10**9):
        with pytest.raises(TokenExpired):
            auth.identify(token, moment)
    assert auth.identify(token, NOW + 59) is identity  # a clock set back harms nobody


def test_a_token_is_refused_from_its_exp_on_when_it_is_new_too() -> None:
    token = mint_token(SECRET, "alice", ttl_s=60, now=NOW)
    for moment in (NOW + 60, NOW + 61):
        with pytest.raises(TokenExpired):
            make().identify(token, moment)
    assert make().identify(token, NOW + 59.999).user == "alice"


def test_the_cache_is_bounded_and_keeps_what_is_used() -> None:
    auth = make(max_cached=3)
    tokens = [mint_token(SECRET, f"user-{number}", now=NOW) for number in range(10)]
    first = auth.identify(tokens[0], NOW)
    for token in tokens[1:]:
        auth.identify(token, NOW)
        assert auth.identify(tokens[0], NOW) is first
        assert len(auth._cache) <= 3
    newest = auth.identify(tokens[9], NOW)
    assert auth.identify(tokens[9], NOW) is newest, "it is not the one that goes"
    again = auth.identify(tokens[1], NOW)
    assert again.user == "user-1"


@pytest.mark.parametrize("wrong", ["two names", "two kids", "no digest"])
def test_keys_are_exchanged_all_or_none(wrong: str) -> None:
    auth = make()
    token = mint_token(SECRET, "alice", now=NOW)
    new = ApiKey("new", digest("new-key"), ["read"])
    secrets = [JwtKey("HS256", "s" * 32, "a"), JwtKey("HS256", "t" * 32, "a")]
    keys = {"two names": [new, new], "two kids": [new], "no digest": [new, ApiKey("x", "y", [])]}
    with pytest.raises(BadSetting):
        auth.install(keys[wrong], secrets if wrong == "two kids" else [])
    assert auth.identify("root-key", NOW).key_name == "root"
    assert auth.identify(token, NOW).user == "alice"
    with pytest.raises(Unauthorized):
        auth.identify("new-key", NOW)

    # One that may less from now on is another: what is remembered of it counts no more.
    before = auth.identify("root-key", NOW)
    auth.install([replace(KEYS[0], scopes=["read"]), KEYS[1]], [JwtKey("HS256", SECRET)])
    assert auth.standing.has_ended(before, NOW)
    assert not auth.standing.has_ended(auth.identify("shop.key", NOW), NOW)

    auth.install([new], secrets[:1])
    assert auth.identify("new-key", NOW).key_name == "new"
    for gone in ("root-key", token):
        with pytest.raises(Unauthorized):
            auth.identify(gone, NOW)


def test_refused_tokens_take_no_room() -> None:
    auth = make()
    for secret in ("x" * 32, "y" * 32):
        with pytest.raises(Unauthorized):
            auth.identify(mint_token(secret, "alice", now=NOW), NOW)
    assert not auth._cache


def test_nothing_printed_shows_a_key() -> None:
    auth = make()
    shown = repr([KEYS, JwtKey("HS256", SECRET), auth, auth.identify("root-key", NOW)])
    for secret in (SECRET, "root-key", digest("root-key")):
        assert secret not in shown


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([ApiKey("a", "root-key", ["read"])], "64 lower-case hex"),
        ([ApiKey("a", digest("x").upper(), ["read"])], "64 lower-case hex"),
        ([ApiKey("a", digest("x"), ["write"])], "scopes"),
        ([ApiKey("a", digest("x"), "read")], "scopes"),
        ([ApiKey("a", digest("x"), ["read"], ["a*b"])], "'*'"),
        ([ApiKey("a", digest("x"), ["read"]), ApiKey("a", digest("y"), ["read"])], "same name"),
    ],
)
def test_bad_api_keys_are_bad_settings(keys: list[ApiKey], reason: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Authenticator(keys, [])
    assert reason in caught.value.detail
    assert "root-key" not in caught.value.detail
