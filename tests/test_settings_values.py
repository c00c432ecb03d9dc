"""Settings: units, declarations, and each kind of value, good and bad."""

from __future__ import annotations

import math
import typing
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from types import UnionType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.errors import BadSetting
from pushd.settings import Address, Namespace, Settings, load
from pushd.settings.declare import Declared
from pushd.settings.kinds import Flag, Kind
from pushd.settings.model import all_declared
from pushd.settings.texts import Texts
from pushd.settings.units import (
    parse_count,
    parse_duration,
    parse_size,
    show_duration,
    show_size,
)

TEXT_SETTINGS = [item for item in all_declared() if item.kind.in_text]
SECRET = "correct-horse-battery-staple-0123456789"
DIGEST = "ab" * 32


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "pushd.toml") -> None:
    Path(name).write_text(text)


def problems(toml: str) -> list[str]:
    write(toml)
    with pytest.raises(BadSetting) as caught:
        load(environ={})
    return list(caught.value.extra["problems"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("25s", 25),
        ("250ms", 0.25),
        ("10m", 600),
        ("24h", 86_400),
        ("7d", 604_800),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("40", 40),
        (" 0.5 ", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("64KiB", 65536),
        ("16 mib", 16 << 20),
        ("1.5GiB", 3 << 29),
        ("2MB", 2 * 10**6),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_count])
@pytest.mark.parametrize(
    "text", ["", "-1", "1e3", "nan", "inf", "٢٥", "1.2.3", "25x", "ten", "0x10", "1" * 5000, "1__0"]
)
def test_what_is_no_number_is_refused(parse: typing.Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse(text)


def test_a_half_written_size_names_the_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean 64KiB"):
        parse_size("64K")


@given(st.integers(0, 10**10))
def test_what_is_shown_reads_back(number: int) -> None:
    assert parse_size(show_size(number)) == number
    assert math.isclose(parse_duration(show_duration(number / 1000)), number / 1000)
    assert parse_count(str(number)) == number


def test_every_field_is_declared_once() -> None:
    names = [item.name for item in all_declared()]
    assert sorted(names) == sorted(item.name for item in fields(Settings))
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("item", all_declared(), ids=lambda item: item.name)
def test_a_declaration_is_whole(item: Declared) -> None:
    hint = typing.get_type_hints(Settings)[item.name]
    plain = hint if isinstance(hint, UnionType) else typing.get_origin(hint) or hint
    assert isinstance(item.default, plain)
    assert item.help.endswith((".", ")."))
    assert getattr(Settings(), item.name) == item.default


@pytest.mark.parametrize("item", TEXT_SETTINGS, ids=lambda item: item.name)
def test_default_and_bounds_are_accepted_from_everywhere(item: Declared) -> None:
    """What the documentation shows as the default can be written down as it is shown."""
    if item.default in (None, (), ""):
        return
    text = item.kind.show(item.default)
    assert item.variable is not None
    written = text if isinstance(item.kind, Flag) else repr(text)
    write(f"{item.name} = {written}")
    assert getattr(load(environ={}).settings, item.name) == item.default
    from_variable = load(environ={item.variable: text})
    assert from_variable.sources[item.name] == item.variable
    assert getattr(from_variable.settings, item.name) == item.default
    from_option = load(environ={}, options={item.name: text})
    assert from_option.sources[item.name] == item.option
    assert getattr(from_option.settings, item.name) == item.default


NUMBERS = [item for item in all_declared() if hasattr(item.kind, "range")]


@pytest.mark.parametrize("item", NUMBERS, ids=lambda item: item.name)
def test_a_number_beyond_its_range_is_refused(item: Declared) -> None:
    kind: Kind[float] = item.kind
    low, high = kind.low, kind.high  # type: ignore[attr-defined]
    assert item.default is None or low <= item.default <= high
    assert kind.parse(kind.show(low)) == low
    assert kind.parse(kind.show(high)) == high
    with pytest.raises(ValueError, match="out of range"):
        kind.parse(str(high + 1))
    if low > 0:
        with pytest.raises(ValueError, match="out of range"):
            kind.parse("0")


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().dev = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('listen = "8080"', "HOST:PORT"),
        ('listen = ":8080"', "HOST:PORT"),
        ('listen = "::1:8080"', "[::1]:8080"),
        ('listen = "h:65536"', "no port"),
        ('listen = "h:+1"', "no port"),
        ('path_prefix = "push"', "/push"),
        ('path_prefix = "/push/"', "without a slash"),
        ('node_id = "a b"', "visible ASCII"),
        (f'node_id = "{"n" * 65}"', "1 to 64"),
        ('dev = "true"', "without quotes"),
        ('log_level = "loud"', "debug, info"),
        ("max_body = true", "must be a number"),
        ("max_headers = 10.5", "whole number"),
        ("max_wait = nan", "duration"),
        ('origins = "https://a.example"', "a list"),
        ('origins = ["https://a.example/"]', "write that"),
        ('origins = ["https://A.example"]', "https://a.example"),
        ('origins = ["https://a.example:443"]', "https://a.example"),
        ('origins = ["null"]', "no origin"),
        ('trusted_proxies = ["10.0.0.1/8"]', "no network"),
        ('trusted_proxies = "localhost"', "no network"),
        ("trusted_proxies = 10", "a list"),
        ('origins = ["*"]', "no origin"),
        ('api_key = "short"', "at least 16"),
        (f'jwt_secret = "{"x" * 31}"', "at least 32"),
        ("namespaces = 3", "[namespaces.NAME]"),
        ("[namespaces.user]\npublic = true", "reserved"),
        ('[namespaces."a:b"]\npublic = true', "no namespace"),
        ('[namespaces.a]\npublic = "yes"', "true or false"),
        ("[namespaces.a]\npublik = true", "Did you mean public?"),
        ("keys = 3", "[[keys]]"),
        ("[[keys]]", "needs name"),
        ('[[keys]]\nname = "a"\nsha256 = "00"\nscopes = ["read"]', "64 hex digits"),
        (f'[[keys]]\nname = "a"\nsha256 = "{DIGEST}"\nscopes = ["reed"]', "Did you mean read?"),
        (f'[[keys]]\nname = "a"\nsha256 = "{DIGEST}"\nscopes = []', "needs scopes"),
        (
            f'[[keys]]\nname = "a"\nsha256 = "{DIGEST}"\nscopes = ["read"]\npatterns = ["a*b"]',
            "pattern",
        ),
        (f'[[keys]]\nname = "a"\nsha256 = "{DIGEST}"\nscopes = ["read"]\n' * 2, "repeats name"),
        ('[[jwt]]\nalg = "none"\nsecret = "x"', "is none of"),
        ('[[jwt]]\nalg = "HS256"\nsecret = "short"', "at least 32"),
        (f'[[jwt]]\nalg = "RS256"\nsecret = "{SECRET}"', "public_key_file"),
        ('[[jwt]]\nalg = "RS256"\npublic_key_file = "gone.pem"', "No such file"),
        ('[[jwt]]\nalg = "RS256"\npublic_key_file = "pushd.toml"', "no PEM"),
        ("[[keys]]\nmax_body = 1", "above the first table"),
    ],
)
def test_a_wrong_value_is_explained(toml: str, says: str) -> None:
    assert any(says in problem for problem in problems(toml))


def test_a_private_key_is_refused() -> None:
    write("-----BEGIN PRIVATE KEY-----\n", "key.pem")
    (problem,) = problems('[[jwt]]\nalg = "ES256"\npublic_key_file = "key.pem"')
    assert "private key" in problem


OF_SEVERAL_TEXTS = [item for item in TEXT_SETTINGS if isinstance(item.kind, Texts)]


@pytest.mark.parametrize("item", OF_SEVERAL_TEXTS, ids=lambda item: item.name)
def test_several_texts_are_read_as_they_are_shown(item: Declared) -> None:
    assert item.kind.parse("") == item.kind.parse(" None ") == ()
    for value in ((), item.kind.parse(item.kind.form)):
        assert item.kind.parse(item.kind.show(value)) == value
        assert item.kind.from_toml(item.kind.plain(value), Path()) == value


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_development_mode_on_loopback(host: str) -> None:
    listen = load(environ={}, options={"dev": "on", "listen": f"{host}:0"}).settings.listen
    assert listen == Address(host.strip("[]"), 0)
    assert str(listen) == f"{host}:0"


def test_namespaces_and_keys() -> None:
    write(
        f'[namespaces.news]\npublic = true\n[namespaces.rooms]\n[[keys]]\nname = "a"\n'
        f'sha256 = "{DIGEST.upper()}"\nscopes = ["read", "admin"]\npatterns = ["news", "user:*"]\n'
    )
    got = load(environ={}).settings
    assert got.namespaces == {"news": Namespace(public=True), "rooms": Namespace()}
    assert got.keys[0].sha256 == DIGEST
    assert got.keys[0].patterns == ("news", "user:*")
    assert got.has_key
    assert not Settings().has_key
