"""tail: what it prints, and where it goes on the next time."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from pushd.auth import mint_token
from pushd.cli.connection import Connection
from pushd.cli.cursors import TailCursors, identity_of
from pushd.cli.tail import SAVE_EVERY, Tail
from pushd.client import Message, Received
from pushd.errors import BadSetting
from tests.cli.fakes import EPOCH, Server, run, serving


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


SECRET = "s" * 40


def texts(result: Result) -> list[str]:
    return [line.rpartition(": ")[2] for line in result.stdout.splitlines()]


def test_tail_begins_now_and_goes_on_where_it_was(server: Server) -> None:
    server.publish("news", {"data": "old"})
    first = run(server, "tail", "news")
    assert texts(first) == []
    assert "from now on" in first.stderr
    server.publish("news", {"data": "a"})
    server.publish("news", {"data": "b"})
    second = run(server, "tail", "news")
    assert texts(second) == ["a", "b"]
    assert "from now on" not in second.stderr
    assert texts(run(server, "tail", "news")) == []


def test_tail_says_why_it_ended(server: Server) -> None:
    result = run(server, "tail", "news")
    assert result.exit_code == 1
    assert "error: The end." in result.stderr
    assert "polling: the WebSocket was refused with HTTP 404" in result.stderr


def test_after_beats_the_state(server: Server) -> None:
    for number in range(3):
        server.publish("news", {"data": f"m{number}"})
    assert texts(run(server, "tail", "news", "--after", "0")) == ["m0", "m1", "m2"]
    assert texts(run(server, "tail", "news", "--after", f"{EPOCH}.1")) == ["m1", "m2"]
    assert texts(run(server, "tail", "news")) == []


def test_several_channels_each_have_their_cursor(server: Server) -> None:
    server.publish("a", {"data": "a1"})
    server.publish("b", {"data": "b1"})
    assert sorted(texts(run(server, "tail", "a", "b", "--after", "0"))) == ["a1", "b1"]
    server.publish("a", {"data": "a2"})
    assert texts(run(server, "tail", "a")) == ["a2"]
    server.publish("b", {"data": "b2"})
    assert texts(run(server, "tail", "b", "a")) == ["b2"]


def test_each_user_has_cursors_and_a_new_token_keeps_them(server: Server) -> None:
    server.publish("news", {"data": "m"})
    alice = mint_token(SECRET, "alice", ttl_s=60, now=1_700_000_000)
    renewed = mint_token(SECRET, "alice", ttl_s=60, now=1_800_000_000)
    bob = mint_token(SECRET, "bob", ttl_s=60, now=1_700_000_000)
    assert texts(run(server, "tail", "news", "--after", "0", "--token", alice)) == ["m"]
    assert "from now on" in run(server, "tail", "news", "--token", bob).stderr
    assert "from now on" not in run(server, "tail", "news", "--token", renewed).stderr
    assert identity_of(alice) == identity_of(renewed) != identity_of(bob)


def test_state_files_hold_no_credential_and_belong_to_their_owner(
    server: Server, tmp_path: Path
) -> None:
    server.publish("news", {"data": "m"})
    run(server, "tail", "news", "--after", "0")
    (path,) = (tmp_path / "state" / "pushctl").iterdir()
    content = path.read_text()
    assert "client-token" not in content
    assert f"{EPOCH}.1" in content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_named_state_file_keeps_all(server: Server, tmp_path: Path) -> None:
    server.publish("a", {"data": "m"})
    server.publish("b", {"data": "m"})
    run(server, "tail", "a", "b", "--after", "0", "--state", "here.json")
    assert not (tmp_path / "state").exists()
    result = run(server, "tail", "a", "b", "--state", "here.json")
    assert texts(result) == []
    assert "from now on" not in result.stderr


@pytest.mark.parametrize(
    "content",
    [b"", b"{}x", b"\xff", b'{"cursors":{"k":{"url":"u","channel":"c","cursor":"41"}}}',
     b'{"version":2}'],
)  # fmt: skip
def test_a_file_that_is_no_state_is_left_alone(server: Server, content: bytes) -> None:
    Path("other.json").write_bytes(content)
    result = run(server, "tail", "a", "--state", "other.json")
    assert result.exit_code == 2
    assert "other.json" in result.stderr
    assert Path("other.json").read_bytes() == content
    assert server.seen == []


def test_a_state_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    store = TailCursors("http://x", "t", tmp_path / "a-file" / "state.json")
    (tmp_path / "a-file").write_text("")
    with pytest.raises(BadSetting, match="cannot"):
        store.save({"a": f"{EPOCH}.1"})


def test_tail_as_json(server: Server) -> None:
    server.publish("news", {"data": {"n": 1}, "sender": "bob", "id": "i"})
    (line,) = run(server, "tail", "news", "--after", "0", "--json").stdout.splitlines()
    assert json.loads(line) == {
        "channel": "news", "cursor": f"{EPOCH}.1", "seq": 1, "id": "i", "type": "message",
        "at": 1_700_000_000_000, "data": {"n": 1}, "sender": "bob",
    }  # fmt: skip


def test_tail_shows_resets_and_goes_on(server: Server) -> None:
    server.publish("news", {"data": "m1"})
    server.publish("news", {"data": "m2"})
    reset = {"code": "expired", "epoch": EPOCH, "first": 2, "head": 2, "skipped": 1,
             "resume": f"{EPOCH}.1"}  # fmt: skip
    server.pulls = [{"channels": {"news": {"reset": reset}}, "notices": []}]
    result = run(server, "tail", "news", "--after", f"{EPOCH}.0")
    assert texts(result) == ["m2"]
    assert "reset (expired), messages missing: 1" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["a b"], ["a", "--device", "x y"], ["a", "b", "--after", f"{EPOCH}.1"],
     ["a", "--after", "41"]],
)  # fmt: skip
def test_tail_refuses_before_asking(server: Server, arguments: list[str]) -> None:
    assert run(server, "tail", *arguments).exit_code == 2
    assert server.seen == []


def test_tail_names_its_device(server: Server) -> None:
    run(server, "tail", "a", "--after", "0", "--device", "d1")
    bodies = [body for method, path, body, _ in server.seen if path == "/v1/pull"]
    assert bodies
    assert all(body["device"] == "d1" for body in bodies)
    assert any("device=d1" in path for _, path, *_ in server.seen if path.startswith("/v1/ws"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_tail_cleanly(server: Server, number: signal.Signals) -> None:
    """Lines come at once, not when a buffer is full; the state is there after the end."""
    server.publish("news", {"data": "now"})
    command = [sys.executable, "-m", "pushd", "tail", "news", "--after", "0"]
    environ = {**os.environ, "PUSHD_URL": server.url, "PUSHD_TOKEN": "t"}
    release = threading.Event()
    answer = server.answer

    def held(method: str, target: str, body: Any) -> tuple[int, dict[str, Any]]:
        if body and body.get("wait") and "news" in body["cursors"] and "." in str(body["cursors"]):
            release.wait(180)
        return answer(method, target, body)

    server.answer = held  # type: ignore[method-assign]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
    ) as tail:
        assert tail.stdout is not None
        assert tail.stdout.readline().rstrip().endswith("now")
        tail.send_signal(number)
        _, errors = tail.communicate(timeout=180)
        release.set()
    assert tail.returncode == 0
    assert "Traceback" not in errors
    assert texts(run(server, "tail", "news", PUSHD_TOKEN="t")) == []


def test_what_was_printed_is_saved_when_the_reader_leaves(server: Server) -> None:
    """As in 'pushctl tail … | head -1': the page is long, and its rest was not printed."""
    for number in range(150):
        server.publish("news", {"data": f"{number} " + "x" * 4000})
    command = [sys.executable, "-m", "pushd", "tail", "news", "--after", "0"]
    environ = {**os.environ, "PUSHD_URL": server.url, "PUSHD_TOKEN": "client-token"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    ) as reader:
        assert reader.stdout is not None
        assert b"0 xxx" in reader.stdout.readline()
        reader.stdout.close()
        assert reader.stderr is not None
        assert b"Traceback" not in reader.stderr.read()
    rest = texts(run(server, "tail", "news"))
    assert 0 < len(rest) < 150
    assert rest[-1].startswith("149 ")


def test_a_long_page_is_saved_in_between(tmp_path: Path) -> None:
    """A crash in the middle prints some again, not all."""
    tail = Tail(
        Connection("http://x", "t", verbose=False), TailCursors("http://x", "t", None), True
    )
    for seq in range(1, SAVE_EVERY + 50):
        message = Message(seq, "i", "message", 0, None)
        tail.take(Received("news", f"{EPOCH}.{seq}", message), last_of_page=False)
    saved = TailCursors("http://x", "t", None).load(["news"])
    assert saved == {"news": f"{EPOCH}.{SAVE_EVERY}"}
