"""Who still counts: revocations of users and tokens, and keys that went away."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import jwt
import pytest

from pushd.access import Access
from pushd.auth import ApiKey, Authenticator, JwtKey
from pushd.core.permissions import Identity
from pushd.errors import TokenExpired, Unauthorized
from pushd.revocations import Standing

NOW = 1_763_650_000.5
ALICE = Identity("alice", iat=NOW - 100, jti="one", key="k")
SECRET, OTHER = "a" * 32, "b" * 32


def standing(**revoked: tuple[float, float]) -> Standing:
    """``user_alice=(at, until)``."""
    made = Standing()
    made.replace_keys(frozenset({"k"}))
    made.revoked = {
        (name.split("_")[0], name.split("_")[1]): span for name, span in revoked.items()
    }
    return made


@pytest.mark.parametrize(
    ("revoked", "changes", "ended"),
    [
        ({}, {}, False),
        ({"user_alice": (NOW, NOW + 60)}, {}, True),
        ({"user_alice": (NOW, NOW + 60)}, {"iat": None}, True),
        ({"user_alice": (NOW, NOW + 60)}, {"iat": NOW}, True),
        # Issued in the second of the revocation: whole seconds are all that most tokens have.
        ({"user_alice": (NOW, NOW + 60)}, {"iat": int(NOW)}, True),
        ({"user_alice": (NOW, NOW + 60)}, {"iat": int(NOW) + 1}, False),
        ({"user_alice": (NOW, NOW + 60)}, {"iat": NOW + 0.001}, False),
        ({"user_alice": (NOW, NOW + 60)}, {"iat": 0}, True),
        ({"user_alice": (NOW, NOW + 60)}, {"iat": -1}, True),
        ({"user_alice": (NOW - 60, NOW)}, {"iat": None}, False),  # until has come
        ({"user_alice": (NOW - 60, NOW + 0.001)}, {"iat": None}, True),
        ({"user_bob": (NOW, NOW + 60)}, {}, False),
        ({"user_one": (NOW, NOW + 60)}, {}, False),
        ({"user_alic": (NOW, NOW + 60)}, {}, False),
        ({"jti_one": (NOW, NOW + 60)}, {}, True),
        ({"jti_one": (NOW, NOW + 60)}, {"iat": NOW + 10}, True),
        ({"jti_one": (NOW - 9, NOW)}, {}, False),
        ({"jti_one": (NOW, NOW + 60)}, {"jti": "two"}, False),
        ({"jti_one": (NOW, NOW + 60)}, {"jti": None}, False),
        ({"jti_alice": (NOW, NOW + 60)}, {}, False),
        ({"user_alice": (NOW - 60, NOW), "jti_one": (NOW, NOW + 9)}, {}, True),
        ({"user_alice": (NOW, NOW + 60)}, {"user": None}, False),  # a service is no user
        ({"user_alice": (NOW, NOW + 60)}, {"user": None, "key": "gone"}, False),
    ],
)
def test_revocations(
    revoked: dict[str, tuple[float, float]], changes: dict[str, Any], ended: bool
) -> None:
    made = standing(**revoked)
    identity = replace(ALICE, **changes)
    assert made.has_ended(identity, NOW) is ended
    access = Access(frozenset(), made)
    if ended:
        with pytest.raises(Unauthorized):
            access.check_valid(identity, NOW)
        with pytest.raises(Unauthorized):
            access.check_read(identity, "user:alice", NOW)
    else:
        access.check_valid(identity, NOW)


def test_a_revocation_counts_from_the_turn_that_it_is_made() -> None:
    made = standing()
    access = Access(frozenset(), made)
    access.check_valid(ALICE, NOW)
    revoked = dict[tuple[str, str], tuple[float, float]]()
    made.revoked = revoked
    access.check_valid(ALICE, NOW)
    revoked["user", "alice"] = (NOW, NOW + 60)
    with pytest.raises(Unauthorized):
        access.check_valid(ALICE, NOW)
    del revoked["user", "alice"]
    access.check_valid(ALICE, NOW)


def test_lost_keys() -> None:
    made = standing()
    made.replace_keys(frozenset({"k", "l"}))
    assert not made.lost  # one more is no loss
    assert not made.has_ended(ALICE, NOW)
    made.replace_keys(frozenset({"l"}))
    assert made.has_ended(ALICE, NOW)
    assert not made.has_ended(replace(ALICE, key="l"), NOW)
    made.replace_keys(frozenset({"l", "k"}))  # back again
    assert not made.has_ended(ALICE, NOW)
    assert made.has_ended(replace(ALICE, key="never"), NOW)


def token(secret: str = SECRET, **claims: Any) -> str:
    made = {"sub": "alice", "exp": int(NOW) + 600, "iat": int(NOW) - 100} | claims
    return jwt.encode(made, secret, "HS256")


def test_a_remembered_token_is_refused_once_it_is_revoked() -> None:
    auth = Authenticator([], [JwtKey("HS256", SECRET)])
    old, new = token(jti="one"), token(iat=int(NOW) + 1)
    for each in (old, new):
        assert auth.identify(each, NOW).user == "alice"
    auth.standing.revoked = {("user", "alice"): (NOW, NOW + 60)}
    with pytest.raises(Unauthorized):
        auth.identify(old, NOW)
    assert auth.identify(new, NOW).user == "alice"
    auth.standing.revoked = {("jti", "one"): (NOW, NOW + 60)}
    for _ in range(2):
        with pytest.raises(Unauthorized):
            auth.identify(old, NOW)
    auth.standing.revoked = {}
    assert auth.identify(old, NOW).user == "alice"


def test_a_new_token_of_a_revoked_user_is_refused_at_once() -> None:
    auth = Authenticator([], [JwtKey("HS256", SECRET)])
    auth.standing.revoked = {("user", "alice"): (NOW, NOW + 60)}
    with pytest.raises(Unauthorized):
        auth.identify(token(), NOW)
    with pytest.raises(TokenExpired):  # what it is anyway
        auth.identify(token(exp=int(NOW) - 1), NOW)


def test_a_remembered_token_goes_with_its_key() -> None:
    auth = Authenticator([], [JwtKey("HS256", SECRET), JwtKey("HS256", OTHER)])
    ours, others = token(), token(OTHER)
    kept, lost = auth.identify(ours, NOW), auth.identify(others, NOW)
    auth.install([], [JwtKey("HS256", SECRET)])
    assert auth.identify(ours, NOW) is kept
    assert not auth.standing.has_ended(kept, NOW)
    assert auth.standing.has_ended(lost, NOW)
    for _ in range(2):
        with pytest.raises(Unauthorized, match="signature"):
            auth.identify(others, NOW)


@pytest.mark.parametrize(
    "key", [JwtKey("HS256", SECRET, aud="x"), JwtKey("HS256", SECRET, iss="x")]
)
def test_a_key_with_other_rules_is_another_key(key: JwtKey) -> None:
    """What was let in without an audience is asked for one."""
    auth = Authenticator([], [JwtKey("HS256", SECRET)])
    before = auth.identify(token(), NOW)
    auth.install([], [key])
    assert auth.standing.has_ended(before, NOW)
    with pytest.raises(Unauthorized):
        auth.identify(token(), NOW)
    assert auth.identify(token(aud="x", iss="x"), NOW).user == "alice"


def test_services_whose_key_was_changed_or_removed() -> None:
    def key(name: str, *scopes: str) -> ApiKey:
        return ApiKey(name, hashlib.sha256(name.encode()).hexdigest(), scopes or ("read",))

    auth = Authenticator([key("a"), key("b"), key("c")], [])
    a, b, c = (auth.identify(name, NOW) for name in "abc")
    auth.install([key("a"), key("b", "publish")], [])
    assert [auth.standing.has_ended(each, NOW) for each in (a, b, c)] == [False, True, True]
    assert auth.identify("b", NOW).scopes == {"publish"}
    with pytest.raises(Unauthorized):
        auth.identify("c", NOW)


def test_bad_keys_change_nothing() -> None:
    auth = Authenticator([], [JwtKey("HS256", SECRET)])
    before = auth.identify(token(), NOW)
    for keys in ([JwtKey("HS512", SECRET)], [JwtKey("HS256", OTHER, kid="a")] * 2):
        with pytest.raises(Exception, match=r"kid|algorithm"):
            auth.install([], keys)
    assert auth.identify(token(), NOW) is before
    assert not auth.standing.lost


@pytest.mark.parametrize("iat", [int(NOW) + 61, 2**53, 1e300])
def test_nobody_is_issued_tomorrow(iat: float) -> None:
    """Such a token would outlive every revocation."""
    auth = Authenticator([], [JwtKey("HS256", SECRET)])
    with pytest.raises(Unauthorized, match="future"):
        auth.identify(token(iat=iat), NOW)
    assert auth.identify(token(iat=int(NOW) + 60), NOW).iat == int(NOW) + 60
