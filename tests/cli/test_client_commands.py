"""publish, run as a person runs it; which server is asked, and as whom."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pushd.cli import main
from tests.cli.fakes import EPOCH, KEY, Server, run, serving
from tests.support.refusing import nobody_listens


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for variable in [name for name in os.environ if name.startswith("PUSHD_")]:
        monkeypatch.delenv(variable)


def dev_file(url: str, key: str = "devkey", token: str = "devtoken") -> None:
    Path("data").mkdir(exist_ok=True)
    Path("data/dev-client.json").write_text(json.dumps({"url": url, "key": key, "token": token}))


@pytest.mark.parametrize(
    ("arguments", "stdin", "data"),
    [
        (["hello"], None, "hello"),
        (['{"text":"hi"}'], None, {"text": "hi"}),
        (["42"], None, 42),
        (["null"], None, None),
        (['"quoted"'], None, "quoted"),
        (["{broken"], None, "{broken"),
        (["NaN"], None, "NaN"),
        ([""], None, ""),
        ([], b"from stdin\n", "from stdin"),
        (["-"], b"[1, 2]\n", [1, 2]),
        (["-"], b"two\nlines\n", "two\nlines"),
        (["日本"], None, "日本"),
    ],
)
def test_data_is_json_or_else_a_string(
    server: Server, arguments: list[str], stdin: bytes | None, data: Any
) -> None:
    result = run(server, "publish", "news", *arguments, stdin=stdin)
    assert result.exit_code == 0
    assert ("looks like JSON" in result.stderr) == (data == "{broken")
    assert result.stdout == f"news {EPOCH}.1\n"
    assert server.logs["news"][0]["data"] == data


def test_publish_sends_type_id_and_sender_with_the_key(server: Server) -> None:
    run(server, "publish", "#ubuntu", "x", "--type", "chat", "--id", "i1", "--sender", "bob")
    ((method, path, body, authorization),) = server.seen
    assert (method, path) == ("POST", "/v1/channels/%23ubuntu/messages")
    assert body == {"type": "chat", "sender": "bob", "data": "x", "id": "i1"}
    assert authorization == f"Bearer {KEY}"


@pytest.mark.parametrize("option", ["--user", "--to-user"])
def test_publish_to_a_user(server: Server, option: str) -> None:
    assert run(server, "publish", option, "alice", "hello").exit_code == 0
    assert server.logs["user:alice"][0]["data"] == "hello"


def test_publish_as_json(server: Server) -> None:
    result = run(server, "publish", "news", "x", "--id", "i", "--json")
    assert json.loads(result.stdout) == {
        "channel": "news", "epoch": EPOCH, "seq": 1, "id": "i", "at": 1,
    }  # fmt: skip


def test_publish_tells_duplicates(server: Server) -> None:
    server.script = [
        (200, {"channel": "a", "epoch": EPOCH, "seq": 3, "id": "i", "at": 1, "duplicate": True})
    ]
    assert run(server, "publish", "a", "x").stdout == f"a {EPOCH}.3 (was there before)\n"


def test_a_refusal_is_words_and_exit_code_1(server: Server) -> None:
    server.script = [(403, {"code": "forbidden", "detail": "Not yours."})]
    result = run(server, "publish", "a", "x")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: Not yours.\n")


@pytest.mark.parametrize(
    "arguments",
    [[], ["a", "b", "c"], ["a b"], ["user:"], ["--to-user", "a:b", "x"], ["--user", "a", "x", "y"]],
)
def test_publish_refuses_what_it_cannot_send(server: Server, arguments: list[str]) -> None:
    result = run(server, "publish", *arguments, stdin=b"")
    assert result.exit_code == 2
    assert server.seen == []


def test_publish_refuses_what_is_no_text(server: Server) -> None:
    result = run(server, "publish", "a", stdin=b"\xff\xfe")
    assert result.exit_code == 1
    assert "UTF-8" in result.stderr


def test_options_beat_variables_beat_the_dev_file(server: Server) -> None:
    dev_file(server.url)
    CliRunner().invoke(main, ["publish", "a", "1"])
    CliRunner().invoke(main, ["publish", "a", "2"], env={"PUSHD_API_KEY": "varkey"})
    CliRunner().invoke(main, ["publish", "a", "3", "--key", "opt"], env={"PUSHD_API_KEY": "varkey"})
    CliRunner().invoke(main, ["pull", "a"])
    CliRunner().invoke(main, ["pull", "a"], env={"PUSHD_TOKEN": "vartoken"})
    CliRunner().invoke(main, ["pull", "a", "--key", "opt"], env={"PUSHD_TOKEN": "vartoken"})
    assert [authorization for *_, authorization in server.seen] == [
        "Bearer devkey", "Bearer varkey", "Bearer opt", "Bearer devtoken", "Bearer vartoken",
        "Bearer opt",
    ]  # fmt: skip


def test_pull_falls_back_to_the_key(server: Server) -> None:
    result = CliRunner().invoke(
        main, ["pull", "a"], env={"PUSHD_URL": server.url, "PUSHD_API_KEY": "k"}
    )
    assert result.exit_code == 0
    assert server.seen[0][3] == "Bearer k"


def test_publish_never_uses_a_token_unasked(server: Server) -> None:
    env = {"PUSHD_URL": server.url, "PUSHD_TOKEN": "t"}
    result = CliRunner().invoke(main, ["publish", "a", "x"], env=env)
    assert result.exit_code == 2
    assert "--key or PUSHD_API_KEY" in result.stderr
    assert CliRunner().invoke(main, ["publish", "a", "x", "--token", "t"], env=env).exit_code == 0


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:9", "https://example.org"])
def test_dev_credentials_go_to_their_own_server_only(server: Server, elsewhere: str) -> None:
    dev_file(elsewhere)
    for command in (["publish", "a", "x"], ["pull", "a"], ["tail", "a"], ["channels"]):
        result = CliRunner().invoke(main, [*command, "--url", server.url])
        assert result.exit_code == 2
        assert "no credential" in result.stderr
    assert server.seen == []


@pytest.mark.parametrize("whose", ["of another server", "of another user"])
def test_a_dev_file_that_came_with_a_directory_sends_no_credential_away(
    server: Server, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """Somebody else's working directory must not say where a key of the environment goes."""
    if whose == "of another user" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    monkeypatch.setattr("pushd.cli.connection.DEFAULT_URL", server.url)
    if whose == "of another server":
        dev_file("http://evil.example:80")
    else:
        dev_file("http://127.0.0.1:9")
        os.chown("data/dev-client.json", 1234, 1234)
    for command in (["publish", "a", "x"], ["pull", "a"]):
        env = {"PUSHD_API_KEY": "varkey", "PUSHD_TOKEN": "vartoken"}
        assert CliRunner().invoke(main, command, env=env).exit_code == 0
    assert [authorization for *_, authorization in server.seen] == [
        "Bearer varkey",
        "Bearer vartoken",
    ]


def test_the_dev_file_is_where_the_data_is(server: Server) -> None:
    dev_file(server.url)
    Path("data").rename("elsewhere")
    result = CliRunner().invoke(main, ["pull", "a"], env={"PUSHD_DATA": "elsewhere"})
    assert result.exit_code == 0


def test_a_damaged_dev_file_is_named() -> None:
    Path("data").mkdir()
    Path("data/dev-client.json").write_text("{")
    result = CliRunner().invoke(main, ["pull", "a"])
    assert result.exit_code == 2
    assert "data/dev-client.json" in result.stderr


def test_verbose_tells_sources_and_never_the_credential(server: Server) -> None:
    result = run(server, "pull", "a", "-v")
    assert "from PUSHD_URL" in result.stderr
    assert "from PUSHD_TOKEN" in result.stderr
    quiet = run(server, "pull", "a")
    assert "PUSHD" not in quiet.stderr
    for shown in (result, quiet):
        assert "client-token" not in shown.output


@pytest.mark.parametrize("credential", ["sécret-päss", "se cret"])
def test_a_credential_that_cannot_be_sent_is_not_shown(server: Server, credential: str) -> None:
    result = run(server, "pull", "a", "--token", credential)
    assert result.exit_code == 2
    assert credential not in result.output


def test_key_and_token_exclude_each_other(server: Server) -> None:
    assert run(server, "pull", "a", "--key", "k", "--token", "t").exit_code == 2


def test_no_server_says_what_to_do() -> None:
    with nobody_listens() as url:
        result = run(None, "pull", "a", PUSHD_URL=url)
    assert result.exit_code == 1
    assert f"No server answers at {url}" in result.stderr
    assert "make run" in result.stderr
    assert "--url" in result.stderr
