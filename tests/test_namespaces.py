"""[namespaces.NAME]: what each member means, what is refused, and the rules that come of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushd.core.namespaces import DAY, Hold, Retention, Rules
from pushd.errors import BadSetting
from pushd.settings import Settings, load
from pushd.settings.load import Loaded
from pushd.settings.model import by_name
from pushd.settings.namespaces import make_rules

INBOX = Retention(90 * DAY, 100_000, None)


def read(tmp_path: Path, toml: str) -> Loaded:
    path = tmp_path / "pushd.toml"
    path.write_text(toml)
    return load(path, environ={})


def rules(settings: Settings, channel: str) -> Rules:
    return make_rules(settings.retention, settings.namespaces).of(channel)


@pytest.mark.parametrize(
    ("toml", "channel", "expected"),
    [
        ("", "news", Rules()),
        ("", "all", Rules()),
        ("", "group:g", Rules()),
        ("", "user:alice", Rules(retention=INBOX)),
        ("", "user:alice:orders", Rules(retention=INBOX)),
        ("", "users:alice", Rules()),
        ("[namespaces.news]\npublic = true", "news", Rules(public=True)),
        ("[namespaces.news]\npublic = true", "news:today", Rules(public=True)),
        ("[namespaces.news]\npublic = true", "newsroom", Rules()),
        ('[namespaces.a]\npublish = "users"', "a:b", Rules(publish="users")),
        ('[namespaces.a]\npublish = "services"', "a:b", Rules(publish="services")),
        ("[namespaces.a]\npulls_per_second = 5", "a:b", Rules(pulls_per_second=5)),
        (
            'retention_age = "1d"\nretention_bytes = "1KiB"\n[namespaces.a]\nretention_age = "2d"',
            "a",
            Rules(retention=Retention(2 * DAY, 100_000, 1024)),
        ),
        (
            'retention_messages = 5\n[namespaces.a]\nretention_messages = "none"',
            "a",
            Rules(retention=Retention(7 * DAY, None, None)),
        ),
        ('retention_age = "1d"', "user:a", Rules(retention=INBOX)),
        ('retention_age = "100d"', "user:a", Rules(retention=INBOX._replace(age_s=100 * DAY))),
        ('retention_age = "none"', "user:a", Rules(retention=INBOX._replace(age_s=None))),
        (
            '[namespaces.user]\nretention_age = "1d"',
            "user:a",
            Rules(retention=INBOX._replace(age_s=DAY)),
        ),
        (
            "[namespaces.user]\nretention_messages = 9\npulls_per_second = 7",
            "user:a",
            Rules(retention=INBOX._replace(messages=9), pulls_per_second=7),
        ),
        (
            "[namespaces.typing]\nephemeral = true\nretention_messages = 10",
            "typing:room",
            Rules(ephemeral=True, retention=Retention(60.0, 10, None, last=0.0)),
        ),
        ("[namespaces.all]\nretention_age = 3", "all", Rules(retention=Retention(3.0))),
        ("[namespaces.room]\npresence = true", "room:1", Rules(presence=True)),
        ("[namespaces.group]\npresence = true", "group:g", Rules(presence=True)),
        ("[namespaces.room]\npresence = true", "$presence:room:1", Rules()),
        (
            '[namespaces.a]\nhold_age = "8d"',
            "a:b",
            Rules(retention=Retention(hold=Hold(8 * DAY, 1_000_000, None))),
        ),
        (
            'retention_age = "none"\nretention_bytes = 10\n[namespaces.a]\nhold_age = "1h"',
            "a",
            Rules(retention=Retention(None, 100_000, 10, Hold(3600.0, 1_000_000, 100))),
        ),
        (
            '[namespaces.a]\nretention_messages = "none"\nretention_bytes = "1KiB"\n'
            'hold_age = "30d"\nhold_messages = 5\nhold_bytes = "none"',
            "a",
            Rules(retention=Retention(7 * DAY, None, 1024, Hold(30 * DAY, 5, None))),
        ),
        (
            '[namespaces.user]\nhold_age = "91d"\nhold_messages = 100_001',
            "user:a",
            Rules(retention=INBOX._replace(hold=Hold(91 * DAY, 100_001, None))),
        ),
    ],
)
def test_the_rules_of_a_channel(tmp_path: Path, toml: str, channel: str, expected: Rules) -> None:
    assert rules(read(tmp_path, toml).settings, channel) == expected


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[namespaces.a]\nretention_age = 0", "out of range"),
        ('[namespaces.a]\nretention_age = "0"', 'or "none"'),
        ('[namespaces.a]\nretention_age = "soon"', "no duration"),
        ("[namespaces.a]\nretention_messages = 0", "out of range"),
        ("[namespaces.a]\nretention_messages = 1.5", "whole number"),
        ("[namespaces.a]\nretention_bytes = true", "must be a number"),
        ('[namespaces.a]\npublish = "all"', "granted, users, services"),
        ("[namespaces.a]\npublish = true", "publish"),
        ('[namespaces.a]\nephemeral = "yes"', "true or false"),
        ('[namespaces.a]\nephemeral = true\nretention_age = "1h"', "leave retention_age out"),
        ("[namespaces.a]\npulls_per_second = 0", "out of range"),
        ('[namespaces.a]\npulls_per_second = "none"', "whole number"),
        ("[namespaces.a]\nretention = 3", "Did you mean"),
        ("[namespaces.a]\nhold = 3", "Did you mean hold_"),
        ('[namespaces.a]\nhold_age = "none"', "no duration"),
        ("[namespaces.a]\nhold_messages = 1_000_000", "without hold_age"),
        ('[namespaces.a]\nephemeral = true\nhold_age = "8d"', "nothing is held"),
        ('[namespaces.a]\nhold_age = "7d"', "hold_age 7d is not more than"),
        ('[namespaces.user]\nhold_age = "80d"', "kept in any case (90d)"),
        ('[namespaces.a]\nhold_age = "8d"\nhold_messages = 9', "hold_messages 9 is not more"),
        (
            '[namespaces.a]\nretention_bytes = "1KiB"\nhold_age = "8d"\nhold_bytes = "1KiB"',
            "hold_bytes 1KiB is not more",
        ),
        ("[namespaces.user]\nephemeral = true", "reserved"),
        ("[namespaces.group]\npublic = false", "reserved"),
        ('[namespaces.all]\npublish = "users"', "reserved"),
        ("[namespaces.session]\nretention_age = 5", "reserved"),
        ("[namespaces.user]\npresence = true", "has no presence"),
        ("[namespaces.all]\npresence = false", "has no presence"),
        ('[namespaces.room]\npresence = "yes"', "true or false"),
        ('[namespaces."$x"]\nretention_age = 5', "reserved"),
        ("retention_age = 0", "out of range"),
    ],
)
def test_what_is_refused_is_explained(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(BadSetting, match=r"namespaces|retention") as caught:
        read(tmp_path, toml)
    assert says in caught.value.detail


def test_the_namespaces_are_shown_as_they_were_written(tmp_path: Path) -> None:
    toml = (
        '[namespaces.a]\npublic = true\npublish = "users"\nretention_age = "none"\n'
        'retention_bytes = "1KiB"\nhold_age = "8d"\nhold_bytes = "none"\npulls_per_second = 5\n'
        "[namespaces.b]\nephemeral = true\npresence = true\n[namespaces.c]\n"
    )
    loaded = read(tmp_path, toml)
    kind = by_name()["namespaces"].kind
    value = loaded.settings.namespaces
    assert kind.show(value) == (
        "a (public, publish users, retention_age none, retention_bytes 1KiB,"
        " hold_age 8d, hold_bytes none, pulls_per_second 5), b (ephemeral, presence), c"
    )
    assert kind.plain(value) == {
        "a": {
            "public": True,
            "publish": "users",
            "retention_age": None,
            "retention_bytes": 1024,
            "hold_age": 8 * DAY,
            "hold_bytes": None,
            "pulls_per_second": 5,
        },
        "b": {"public": False, "ephemeral": True, "presence": True},
        "c": {"public": False},
    }


def test_presence_channels_are_kept_as_long_as_who_follows_them_may_be_away() -> None:
    rules = make_rules(Retention(None, None, None), {})
    assert rules.retention("$presence:room:1") == Retention(60.0)
    assert rules.presence == frozenset()
