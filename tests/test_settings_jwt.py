"""[[jwt]] in pushd.toml: single keys and key sets, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushd.errors import BadSetting
from pushd.settings import JwtTable, Settings, load

SECRET = "correct-horse-battery-staple-0123456789"
URL = "https://login.example.com/jwks.json"
SET = f'[[jwt]]\nalgs = ["ES256"]\niss = "x"\njwks_url = "{URL}"\n'


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings(toml: str) -> Settings:
    Path("pushd.toml").write_text(toml)
    return load(environ={}).settings


def test_sets() -> None:
    file = '[[jwt]]\nalgs = ["RS256", "EdDSA"]\njwks_file = "keys/jwks.json"\naud = "a"\n'
    got = settings('jwks_refresh = "1m"\n' + SET + file)
    assert got.jwks_refresh == 60
    assert got.jwt == (
        JwtTable("", "", None, None, "x", ("ES256",), None, URL),
        JwtTable("", "", None, "a", None, ("RS256", "EdDSA"), Path("keys/jwks.json"), None),
    )
    assert got.has_key


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/",
        "https://a.example:8443/x?y=z",
        "https://10.0.0.1/",
        "https://[::1]:8443/",
        "http://127.0.0.1:8000/jwks",
        "http://127.8.9.1/",
        "http://localhost/",
        "http://[::1]/",
    ],
)
def test_addresses(url: str) -> None:
    assert settings(SET.replace(URL, url)).jwt[0].jwks_url == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a.example/", "https"),
        ("http://10.0.0.1/", "https"),
        ("http://0.0.0.0/", "https"),
        ("http://localhost.evil.example/", "https"),
        ("http://127.0.0.1.evil.example/", "https"),
        ("http://127.0.0.1@evil.example/", "user"),
        ("https://user:password@a.example/", "user"),
        ("https://a.example/#x", "fragment"),
        ("https://a.example/ x", "visible"),
        ("https://a.example\\\\@evil.example/", "visible"),
        ("https://exämple.com/", "visible"),
        ("https://", "https://HOST"),
        ("https:///x", "https://HOST"),
        ("https://a.example:x/", "no address"),
        ("https://[::1/", "no address"),
        ("file:///etc/passwd", "https://HOST"),
        ("ftp://a.example/", "https://HOST"),
        ("//a.example/", "https://HOST"),
        ("a.example", "https://HOST"),
    ],
)
def test_addresses_that_are_refused(url: str, says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        settings(SET.replace(URL, url))


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        (SET.replace('algs = ["ES256"]\n', ""), "needs algs"),
        (SET.replace('["ES256"]', "[]"), "needs algs"),
        (SET.replace('["ES256"]', '"ES256"'), "list of texts"),
        (SET.replace("ES256", "HS256"), "none of RS256, ES256, EdDSA"),
        (SET.replace("ES256", "none"), "none of"),
        (SET.replace('iss = "x"\n', ""), "needs iss"),
        (SET + 'jwks_file = "x"\n', "both"),
        (SET + 'alg = "ES256"\n', "has alg,"),
        (SET + 'kid = "a"\n', "has kid"),
        (SET + f'secret = "{SECRET}"\n', "has secret"),
        (SET + 'public_key_file = "x"\n', "has public_key_file"),
        (SET + "jwks_uri = 1\n", "Did you mean"),
        (f'[[jwt]]\nalg = "HS256"\nalgs = ["ES256"]\nsecret = "{SECRET}"\n', "has algs"),
        (f'[[jwt]]\nalg = "HS256"\nkid = "a"\nsecret = "{SECRET}"\n' * 2, "repeats"),
        ("jwks_refresh = 0", "jwks_refresh"),
    ],
)
def test_what_is_refused(toml: str, says: str) -> None:
    with pytest.raises(BadSetting) as caught:
        settings(toml)
    assert says in caught.value.detail
    assert SECRET not in caught.value.detail


def test_two_issuers_may_have_one_kid() -> None:
    table = f'[[jwt]]\nalg = "HS256"\nkid = "a"\nsecret = "{SECRET}"\n'
    assert len(settings(table + table.replace("kid", 'iss = "b"\nkid')).jwt) == 2
