"""pushctl config check, show and docs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pushd.cli import main
from pushd.settings import Settings
from pushd.settings.docs import settings_markdown
from pushd.settings.model import by_name
from tests.support import jwks
from tests.support.terminal import on_a_terminal

SECRET = "correct-horse-battery-staple-0123456789"


pytestmark = pytest.mark.usefixtures("own_logging")


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("PUSHD_")]:
        monkeypatch.delenv(variable)


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=environ)


def test_check_is_content() -> None:
    Path("pushd.toml").write_text(f'api_key = "{SECRET}"\n')
    result = run("config", "check")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "ok: pushd.toml\n", "")


def test_check_takes_a_file() -> None:
    Path("other.toml").write_text("dev = true\n")
    assert run("config", "check", "other.toml").stdout == "ok: other.toml\n"


def test_check_warns_when_nobody_could_use_the_server() -> None:
    result = run("config", "check")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: no key is set")


def test_check_reports_all_mistakes_and_leaves_with_2() -> None:
    Path("pushd.toml").write_text('listen = "x"\nmax_bodi = 1\n')
    result = run("config", "check", PUSHD_DEV="maybe")
    assert result.exit_code == 2
    assert result.stdout == ""
    first, *problems, cure = result.stderr.splitlines()
    assert first == "error: 3 settings are wrong:"
    assert [line.split(":")[0].strip() for line in problems] == [
        "pushd.toml",
        "pushd.toml",
        "PUSHD_DEV",
    ]
    assert cure.startswith("Correct it")


JWKS = '[[jwt]]\nalgs = ["EdDSA"]\njwks_file = "jwks.json"\n'


@pytest.mark.parametrize("content", [None, b"", b'{"keys":[]}', b"{"])
def test_check_refuses_a_key_set_that_serve_would_refuse(content: bytes | None) -> None:
    Path("pushd.toml").write_text(JWKS)
    if content is not None:
        Path("jwks.json").write_bytes(content)
    result = run("config", "check")
    assert result.exit_code == 2
    assert "jwks.json" in result.stderr


def test_check_warns_of_what_is_weak_about_keys() -> None:
    Path("pushd.toml").write_text(JWKS)
    Path("jwks.json").write_bytes(jwks.key_set("one"))
    result = run("config", "check")
    assert (result.exit_code, result.stdout) == (0, "ok: pushd.toml\n")
    assert "set aud" in result.stderr


def test_show_names_every_value_and_its_source() -> None:
    Path("pushd.toml").write_text('\nmax_body = "128KiB"\n')
    lines = run("config", "show", PUSHD_DRAIN="5s", PUSHD_API_KEY=SECRET).stdout.splitlines()
    rows = dict(line.split("\t", 1) for line in lines)
    assert list(rows) == list(by_name())
    assert rows["max_body"] == "128KiB\tpushd.toml:2"
    assert rows["drain"] == "5s\tPUSHD_DRAIN"
    assert rows["api_key"] == "set (39 characters)\tPUSHD_API_KEY"
    assert rows["jwt_secret"] == "not set\tdefault"
    assert rows["max_wait"] == "60s\tdefault"


def test_show_as_json_has_plain_values_in_their_unit() -> None:
    jwt = f'[[jwt]]\nalg = "HS256"\nsecret = "{SECRET}"\n'
    Path("other.toml").write_text('origins = ["https://a.example"]\n' + jwt)
    result = run("config", "show", "--json", "--config", "other.toml", PUSHD_API_KEY=SECRET)
    shown = json.loads(result.stdout)
    assert list(shown) == list(by_name())
    assert shown["max_wait"] == {"value": 60.0, "unit": "s", "source": "default"}
    assert shown["max_body"]["value"] == Settings().max_body
    assert shown["max_body"]["unit"] == "bytes"
    assert shown["origins"]["value"] == ["https://a.example"]
    assert shown["api_key"]["value"] == "set (39 characters)"
    for name in ("jwt_secret", "admin_listen", "retention_bytes"):
        assert shown[name]["value"] is None
    assert SECRET not in result.output


def test_docs() -> None:
    assert run("config", "docs").stdout == settings_markdown()


def test_a_terminal_gets_a_table_in_colour_unless_it_wants_none() -> None:
    colourful, plain = (on_a_terminal("config", "show", NO_COLOR=each) for each in ("", "1"))
    assert "\x1b[2m" in colourful
    assert all(f" {name} " in plain for name in ("max_body", "heartbeat_interval"))
    assert "\x1b[3" not in plain  # bold and dim may stay, colours may not


def test_an_address_of_the_application_that_others_can_read_along() -> None:
    url = {"PUSHD_WEBHOOK_URL": "http://app/x"}
    result = run("config", "check", PUSHD_WEBHOOK_SECRET="s" * 24, PUSHD_API_KEY=SECRET, **url)
    assert result.exit_code == 0
    assert "webhook_url is plain http" in result.stderr
    result = run("config", "check", PUSHD_API_KEY=SECRET, **url)
    assert result.exit_code != 0
    assert "webhook_url: needs webhook_secret" in result.stderr
