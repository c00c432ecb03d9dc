"""What may be a name, and what each name means."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.names import (
    Kind,
    check_channel,
    check_device,
    check_group,
    check_user,
    inbox_owner,
    kind_of,
    namespace_of,
)
from pushd.errors import BadRequest

GOOD = {
    "news": Kind.TOPIC,
    "a": Kind.TOPIC,
    "x" * 255: Kind.TOPIC,
    "é" * 127: Kind.TOPIC,
    "日本語:部屋": Kind.TOPIC,
    "मराठी": Kind.TOPIC,
    "❤": Kind.TOPIC,
    "[a-z]{1}": Kind.TOPIC,
    "a:::b:": Kind.TOPIC,
    ":a": Kind.TOPIC,
    "...": Kind.TOPIC,
    "';DROP\"TABLE--": Kind.TOPIC,
    "%2e%2e": Kind.TOPIC,
    "All": Kind.TOPIC,
    "all:x": Kind.TOPIC,
    "allow": Kind.TOPIC,
    "user": Kind.TOPIC,
    "users:a": Kind.TOPIC,
    "User:a": Kind.TOPIC,
    "all": Kind.ALL,
    "user:alice": Kind.USER,
    "user:alice:orders": Kind.USER,
    "user:" + "x" * 200: Kind.USER,
    "group:team": Kind.GROUP,
    "session:0f": Kind.SESSION,
    "$control": Kind.INTERNAL,
    "$user:alice": Kind.INTERNAL,
}

# (name, a word of the reason)
BAD_CHARACTERS = [
    ("", "empty"),
    (".", "'.'"),
    ("..", "'..'"),
    ("a/b", "'/'"),
    ("a,b", "','"),
    ("a*", "'*'"),
    ("a?b", "'?'"),
    ("a b", "white space (U+0020) at 1"),
    (" a", "white space"),
    ("a\u00a0", "white space"),
    ("a\u3000b", "white space"),
    ("a\u2028b", "line separator"),
    ("a\0", "control"),
    ("a\r\nb", "control"),
    ("a\x7f", "control"),
    ("a\u0085", "control"),
    ("a\u200f", "format"),
    ("a\u202eb", "format"),
    ("a\u200bb", "format"),
    ("\ufeffa", "format"),
    ("a\u00ad", "format"),
    ("\ud800", "surrogate"),
    ("\ue000", "private-use"),
    ("\uffff", "unassigned"),
    ("\u3164", "invisible"),
    ("❤\ufe0f", "invisible"),
    ("a\U000e0100", "invisible"),
    ("e\u0301", "NFC"),
    ("\u212b", "NFC"),
    ("\u1100\u1161", "NFC"),
    ("x" * 256, "255 bytes"),
    ("é" * 128, "255 bytes"),
    ("x" * 10_000_000, "255 bytes"),
]

BAD_RESERVED = [
    ("user:", "user id is empty"),
    ("user:a:", "'user:ID:NAME'"),
    ("user::a", "user id is empty"),
    ("user:a:b:c", "'user:ID:NAME'"),
    ("user:..", "'..'"),
    ("user:" + "x" * 201, "200 bytes"),
    ("group:", "group id"),
    ("group:..", "'..'"),
    ("session:", "session id"),
]


def _short(value: object) -> str:
    return ascii(value)[:40]


@pytest.mark.parametrize(("name", "kind"), GOOD.items(), ids=_short)
def test_good_names_are_returned_as_they_are(name: str, kind: Kind) -> None:
    assert check_channel(name) == name
    assert kind_of(name) is kind


@pytest.mark.parametrize(("name", "reason"), BAD_CHARACTERS + BAD_RESERVED, ids=_short)
def test_bad_channels_say_why(name: str, reason: str) -> None:
    for _ in range(2):  # a remembered refusal would be as wrong as a forgotten one
        with pytest.raises(BadRequest) as caught:
            check_channel(name)
        assert reason in caught.value.detail
        assert len(caught.value.detail) < 200


@pytest.mark.parametrize(("text", "reason"), BAD_CHARACTERS[:-3], ids=_short)
def test_users_and_devices_have_the_same_characters(text: str, reason: str) -> None:
    for check in (check_user, check_group, check_device):
        with pytest.raises(BadRequest) as caught:
            check(text)
        assert reason in caught.value.detail


@pytest.mark.parametrize(
    ("check", "longest"),
    [(check_user, 200), (check_group, 200), (check_device, 128)],
    ids=["user", "group", "device"],
)
def test_ids(check: object, longest: int) -> None:
    assert callable(check)
    for good in ("alice", "a" * longest, "é" * (longest // 2), "all", "$x", "alice@example.org"):
        assert check(good) == good
    for bad in ("a" * (longest + 1), "é" * (longest // 2 + 1), "a:b", ":", "alice:"):
        with pytest.raises(BadRequest):
            check(bad)


def test_groups_are_checked_as_their_channel() -> None:
    assert check_channel("group:team") == "group:team"
    for bad in ("", "..", "a b", "org:team", "x" * 201):
        with pytest.raises(BadRequest):
            check_channel(f"group:{bad}")


@pytest.mark.parametrize(
    ("channel", "owner", "namespace"),
    [
        ("user:alice", "alice", "user"),
        ("user:alice:orders", "alice", "user"),
        ("users:alice", None, "users"),
        ("user", None, "user"),
        ("group:alice", None, "group"),
        ("all", None, "all"),
        ("room:1:2", None, "room"),
        (":a", None, ""),
    ],
)
def test_owner_and_namespace(channel: str, owner: str | None, namespace: str) -> None:
    assert inbox_owner(channel) == owner
    assert namespace_of(channel) == namespace


@settings(deadline=None)
@given(st.text(max_size=300))
def test_what_is_accepted_is_short_visible_and_normal(text: str) -> None:
    try:
        name = check_channel(text)
    except BadRequest:
        return
    assert 0 < len(name.encode()) <= 255
    assert unicodedata.normalize("NFC", name) == name
    assert name.split() == [name]  # no white space anywhere
    assert not set(name) & set("/,*?")
    assert not {unicodedata.category(c) for c in name} & {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}


@settings(deadline=None)
@given(st.text(st.characters(categories=("L", "N"), codec="ascii"), min_size=1, max_size=200))
def test_every_user_has_an_inbox(user: str) -> None:
    assert inbox_owner(check_channel("user:" + check_user(user))) == user
