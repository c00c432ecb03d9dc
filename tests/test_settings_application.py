"""Settings of what is asked of the application: what is taken, and what is said of the rest."""

from __future__ import annotations

import pytest

from pushd.errors import BadSetting
from pushd.settings import load

SECRET = "a-long-random-text-0123456789"
URL = "https://app.example.com/push-login?key=private"


def given(**variables: str) -> dict[str, str]:
    return {f"PUSHD_{name.upper()}": text for name, text in variables.items()}


def problem(**variables: str) -> str:
    with pytest.raises(BadSetting) as error:
        load(environ=given(**variables))
    return error.value.detail


def test_all_of_it() -> None:
    found = load(
        environ=given(webhook_secret=SECRET, auth_url=URL, auth_headers="Cookie, X-Tenant,cookie")
    ).settings
    assert (found.auth_url, found.auth_headers) == (URL, ("cookie", "x-tenant"))
    assert found.has_key, "somebody can use this server"
    assert SECRET not in repr(found)


@pytest.mark.parametrize("text", ["none", "", "NONE"])
def test_none(text: str) -> None:
    found = load(environ=given(auth_url=text, auth_headers=text)).settings
    assert (found.auth_url, found.auth_headers) == (None, ())


@pytest.mark.parametrize(
    "text",
    [
        *("app.example.com", "ftp://app.example.com", "https://", "https://app.example.com:x/"),
        *("https://me:secret@app.example.com", "https://app.example.com/#a", "https://a b"),
        *("https://app.example.com/ü", "https://[::1/", "https:\\\\app", "https://a\nb"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    assert "auth_url" in problem(webhook_secret=SECRET, auth_url=text)


@pytest.mark.parametrize(
    "text",
    ["authorization", "Host", "a b", "a:b", "ü", "a,,b", "x" * 65, ",".join("abcdefghijklmnopq")],
)
def test_what_is_no_header_to_send(text: str) -> None:
    assert "auth_headers" in problem(webhook_secret=SECRET, auth_url=URL, auth_headers=text)


@pytest.mark.parametrize("text", ["short", "whsec_abc", "whsec_" + "!" * 40, "whsec_" + "QUJD" * 5])
def test_what_signs_nothing(text: str) -> None:
    said = problem(webhook_secret=text)
    assert "webhook_secret" in said
    assert text not in said, "it may be a part of the secret"


def test_what_belongs_together() -> None:
    assert "webhook_secret" in problem(auth_url=URL)
    assert "auth_url" in problem(auth_headers="cookie")


def test_the_query_is_not_shown() -> None:
    from pushd.settings.model import by_name

    kind = by_name()["auth_url"].kind
    for text in (kind.show(URL), str(kind.plain(URL))):
        assert text == "https://app.example.com/push-login"
