"""pull and channels, run as a person runs them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pushd.cli.messages import visible
from tests.cli.fakes import EPOCH, KEY, Server, run, serving


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


def test_pull_prints_messages_and_the_next_cursor(server: Server) -> None:
    for number in range(3):
        server.publish("news", {"data": {"text": f"m{number}"}, "sender": "alice"})
    result = run(server, "pull", "news", "--limit", "2")
    lines = result.stdout.splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "news[1] alice: m0",
        "news[2] alice: m1",
    ]
    assert result.stderr == f"next: {EPOCH}.2 (more, up to 3)\n"
    rest = run(server, "pull", "news", "--after", f"{EPOCH}.2")
    assert "m2" in rest.stdout
    assert rest.stderr == f"next: {EPOCH}.3\n"


def test_pull_as_json(server: Server) -> None:
    server.publish("news", {"data": [1, {"a": None}], "id": "x", "type": "t"})
    answer = json.loads(run(server, "pull", "news", "--json").stdout)
    assert answer["next"] == f"{EPOCH}.1"
    assert answer["messages"] == [
        {"seq": 1, "id": "x", "type": "t", "at": 1_700_000_000_000, "data": [1, {"a": None}]}
    ]


def test_pull_passes_its_options(server: Server) -> None:
    run(server, "pull", "news", "--after", "head", "--wait", "0.5", "--limit", "7")
    assert parse_qs(urlsplit(server.seen[0][1]).query) == {
        "after": ["head"], "wait": ["0.5"], "limit": ["7"],
    }  # fmt: skip


def test_a_reset_tells_where_to_go_on(server: Server) -> None:
    server.script = [(410, {"code": "expired", "detail": "Gone.", "resume": f"{EPOCH}.9"})]
    result = run(server, "pull", "news", "--after", f"{EPOCH}.1")
    assert result.exit_code == 1
    assert f"resume: {EPOCH}.9" in result.stderr
    assert "Gone." in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["a b"],
        ["a", "--after", "41"],
        ["a", "--limit", "0"],
        ["a", "--wait", "61"],
        ["a", "--last", "3", "--after", "0"],
        ["a", "--last", "3", "--limit", "1"],
        ["a", "--last", "3", "--wait", "1"],
    ],
)
def test_pull_refuses_before_asking(server: Server, arguments: list[str]) -> None:
    assert run(server, "pull", *arguments).exit_code == 2
    assert server.seen == []


def test_channels(server: Server) -> None:
    server.publish("news", {"data": 1})
    server.publish("user:bob", {"data": 1})
    assert run(server, "channels").stdout == f"news\t{EPOCH}\t1\t1\nuser:bob\t{EPOCH}\t1\t1\n"
    assert run(server, "channels", "--prefix", "user:").stdout == f"user:bob\t{EPOCH}\t1\t1\n"
    assert json.loads(run(server, "channels", "--prefix", "n", "--json").stdout) == {
        "items": [{"channel": "news", "epoch": EPOCH, "first": 1, "head": 1}]
    }
    assert server.seen[0][3] == f"Bearer {KEY}"


SLOWEST = {
    "user": "bob", "device": "lap\x1btop", "cursor": f"{EPOCH}.2", "behind": 7, "gone": 0,
    "last_seen": 1_700_000_000_000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("slowest", "shown"),
    [
        (None, "no active device"),
        (SLOWEST, rf"bob on lap\\x1btop, 7 behind \({EPOCH}\.2\), seen 2023-11-1\d \d\d:13:20.*"),
        (SLOWEST | {"gone": 3}, rf"bob on .*, 7 behind, 3 of them gone \({EPOCH}.*"),
    ],
    ids=["nobody", "behind", "gone"],
)
def test_one_channel_and_its_slowest_device(server: Server, slowest: Any, shown: str) -> None:
    info = {
        "channel": "news", "epoch": EPOCH, "first": 1, "head": 9, "messages": 9, "bytes": 700,
        "at": 1_700_000_000_000, "followers": 2, "slowest": slowest, "held": 0,
        "rules": {"public": True},
    }  # fmt: skip
    server.script = [(200, info), (200, info)]
    lines = run(server, "channels", "news").stdout.splitlines()
    assert lines[:4] == ["channel\tnews", f"epoch\t{EPOCH}", "first\t1", "head\t9"]
    assert re.fullmatch(rf"slowest\t{shown}", lines[-1]), lines
    assert json.loads(run(server, "channels", "news", "--json").stdout) == info
    assert run(server, "channels", "news", "--prefix", "n").exit_code == 2
    assert server.seen[0][:2] == ("GET", "/v1/channels/news")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("日本 ü 👍", "日本 ü 👍"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("no\u00a0break", "no\u00a0break"),
    ],
)
def test_messages_cannot_take_over_the_terminal(server: Server, text: str, shown: str) -> None:
    assert visible(text) == shown
    server.publish("news", {"data": {"text": text}, "sender": text})
    assert run(server, "pull", "news").stdout.rstrip("\n").endswith(f"] {shown}: {shown}")


def test_pull_the_newest(server: Server) -> None:
    for number in range(5):
        server.publish("news", {"data": f"m{number}"})
    result = run(server, "pull", "news", "--last", "2")
    assert [line.rpartition(": ")[2] for line in result.stdout.splitlines()] == ["m3", "m4"]
    assert result.stderr.strip() == f"next: {EPOCH}.5"
