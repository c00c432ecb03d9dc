"""Who may read and publish what: the table of docs/protocol.md, and attacks by pattern."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.names import Kind, check_channel, kind_of
from pushd.core.namespaces import PUBLISH_RULES, PublishRule
from pushd.core.permissions import (
    Identity,
    check_pattern,
    matches,
    may_publish,
    may_read,
)
from pushd.errors import BadRequest

PUBLIC = frozenset({"news"})

ALICE = Identity("alice")
PLAIN = Identity("bob")


def is_member(group: str, user: str) -> bool:
    return (group, user) == ("team", "alice")


# A token with every pattern that somebody careless or hostile might think of.
GREEDY_PATTERNS = ("*", "user*", "us*", "all*", "al*", "grou*", "group*", "session*", "$*", "a*")
GREEDY = Identity("greedy", subscribe=GREEDY_PATTERNS, publish=GREEDY_PATTERNS)
SPELLED_PATTERNS = ("all", "user:*", "group:*", "session:*", "$control", "$*", "room:1", "chat*")
SPELLED = Identity("spelled", subscribe=SPELLED_PATTERNS, publish=SPELLED_PATTERNS)
READER = Identity(None, scopes=frozenset({"read"}), key_name="reader")
PUBLISHER = Identity(None, scopes=frozenset({"publish"}), key_name="publisher")
ADMIN = Identity(None, scopes=frozenset({"admin"}), key_name="admin")
ROOT = Identity(None, scopes=frozenset({"publish", "read", "admin"}), key_name="root")
LIMITED = dataclasses.replace(ROOT, patterns=("*", "all*", "user:al*"), key_name="limited")

CHANNELS = [
    "all",
    "user:alice",
    "user:alice:orders",
    "user:greedy",
    "group:team",
    "session:1",
    "$control",
    "news:today",
    "room:1",
    "room:2",
    "chatter",
]

# Who may: for each identity the letters r (read) and p (publish) for the channels above.
TABLE = {
    "ALICE": (ALICE, ["r", "r", "r", "", "r", "", "", "r", "", "", ""]),
    "PLAIN": (PLAIN, ["r", "", "", "", "", "", "", "r", "", "", ""]),
    "GREEDY": (GREEDY, ["r", "", "", "r", "", "", "", "rp", "rp", "rp", "rp"]),
    "SPELLED": (SPELLED, ["rp", "p", "p", "p", "p", "", "", "r", "rp", "", "rp"]),
    "READER": (READER, ["r", "r", "r", "r", "r", "", "", "r", "r", "r", "r"]),
    "PUBLISHER": (PUBLISHER, ["p", "p", "p", "p", "p", "p", "", "p", "p", "p", "p"]),
    "ADMIN": (ADMIN, ["", "", "", "", "", "", "r", "", "", "", ""]),
    "ROOT": (ROOT, ["rp", "rp", "rp", "rp", "rp", "p", "r", "rp", "rp", "rp", "rp"]),
    "LIMITED": (LIMITED, ["", "rp", "rp", "", "", "", "", "rp", "rp", "rp", "rp"]),
}


@pytest.mark.parametrize("who", TABLE)
def test_the_table(who: str) -> None:
    identity, expected = TABLE[who]
    found = [
        "r" * may_read(identity, channel, PUBLIC, is_member) + "p" * may_publish(identity, channel)
        for channel in CHANNELS
    ]
    assert dict(zip(CHANNELS, found, strict=True)) == dict(zip(CHANNELS, expected, strict=True))


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("*", ["a", "user", "users", "all:x", "a:b"], ["all", "user:a", "group:a", "$a"]),
        ("user*", ["user", "users:a"], ["user:a", "user:a:b"]),
        ("user:*", ["user:a", "user:a:b"], ["user", "users:a", "group:a"]),
        ("user:al*", ["user:al", "user:alice", "user:alice:x"], ["user:bob", "user:a"]),
        ("user:alice", ["user:alice"], ["user:alice:x", "user:alic", "user:alice2"]),
        ("user:alice:*", ["user:alice:x"], ["user:alice", "user:alicex"]),
        ("all", ["all"], ["all:x", "allow"]),
        ("all*", ["allow", "all:x"], ["all"]),
        ("al*", ["allow"], ["all"]),
        ("grou*", ["group", "groups:x"], ["group:a"]),
        ("group:*", ["group:a"], ["group", "user:a"]),
        ("session*", ["session"], ["session:1"]),
        ("session:*", ["session:1"], ["session", "user:1"]),
        ("$*", [], ["$", "$control", "a"]),
        ("$control", [], ["$control"]),
        ("news", ["news"], ["news:a", "new", "newsx"]),
        ("news*", ["news", "news:a", "newsx"], ["new", "user:news"]),
        ("a.*", ["a.b"], ["ab"]),
        ("[ab]*", ["[ab]c"], ["a", "b"]),
        ("", [], ["a", "all"]),
    ],
)
def test_patterns(pattern: str, covered: list[str], not_covered: list[str]) -> None:
    assert [c for c in covered + not_covered if matches(pattern, c)] == covered


@settings(deadline=None)
@given(
    st.text("usergropalion$:*x", max_size=8),
    st.sampled_from(["all", "user:alice", "user:a:b", "group:g", "session:1", "$control"]),
)
def test_no_pattern_reaches_a_reserved_name_by_chance(pattern: str, channel: str) -> None:
    if matches(pattern, channel):
        kind = kind_of(channel)
        assert kind is not Kind.INTERNAL
        assert pattern == "all" if kind is Kind.ALL else pattern.startswith(f"{kind.value}:")


@settings(deadline=None)
@given(st.lists(st.text("user:*$al", max_size=6), max_size=6), st.text("user:al", min_size=1))
def test_patterns_only_add_topics_to_what_is_read(patterns: list[str], name: str) -> None:
    try:
        channel = check_channel(name)
    except BadRequest:
        return
    with_patterns = Identity("bob", subscribe=tuple(patterns))
    if kind_of(channel) is not Kind.TOPIC:
        assert may_read(with_patterns, channel, PUBLIC) == may_read(PLAIN, channel, PUBLIC)


def test_public_namespaces_open_topics_only() -> None:
    careless = frozenset({"user", "group", "session", "$control", "$", "all"})
    assert may_read(PLAIN, "user", careless)
    for channel in ("user:alice", "group:team", "session:1", "$control"):
        assert not may_read(PLAIN, channel, careless)


@pytest.mark.parametrize("rule", PUBLISH_RULES)
@pytest.mark.parametrize("who", TABLE)
def test_a_namespace_opens_or_closes_topics_to_users(who: str, rule: PublishRule) -> None:
    identity, _ = TABLE[who]
    for channel in CHANNELS:
        expected = may_publish(identity, channel)
        if rule != "granted" and identity.user is not None and kind_of(channel) is Kind.TOPIC:
            expected = rule == "users"
        assert may_publish(identity, channel, rule) == expected, channel


@pytest.mark.parametrize(
    "pattern", ["*", "a", "a*", "user:*", "user:alice", "all", "user*", "é*", "日本*", "a:*", "..*"]
)
def test_good_patterns(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "**", "a**", "*a", "a*b", "a b*", "a/*", "a?*", "a\0*", "\ud800*", "e\u0301*"),
        *("$*", "$control", "$", "user:", "user:a:b:c", "..", "x" * 256, "x" * 256 + "*"),
    ],
    ids=lambda pattern: ascii(pattern[:20]),
)
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(BadRequest):
        check_pattern(pattern)


def test_identities_are_shared_hence_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ALICE.user = "bob"  # type: ignore[misc]
    for item in dataclasses.fields(Identity):
        value = getattr(ALICE, item.name)
        if item.name != "attributes":  # JSON as the token has it, which nobody changes
            assert value is None or isinstance(value, str | float | tuple | frozenset)


def test_publishers_share_ids_only_among_services() -> None:
    assert READER.publisher == ADMIN.publisher == "service"
    assert ALICE.publisher == "user:alice"
    assert Identity("service").publisher != READER.publisher
    assert [i.is_service for i in (ALICE, READER)] == [False, True]
