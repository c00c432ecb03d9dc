"""pushctl token."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pushd.auth import Authenticator, JwtKey
from pushd.cli import main
from pushd.cli.dev import KEYS_FILE, DevKeys, write_private
from pushd.core.permissions import Identity

SECRET = "correct-horse-battery-staple-0123456789"
OTHER = "another-secret-of-the-same-use-9876543210"


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("PUSHD_")]:
        monkeypatch.delenv(variable)


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["token", *arguments], env=environ)


def identify(result: Result, secret: str = SECRET) -> Identity:
    """What the server makes of the printed token."""
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout == result.stdout.strip() + "\n"
    authenticator = Authenticator([], [JwtKey("HS256", secret)])
    return authenticator.identify(result.stdout.strip(), time.time())


def test_the_server_accepts_it_with_all_it_grants() -> None:
    before = int(time.time())
    arguments = ["--user", "alice", "--device", "phone", "--ttl", "10m"]
    grants = ["--subscribe", "news", "--subscribe", "rooms:*", "--publish", "user:*"]
    got = identify(run(*arguments, *grants, PUSHD_JWT_SECRET=SECRET))
    assert (got.user, got.device) == ("alice", "phone")
    assert (got.subscribe, got.publish) == (("news", "rooms:*"), ("user:*",))
    assert got.expires is not None
    assert before + 600 <= got.expires <= time.time() + 600


def test_it_grants_nothing_by_itself_for_an_hour() -> None:
    before = int(time.time())
    got = identify(run("--user", "bob", PUSHD_JWT_SECRET=SECRET))
    assert (got.user, got.device, got.subscribe, got.publish) == ("bob", None, (), ())
    assert got.expires is not None
    assert before + 3600 <= got.expires <= time.time() + 3600


def test_the_secret_is_the_server_s() -> None:
    """Settings first, then what development mode made up, then a [[jwt]] table that fits."""
    table = f'[[jwt]]\nalg = "HS256"\nsecret = "{SECRET}"\n'
    Path("pushd.toml").write_text(table)
    assert identify(run("--user", "a")).user == "a"
    write_private(Path("data") / KEYS_FILE, DevKeys("k" * 16, OTHER, OTHER, OTHER))
    assert identify(run("--user", "a"), OTHER).user == "a"
    Path("pushd.toml").write_text(f'jwt_secret = "{SECRET}"\n')
    assert identify(run("--user", "a")).user == "a"


def test_development_keys_of_another_directory() -> None:
    write_private(Path("elsewhere") / KEYS_FILE, DevKeys("k" * 16, OTHER, OTHER, OTHER))
    assert identify(run("--user", "a", "--data", "elsewhere"), OTHER).user == "a"


def test_without_a_secret_it_says_how_to_get_one() -> None:
    result = run("--user", "alice")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "PUSHD_JWT_SECRET" in result.stderr
    assert "serve --dev" in result.stderr


@pytest.mark.parametrize(
    "content", ["", "{}", '{"api_key":"k","jwt_secret":1}', '{"api_key":"k","jwt_secret":"short"}']
)
def test_spoilt_development_keys_are_named(content: str) -> None:
    Path("data").mkdir()
    (Path("data") / KEYS_FILE).write_text(content)
    result = run("--user", "alice")
    assert result.exit_code == 2
    assert f"data/{KEYS_FILE}" in result.stderr
    assert "delete" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--user"),
        (["--user", "a:b"], "--user"),
        (["--user", "a", "--device", "d e"], "--device"),
        (["--user", "a", "--subscribe", "$control"], "--subscribe"),
        (["--user", "a", "--publish", "a*b"], "--publish"),
        (["--user", "a", "--ttl", "soon"], "--ttl"),
        (["--user", "a", "--ttl", "0"], "--ttl"),
    ],
)
def test_wrong_options_are_usage_errors(arguments: list[str], says: str) -> None:
    result = run(*arguments, PUSHD_JWT_SECRET=SECRET)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
