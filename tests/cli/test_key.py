"""pushctl key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pushd.auth import Authenticator
from pushd.build import make_keys
from pushd.cli import main
from pushd.core.permissions import Identity
from pushd.settings import load


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["key", *arguments])


def shown_key(result: Result) -> str:
    return result.stderr.strip().splitlines()[-1]


def identify(key: str, toml: str) -> Identity:
    """What a server with this pushd.toml makes of the key."""
    Path("pushd.toml").write_text(toml)
    settings = load(environ={}).settings
    return Authenticator(*make_keys(settings)).identify(key, 0.0)


@pytest.mark.parametrize("name", ["shop", 'The "big" shop', "Läden \\ 日本", "a'b"])
def test_the_server_knows_the_key_by_the_printed_table(name: str) -> None:
    result = run("--name", name, "--scope", "publish", "--scope", "read", "--pattern", "user:*")
    assert result.exit_code == 0, result.output
    got = identify(shown_key(result), result.stdout)
    assert (got.key_name, got.scopes) == (name, frozenset({"publish", "read"}))
    assert got.patterns == ("user:*",)
    assert shown_key(result) not in result.stdout


def test_it_can_be_appended_to_a_file() -> None:
    first, second = (run("--name", name, "--scope", "admin") for name in "ab")
    toml = "max_body = 2048\n" + first.stdout + second.stdout
    assert identify(shown_key(first), toml).key_name == "a"
    assert identify(shown_key(second), toml).key_name == "b"
    assert identify(shown_key(second), toml).patterns == ()


def test_as_json() -> None:
    result = run("--name", "shop", "--scope", "read", "--json")
    made = json.loads(result.stdout)
    assert set(made) == {"key", "name", "sha256", "scopes"}
    assert result.stderr == ""


def test_keys_are_long_and_never_the_same() -> None:
    keys = {shown_key(run("--name", "a", "--scope", "read")) for _ in range(5)}
    assert len(keys) == 5
    for key in keys:
        assert re.fullmatch(r"pushd_[\w-]{43}", key)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--name"),
        (("--name", "a"), "--scope"),
        (("--name", "", "--scope", "read"), "--name"),
        (("--name", "a\nb", "--scope", "read"), "--name"),
        (("--name", "a", "--scope", "write"), "--scope"),
        (("--name", "a", "--scope", "read", "--pattern", "$*"), "--pattern"),
    ],
)
def test_wrong_options_are_usage_errors(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
