"""pushctl serve, with a server that only says that it is ready."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from pushd import __version__, logs
from pushd.auth import Authenticator, JwtKey
from pushd.cli import main
from pushd.cli.dev import CLIENT_FILE, KEYS_FILE
from pushd.settings import Settings
from pushd.settings.declare import Declared
from pushd.settings.model import all_declared

SECRET = "correct-horse-battery-staple-0123456789"
URL = "http://127.0.0.1:4321"


class Server:
    """Stands in for pushd.server: keeps the settings, reports its address, ends."""

    def __init__(self) -> None:
        self.started: list[Settings] = []
        self.error: Exception | None = None

    async def serve(
        self,
        settings: Settings,
        *,
        ready: Callable[[str], None],
        load: Callable[[], Settings],
        worker: None,
    ) -> None:
        self.started.append(settings)
        if self.error is not None:
            raise self.error
        ready(URL)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("PUSHD_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    server = Server()
    monkeypatch.setitem(sys.modules, "pushd.server", SimpleNamespace(serve=server.serve))
    return server


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["serve", *arguments], env=environ)


def test_one_line_when_ready(server: Server) -> None:
    result = run("--node-id", "n1", PUSHD_API_KEY=SECRET, PUSHD_DATA="logs")
    assert result.stdout == f"pushd {__version__} ready on {URL} (node n1, data logs)\n"
    assert result.exit_code == 0
    assert not Path("logs").exists()


@pytest.mark.parametrize("item", [i for i in all_declared() if i.option], ids=lambda i: i.name)
def test_every_setting_is_an_option(server: Server, item: Declared) -> None:
    assert item.option is not None
    if item.name == "edge":  # which makes no sense alone
        assert run("--no-edge", PUSHD_API_KEY=SECRET).exit_code == 0
        assert item.option in run("--help-all").stdout
        return
    if item.name in ("dev", "origins", "path_prefix"):
        text = {"dev": "", "origins": "https://a.example", "path_prefix": "/p"}[item.name]
    else:
        text = item.kind.show(item.default)
    result = run(item.option, *([text] if text else []), PUSHD_API_KEY=SECRET)
    assert result.exit_code == 0, result.output
    expected = item.kind.parse(text or "true")
    assert getattr(server.started[0], item.name) == expected
    assert item.option in run("--help-all").stdout


def test_options_win_over_the_file_also_to_turn_things_off(server: Server) -> None:
    Path("pushd.toml").write_text("dev = true\n")
    run("--no-dev", "--listen", "0.0.0.0:0", PUSHD_API_KEY=SECRET)
    assert server.started[0].dev is False


@pytest.mark.parametrize("option", ["--api-key", "--jwt-secret"])
def test_secrets_are_no_options(server: Server, option: str) -> None:
    assert run(option, SECRET).exit_code == 2


def test_without_any_key_it_refuses(server: Server) -> None:
    result = run()
    assert result.exit_code == 2
    assert "PUSHD_API_KEY" in result.stderr
    assert "--dev" in result.stderr
    assert server.started == []


@pytest.mark.parametrize("group", [False, True])
def test_an_address_in_use_names_the_setting(server: Server, group: bool) -> None:
    problem = OSError(errno.EADDRINUSE, "Address already in use")
    server.error = ExceptionGroup("nursery", [problem]) if group else problem
    result = run("--listen", "127.0.0.1:1", PUSHD_API_KEY=SECRET)
    assert result.exit_code == 1
    assert "127.0.0.1:1 is in use" in result.stderr
    assert "--listen" in result.stderr
    assert "PUSHD_LISTEN" in result.stderr


def test_other_errors_of_the_server_are_not_hidden(server: Server) -> None:
    server.error = OSError(errno.EIO, "disk")
    assert run(PUSHD_API_KEY=SECRET).exception is server.error


# Development mode


def test_made_up_keys_stay_the_same(server: Server) -> None:
    first = run("--dev").stdout
    second = run("--dev").stdout
    one, two = server.started
    assert (one.api_key, one.jwt_secret) == (two.api_key, two.jwt_secret)
    assert one.api_key in first
    assert one.api_key in second
    assert one.jwt_secret not in first
    assert run("--dev", "--data", "other").exit_code == 0
    assert server.started[2].api_key != one.api_key


def test_given_keys_are_used_and_not_kept(server: Server) -> None:
    run("--dev", PUSHD_API_KEY=SECRET)
    assert server.started[0].api_key == SECRET
    assert SECRET not in (Path("data") / KEYS_FILE).read_text()


@pytest.mark.parametrize("name", [KEYS_FILE, CLIENT_FILE])
def test_files_with_keys_are_their_owner_s(server: Server, name: str) -> None:
    Path("data").mkdir()
    (Path("data") / CLIENT_FILE).write_text("old")
    (Path("data") / CLIENT_FILE).chmod(0o644)
    run("--dev")
    assert (Path("data") / name).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in Path("data").iterdir()) == sorted([KEYS_FILE, CLIENT_FILE])


def test_the_client_file_lets_alice_in(server: Server) -> None:
    run("--dev", "--path-prefix", "/push")
    client = json.loads((Path("data") / CLIENT_FILE).read_text())
    assert set(client) == {"url", "token", "key"}
    assert client["url"] == f"{URL}/push"
    settings = server.started[0]
    assert settings.jwt_secret is not None
    authenticator = Authenticator([], [JwtKey("HS256", settings.jwt_secret)])
    alice = authenticator.identify(client["token"], time.time())
    assert (alice.user, alice.device) == ("alice", "dev-alice")
    assert (alice.subscribe, alice.publish) == (("*",), ("*",))
    assert client["key"] == settings.api_key


def test_development_mode_is_for_loopback(server: Server) -> None:
    result = run("--dev", "--listen", "0.0.0.0:8080")
    assert result.exit_code == 2
    assert "loopback" in result.stderr


def test_printed_commands_can_be_pasted_into_bash_and_zsh(server: Server) -> None:
    lines = run("--dev").stdout.splitlines()
    commands = [line for line in lines if re.match(r"curl|pushctl|export", line)]
    assert [line.split()[0] for line in commands] == ["curl", "curl", "pushctl", "export"]
    for line in commands:
        # outside single quotes, nothing that any shell expands: ? [ ] ! * { $ & ; "
        assert re.fullmatch(r"[\w ./:=-]*", re.sub(r"'[^']*'", "", line)), line
        assert "!" not in line  # history, even quoted, in some configurations


def test_printed_curls_say_what_they_should(server: Server) -> None:
    lines = run("--dev").stdout.splitlines()
    publish, pull = [line for line in lines if line.startswith("curl")]
    key = server.started[0].api_key
    got = []
    for line in (publish, pull):
        script = "curl() { printf '%s\\n' \"$@\"; }; " + line
        process = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        got.append(process.stdout.splitlines())
    assert f"Authorization: Bearer {key}" in got[0]
    assert json.loads(got[0][got[0].index("-d") + 1]) == {"data": {"text": "hello"}}
    assert got[0][-1] == f"{URL}/v1/channels/news/messages"
    assert got[1][-1] == f"{URL}/v1/channels/news/messages?after=0"
    assert "-d" not in got[1]


def test_how_to_try_calls_is_said_where_somebody_answers(server: Server) -> None:
    assert "Call your application" not in run("--dev").stdout
    url = "http://127.0.0.1:9000/x?key=in-the-address"
    said = run("--dev", "--webhook-url", url, "--handlers", "myapp.push").stdout
    first, second = (each.webhook_secret for each in server.started)
    assert first == second
    assert first is not None
    assert "handlers in myapp.push, else http://127.0.0.1:9000/x\n" in said
    assert first in said
    assert f"'{URL}/v1/call'" in said
    assert "in-the-address" not in said
