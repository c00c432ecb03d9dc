"""groups, users, sessions, presence, inbox, call, and publishing to people: the real program
against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from click.testing import CliRunner

import pushd.testing
from pushd.cli import main
from pushd.handlers import registered
from tests.support.terminal import on_a_terminal
from tests.support.websocket import WebSocket

HANDLERS = """
from pushd.handlers import Call, Refused, handler


@handler("ECHO")
async def echo(call: Call, data):
    return {"user": call.user, "data": data}


@handler("REFUSE")
async def refuse(call: Call, data):
    raise Refused("Ten at most.", {"most": 10})
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Types commands. ``node``: the server that they find in their environment."""

    node: pushd.testing.Node
    home: Path

    async def __call__(
        self, *words: str, stdin: str = "", token: str | None = None, key: str | None = None
    ) -> Done:
        environ = {name: text for name, text in os.environ.items() if "PUSHD" not in name}
        environ |= {
            "PUSHD_URL": self.node.url,
            "PUSHD_API_KEY": self.node.key if key is None else key,
            "PUSHD_TOKEN": self.node.token("alice", device="phone") if token is None else token,
            "HOME": str(self.home),
        }
        command = [sys.executable, "-m", "pushd", *words]
        run = partial(
            subprocess.run, command, input=stdin, capture_output=True, text=True, env=environ,
            cwd=self.home, check=False, timeout=180,
        )  # fmt: skip
        done = await trio.to_thread.run_sync(run)
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    async def good(self, *words: str, **more: Any) -> Done:
        done = await self(*words, **more)
        assert done.code == 0, done
        return done


@pytest.fixture
async def type_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    registered.clear()  # of others; the fixture own_handlers brings them back
    (tmp_path / "handlers_of_the_commands.py").write_text(HANDLERS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    # Nobody answers pings while a command runs, and a dozen of them take their time.
    async with pushd.testing.server(
        handlers="handlers_of_the_commands", namespaces={"room": {"presence": True}},
        heartbeat_timeout="1h",
    ) as node:  # fmt: skip
        yield Shell(node, tmp_path)


@pytest.fixture
async def session(type_: Shell) -> AsyncIterator[dict[str, Any]]:
    """Alice, live in room:1: her hello, and the socket."""
    token = type_.node.token("alice", device="phone", attributes={"name": "Alice"})
    async with await WebSocket.open(("127.0.0.1", type_.node.port)) as socket:
        await socket.upgrade("/v1/ws?channels=room:1", token=token)
        yield {**await socket.message(), "socket": socket}


async def test_groups(type_: Shell) -> None:
    assert (await type_.good("groups", "list")).out == ""
    done = await type_.good("groups", "add", "staff", "alice", "bob")
    assert done.out == "staff: 2 added, 0 removed, 2 in it\n"
    done = await type_.good("groups", "add", "staff", "-", stdin="carl\n\n dora \nalice\n")
    assert done.out == "staff: 2 added, 0 removed, 4 in it\n"
    done = await type_.good("groups", "remove", "staff", "bob", "nobody")
    assert done.out == "staff: 0 added, 1 removed, 3 in it\n"
    await type_.good("groups", "add", "other", "alice")
    assert (await type_.good("groups", "list")).lines == [["other", "1"], ["staff", "3"]]
    assert (await type_.good("groups", "list", "--prefix", "st")).lines == [["staff", "3"]]
    found = (await type_.good("groups", "list", "--user", "carl", "--json")).json["items"]
    assert [(each["group"], each["members"]) for each in found] == [("staff", 3)]
    members = (await type_.good("groups", "members", "staff")).lines
    assert [line[:2] for line in members] == [["alice", "no"], ["carl", "no"], ["dora", "no"]]
    found = (await type_.good("groups", "members", "staff", "--json", "--limit", "2")).json
    assert [each["user"] for each in found["items"]] == ["alice", "carl"]
    refused = await type_("groups", "delete", "staff")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert (await type_.good("groups", "delete", "staff", "--yes")).out.startswith("staff: ended")
    gone = await type_("groups", "delete", "staff", "--yes")
    assert (gone.code, gone.out) == (1, "")
    assert gone.err.startswith("error: ")


async def test_nothing_is_changed_when_one_name_is_none(type_: Shell) -> None:
    many = "".join(f"user-{number}\n" for number in range(10_001))  # of two transactions
    given = [(["alice", "b:c"], ""), (["-"], "alice\nb c\n"), (["-"], "\n"), (["-"], many + "b c")]
    for names, stdin in given:
        refused = await type_("groups", "add", "staff", *names, stdin=stdin)
        assert refused.code == 1
        assert refused.err.startswith("error: ")
    assert (await type_.good("groups", "list")).out == ""


async def test_sessions_and_users(type_: Shell, session: dict[str, Any]) -> None:
    id_ = session["session"]
    [line] = (await type_.good("sessions", "list")).lines
    [node] = (await type_.good("nodes")).lines
    assert node[:3] == [line[4], "owner", "1"]
    [found] = (await type_.good("nodes", "--json")).json["items"]
    assert (found["node"], found["sessions"]) == (line[4], 1)
    assert line[:4] == [id_, "alice", "phone", "websocket"]
    assert line[5] == "127.0.0.1"
    there = await type_.good("sessions", "list", "--node", line[4])
    assert len(there.lines) == 1
    assert (await type_.good("sessions", "list", "--node", "nowhere")).out == ""
    [found] = (await type_.good("sessions", "list", "--user", "alice", "--json")).json["items"]
    assert (found["session"], found["following"]) == (id_, 3)
    assert (await type_.good("sessions", "list", "--user", "bob")).out == ""
    await type_.good("publish", "--user", "bob", "hi")
    await type_.good("groups", "add", "staff", "alice")
    users = (await type_.good("users", "list")).lines
    assert [line[:3] for line in users] == [["alice", "yes", "1"], ["bob", "no", "0"]]
    assert [line[0] for line in (await type_.good("users", "list", "--offline")).lines] == ["bob"]
    found = (await type_.good("users", "list", "--online", "--json")).json["items"]
    assert [each["user"] for each in found] == ["alice"]
    shown = (await type_.good("users", "show", "alice")).out
    assert "online\tyes\n" in shown
    assert "groups\tstaff\n" in shown
    assert id_ in shown
    shown = (await type_.good("users", "show", "bob", "--json")).json
    assert (shown["online"], shown["groups"], shown["sessions"]) == (False, [], [])
    assert shown["channels"][0]["unread"] == 1


@pytest.mark.parametrize("what", ["session", "user", "group", "revoke"])
async def test_kicks(type_: Shell, session: dict[str, Any], what: str) -> None:
    await type_.good("groups", "add", "staff", "alice")
    token = type_.node.token("alice")
    words = {
        "session": ["sessions", "kick", session["session"]],
        "user": ["users", "kick", "alice"],
        "group": ["groups", "kick", "staff"],
        "revoke": ["users", "kick", "alice", "--revoke"],
    }[what]
    done = await type_.good(*words, "--reason", "maintenance")
    assert done.lines[0] == ["1 session ended"]
    told: list[dict[str, Any]] = []
    while not told or told[-1]["type"] != "bye":
        told.append(await session["socket"].message())
    by_kick, by_revocation = (4009, "maintenance"), (4001, "revoked")
    # A revocation ends sessions as well; the kick may come before it does.
    may = {by_kick, by_revocation} if what == "revoke" else {by_kick}
    assert (told[-1]["code"], told[-1]["reason"]) in may
    refused = await type_("inbox", token=token)
    assert refused.code == (1 if what == "revoke" else 0)
    assert ("revoked" in refused.err) == (what == "revoke")


async def test_any_session_can_be_named(type_: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance gives one of 64 a name that commands would take for an option."""
    given = iter(["-by-chance", "-once-more", "by-chance"])
    chance = SimpleNamespace(token_urlsafe=lambda _size: next(given))
    monkeypatch.setattr("pushd.session.secrets", chance)
    async with await WebSocket.open(("127.0.0.1", type_.node.port)) as socket:
        await socket.upgrade("/v1/ws", token=type_.node.token("alice"))
        found = (await socket.message())["session"]
        assert (await type_.good("sessions", "kick", found)).out == "1 session ended\n"


async def test_a_session_that_is_not_there(type_: Shell, session: dict[str, Any]) -> None:
    done = await type_("sessions", "kick", session["session"], "unknown", "--reconnect")
    assert done.code == 1
    assert done.out == "1 session ended\n"
    assert "There is no session unknown." in done.err
    assert "pushctl sessions list" in done.err


async def test_publishing_to_people(type_: Shell, session: dict[str, Any]) -> None:
    await type_.good("groups", "add", "staff", "bob")
    words = ["--user", "alice", "--user", "bob", "--group", "staff", "--channel", "news", "--all"]
    words += ["--session", session["session"]]
    done = await type_.good("publish", *words, '{"text":"hi"}')
    said = {line.split(" ")[0]: line.split(" ")[2] for line in done.out.splitlines()}
    assert said == {
        "news": "offline",
        "user:alice": "online",
        "user:bob": "offline",
        "group:staff": "offline",
        f"session:{session['session']}": "online",
        "all": "online",
    }
    done = await type_.good("publish", "--user", "alice", "x", "--id", "i", "--json")
    assert [each["channel"] for each in done.json["results"]] == ["user:alice"]
    done = await type_.good("publish", "--user", "alice", "x", "--id", "i")
    assert done.out.endswith(" online (was there before)\n")
    gone = await type_("publish", "--session", "unknown", "--user", "alice", "x")
    assert gone.code == 1
    assert gone.err.startswith("error: ")


async def test_publishing_until_it_is_delivered(type_: Shell) -> None:
    words = ["publish", "--user", "alice", "--wait", "alice", "--wait-s", "0", "hi"]
    assert (await type_.good(*words)).lines[1] == ["alice does not have it yet"]
    assert (await type_.good(*words, "--json")).json["delivered"] is False
    assert (await type_.good("publish", "news", "--wait", "alice", "--wait-s", "0", "x")).out
    async with trio.open_nursery() as nursery, type_.node.client("alice", device="tab") as alice:
        found: list[Done] = []

        async def wait() -> None:
            found.append(await type_.good("publish", "--user", "alice", "--wait", "alice",
                                          "--wait-s", "60", "now"))  # fmt: skip

        nursery.start_soon(wait)
        async for event in alice.follow("user:alice"):
            if getattr(event, "data", None) == "now":
                await alice.ack({"user:alice": event.cursor})
                break
    assert found[0].lines[1] == ["alice has it"]


async def test_call(type_: Shell) -> None:
    done = await type_.good("call", "ECHO", '{"a":1}')
    assert done.json == {"user": "alice", "data": {"a": 1}}
    assert (await type_.good("call", "ECHO")).json["data"] is None
    assert (await type_.good("call", "ECHO", "-", stdin="some words\n")).json[
        "data"
    ] == "some words"
    refused = await type_("call", "REFUSE", "11")
    assert (refused.code, refused.out) == (1, "")
    assert json.loads(refused.err.splitlines()[0]) == {"most": 10}
    assert "error: Ten at most." in refused.err
    missing = await type_("call", "NOTHING")
    assert missing.code == 1
    assert "NOTHING" in missing.err


async def test_inbox(type_: Shell) -> None:
    await type_.good("inbox")  # from now on 'all' is counted
    await type_.good("publish", "--user", "alice", "--all", "hi")
    assert [line[:3] for line in (await type_.good("inbox")).lines] == [
        ["all", "1", "1"],
        ["user:alice", "1", "1"],
    ]
    found = (await type_.good("inbox", "--json")).json
    assert found["unread"] == 2
    assert {each["channel"] for each in found["items"]} == {"all", "user:alice"}


async def test_presence(type_: Shell, session: dict[str, Any]) -> None:
    found: list[Done] = []
    while not found or not found[-1].out:
        found.append(await type_.good("presence", "room:1"))
    assert found[-1].lines == [["alice", '{"name":"Alice"}']]
    found.append(await type_.good("presence", "room:1", "--json"))
    assert found[-1].json["items"] == [{"user": "alice", "attributes": {"name": "Alice"}}]
    assert found[-1].json["presence"] == "$presence:room:1"
    refused = await type_("presence", "news")
    assert refused.code == 1
    assert "presence" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ["groups", "list"],
        ["users", "show", "alice"],
        ["sessions", "kick", "x"],
        ["presence", "room:1"],
        ["publish", "--user", "alice", "x"],
    ],
)
async def test_a_wrong_key_is_words(type_: Shell, words: list[str]) -> None:
    done = await type_(*words, key="no-key-of-this-server")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 2, "what is wrong, and what to do about it"


@pytest.mark.parametrize(
    "words",
    [
        ["groups"],
        ["groups", "add", "staff"],
        ["groups", "list", "--user", "a", "--prefix", "b"],
        ["users", "kick", "a", "--revoke", "--reconnect"],
        ["publish"],
        ["publish", "--user", "a", "b", "c"],
        ["publish", "--group", "a:b", "x"],
        ["publish", "--channel", "a b", "x"],
        ["users", "list", "--limit", "0"],
    ],
)
def test_what_cannot_be_meant(words: list[str]) -> None:
    env = {"PUSHD_API_KEY": "key", "PUSHD_URL": "http://127.0.0.1:1"}
    done = CliRunner().invoke(main, words, env=env)
    assert done.exit_code == 2
    assert "Usage: pushctl" in done.output


@pytest.mark.parametrize(
    "words",
    [
        *(f"groups {each}" for each in ("list", "members", "add", "remove", "delete", "kick")),
        *(f"sessions {each}" for each in ("list", "kick")),
        *(f"users {each}" for each in ("list", "show", "kick")),
        *("call", "inbox", "presence", "publish"),
    ],
)
def test_help_has_examples(words: str) -> None:
    text = CliRunner().invoke(main, [*words.split(), "--help"]).stdout
    assert text.startswith(f"Usage: pushctl {words} ")
    assert f"pushctl {words}" in text.partition("Example")[2]


async def test_a_terminal_gets_a_table(type_: Shell) -> None:
    """For people, and without tabs."""
    await type_.good("groups", "add", "staff", "alice")
    environ = {"PUSHD_URL": type_.node.url, "PUSHD_API_KEY": type_.node.key}
    table = partial(on_a_terminal, "groups", "members", "staff", cwd=type_.home, **environ)
    text = await trio.to_thread.run_sync(table)
    head, row = (re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()[:2])
    assert head.split() == ["user", "online", "joined"]
    assert row.split()[:2] == ["alice", "no"]
