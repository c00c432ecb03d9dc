"""``pushctl replay``: what is published, that nothing is stored twice, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pushd.cli import main
from tests.support.refusing import nobody_listens

DAY = "2005-02-06"


class Server(ThreadingHTTPServer):
    """Stores NDJSON lines by (channel, id). ``cuts``: bytes after which the next answers end."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}
        self.batches: list[int] = []
        self.cuts: list[int] = []
        self.refused: set[str] = set()
        self.on_batch = lambda: None

    def take(self, number: int, line: dict[str, Any]) -> dict[str, Any]:
        channel, identity = line.pop("channel"), line["id"]
        if channel in self.refused:
            return {"line": number, "code": "forbidden", "detail": f"not to {channel}"}
        known = (channel, identity) in self.stored
        self.stored.setdefault((channel, identity), line)
        return {
            "line": number, "channel": channel, "epoch": "000000aaa", "id": identity, "at": 1,
            "seq": len(self.stored), **({"duplicate": True} if known else {}),
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        assert self.path == "/v1/publish"
        assert self.headers["Content-Type"] == "application/x-ndjson"
        lines = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
        self.server.batches.append(len(lines))
        answers = [self.server.take(n, json.loads(line)) for n, line in enumerate(lines, 1)]
        raw = b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)
        self.server.on_batch()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(raw)
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw[:cut])
        self.close_connection = cut < len(raw)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("PUSHD_")]:
        monkeypatch.delenv(variable)


def record(minute: int = 0, user: str = "bob", text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"day": DAY, "minute": minute, "user": user, "text": text, **more}


def write(*records: dict[str, Any]) -> str:
    Path("chat.ndjson").write_text("".join(json.dumps(each) + "\n" for each in records))
    return "chat.ndjson"


def run(server: Server | None, *arguments: str, url: str = "") -> Result:
    environ = {"PUSHD_URL": server.url if server else url, "PUSHD_API_KEY": "k"}
    return CliRunner().invoke(main, ["replay", *arguments], env=environ)


def summary(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout))


def test_each_line_goes_to_the_channel_and_to_whom_it_addresses(server: Server) -> None:
    result = run(
        server, write(record(244, "jdub", "usual: yes", to="usual"), record(245)), "--json"
    )
    assert result.exit_code == 0, result.output
    found = [
        (channel, line["sender"], line["data"]) for (channel, _), line in server.stored.items()
    ]
    data = {"text": "usual: yes", "day": DAY, "minute": 244, "to": "usual"}
    assert found == [
        ("#ubuntu", "jdub", data),
        ("user:usual", "jdub", data),
        ("#ubuntu", "bob", {"text": "hi", "day": DAY, "minute": 245}),
    ]
    counted = summary(result)
    assert counted.pop("seconds") >= 0
    assert counted.pop("rate") >= 0
    assert counted == {"messages": 2, "inbox_copies": 1, "duplicates": 0, "refused": 0}


def test_the_summary_is_for_people_by_default(server: Server) -> None:
    result = run(server, write(record(), record(to="al")))
    assert result.stdout.startswith("2 messages, 1 inbox copies, of these 0 were there before;")


def test_channel_limit_batch_and_no_inbox(server: Server) -> None:
    file = write(*(record(to="al") for _ in range(9)))
    run(server, file, "--channel", "demo", "--limit", "5", "--batch", "2", "--no-inbox")
    assert {channel for channel, _ in server.stored} == {"demo"}
    assert server.batches == [2, 2, 1]


def test_the_same_file_again_stores_nothing_twice(server: Server) -> None:
    file = write(record(to="al"), record(), record())
    run(server, file, "--limit", "2")
    again = summary(run(server, file, "--json"))
    assert len(server.stored) == 4, "equal lines are different messages"
    assert (again["messages"], again["inbox_copies"], again["duplicates"]) == (3, 1, 3)
    run(server, file, "--id-prefix", "second")
    assert len(server.stored) == 8


def test_another_file_is_no_conflict(server: Server) -> None:
    run(server, write(record(text="one")))
    result = summary(run(server, write(record(text="two")), "--json"))
    assert result["duplicates"] == 0
    assert len(server.stored) == 2


def test_cut_answers_are_survived_and_counted_once(server: Server) -> None:
    server.cuts = [0, 100, 333]
    file = write(*(record(text=str(n), to="al") for n in range(10)))
    counted = summary(run(server, file, "--batch", "7", "--json"))
    assert (counted["messages"], counted["inbox_copies"], counted["refused"]) == (10, 10, 0)
    assert len(server.stored) == 20
    order = [
        line["data"]["text"] for (channel, _), line in server.stored.items() if channel[0] == "#"
    ]
    assert order == [str(n) for n in range(10)]


def test_refused_lines_are_shown_and_counted(server: Server) -> None:
    server.refused = {"user:al"}
    result = run(server, write(*(record(to="al") for _ in range(9))), "--json")
    assert result.exit_code == 1
    assert summary(result)["refused"] == 9
    assert summary(result)["messages"] == 9
    assert result.stderr.count("refused for user:al: not to user:al") == 5


def test_no_server_gives_up_and_says_how_far_it_came() -> None:
    with nobody_listens() as url:
        result = run(None, write(record()), "--give-up", "1s", url=url)
    assert result.exit_code == 1
    assert "Trying again for up to 1 s" in result.stderr
    assert "stopped: 0 messages" in result.stderr
    assert result.stderr.splitlines()[-2].startswith("error: No server answers")
    assert "make run" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--speed", "0"], ["--speed", "-1"], ["--fast", "--speed", "2"], ["--batch", "0"],
     ["--give-up", "soon"], ["--channel", "a b"], ["--limit", "0"]],
)  # fmt: skip
def test_usage_errors(server: Server, arguments: list[str]) -> None:
    assert run(server, write(record()), *arguments).exit_code == 2
    assert server.batches == []


def test_a_wrong_line_is_named_before_anything_is_sent(server: Server) -> None:
    good = json.dumps(record()) + "\n"
    Path("chat.ndjson").write_text(good + good + '{"day":1}\n')
    result = run(server, "chat.ndjson", "--batch", "1")
    assert result.exit_code == 1
    assert "chat.ndjson, line 3" in result.stderr
    assert server.batches == []


def test_stopped_half_way_and_started_again(server: Server) -> None:
    file = write(*(record(text=str(n), to="al") for n in range(400)))
    on_the_way, ended = threading.Event(), threading.Event()

    def stop_here() -> None:
        if len(server.batches) == 20:
            on_the_way.set()
            ended.wait(180)

    server.on_batch = stop_here
    environ = {**os.environ, "PUSHD_URL": server.url, "PUSHD_API_KEY": "k"}
    command = [sys.executable, "-m", "pushd", "replay", file, "--batch", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environ, text=True) as process:
        assert on_the_way.wait(180)
        process.send_signal(signal.SIGINT)  # it waits for an answer, and sends nothing more
        _, errors = process.communicate(timeout=180)
    ended.set()
    assert process.returncode == 130
    assert "stopped: " in errors
    assert "Traceback" not in errors
    before = len(server.stored)
    assert before == 20
    counted = summary(run(server, file, "--json"))
    assert (counted["messages"], counted["inbox_copies"]) == (400, 400)
    assert counted["duplicates"] == before
    assert len(server.stored) == 800


def test_in_its_own_time_every_line_is_sent(server: Server) -> None:
    file = write(record(1), record(1), record(2), record(4))
    counted = summary(run(server, file, "--speed", "1e6", "--json"))
    assert counted["messages"] == 4
    assert server.batches == [2, 1, 1], "a minute is sent together"
