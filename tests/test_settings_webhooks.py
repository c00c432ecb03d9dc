"""The settings of calls and webhooks: what is taken, and what is said where that makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pushd.calls import webhook_weakness
from pushd.errors import BadSetting
from pushd.outbound import keys_of
from pushd.settings import load
from pushd.settings.model import by_name
from pushd.settings.namespaces import make_rules
from pushd.settings.webhooks import EVENTS

SECRET = "a-secret-of-pushd-and-the-application"
URL = "https://app.example.com/pushd"


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(**settings: str) -> dict[str, str]:
    return {f"PUSHD_{name.upper()}": value for name, value in settings.items()}


def found(toml: str = "", **settings: str) -> Any:
    Path("pushd.toml").write_text(toml)
    return load(environ=given(**settings)).settings


def problem(toml: str = "", **settings: str) -> str:
    Path("pushd.toml").write_text(toml)
    with pytest.raises(BadSetting) as refused:
        load(environ=given(**settings))
    return refused.value.detail


def test_by_default_nobody_is_asked_or_told() -> None:
    settings = found()
    assert (settings.handlers, settings.webhook_url, settings.webhook_events) == (None, None, ())


@pytest.mark.parametrize("text", ["", "none", "NONE"])
def test_none_says_the_same(text: str) -> None:
    settings = found(handlers=text, webhook_url=text, webhook_events=text.lower())
    assert (settings.handlers, settings.webhook_url, settings.webhook_events) == (None, None, ())


def test_an_address_needs_a_secret_and_events_need_an_address() -> None:
    assert "needs webhook_secret" in problem(webhook_url=URL)
    assert "webhook_url, which is not set" in problem(webhook_events="all", webhook_secret=SECRET)
    assert found(webhook_url=URL, dev="true").webhook_secret is None, "development makes one up"


@pytest.mark.parametrize("name", ["myapp", "myapp.push", "_a1.B_2"])
def test_a_module_is_named(name: str) -> None:
    assert found(handlers=name).handlers == name


@pytest.mark.parametrize("name", ["my-app", "myapp/push.py", "myapp.", ".push", "1a", "a b", "ä"])
def test_what_names_no_module(name: str) -> None:
    assert "no name of a Python module" in problem(handlers=name)


def test_events_by_name_or_all() -> None:
    both = {"webhook_url": URL, "webhook_secret": SECRET}
    assert found(webhook_events="all", **both).webhook_events == EVENTS
    some = found(webhook_events="user.online, message.published,user.online", **both)
    assert some.webhook_events == ("user.online", "message.published")
    toml = 'webhook_events = ["session.closed"]\n'
    assert found(toml, **both).webhook_events == ("session.closed",)
    assert found('webhook_events = "all"\n', **both).webhook_events == EVENTS
    said = problem(webhook_events="user.onlin,nothing", **both)
    assert "'user.onlin'. Did you mean user.online?" in said
    assert "'nothing'" in said
    assert 'like ["message.published"]' in problem("webhook_events = 1\n", **both)


def test_secrets_as_texts_as_bytes_and_two_at_a_time() -> None:
    encoded = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    for text, count in ((SECRET, 1), (encoded, 1), (f"{SECRET},{encoded}", 2)):
        secret = found(webhook_url=URL, webhook_secret=text).webhook_secret
        keys = keys_of(secret)
        assert len(keys) == count
        assert keys[0] == SECRET.encode() or len(keys[0]) == 24
    for text in (
        "short",
        f"{SECRET},short",
        f"{SECRET},",
        "whsec_MfKQ9r8GKYqr",
        "whsec_" + "?" * 40,
    ):
        said = problem(webhook_url=URL, webhook_secret=text)
        assert "webhook_secret" in said
        assert text not in said


def test_the_address_is_shown_without_what_may_be_secret_in_it() -> None:
    kind = by_name()["webhook_url"].kind
    assert kind.show(f"{URL}?key=secret") == URL
    assert "secret" not in problem(webhook_url="ftp://x/?key=secret", webhook_secret=SECRET)


def test_an_address_that_others_can_read_along_is_a_warning() -> None:
    for url, warned in ((URL, False), ("http://127.0.0.1:9000/", False), ("http://app/", True)):
        settings = found(webhook_url=url, webhook_secret=SECRET)
        assert bool(webhook_weakness(settings)) == warned, url


def test_namespaces_choose_whose_messages_are_told() -> None:
    toml = "\n".join(
        f"[namespaces.{name}]\nwebhook = {value}" for name, value in (("a", "true"), ("b", "false"))
    )
    toml += "\n[namespaces.user]\nwebhook = true\n[namespaces.all]\nwebhook = true\n"
    settings = found(toml)
    rules = make_rules(settings.retention, settings.namespaces)
    assert rules.with_webhook == {"a", "user", "all"}
    assert [rules.of(name).webhook for name in ("a", "a:1", "b:1", "ab", "user:x")] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert "webhook must be true or false" in problem("[namespaces.a]\nwebhook = 1\n")
    assert "is reserved" in problem("[namespaces.session]\nwebhook = true\n")
