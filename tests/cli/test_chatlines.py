"""Chat records: when they are due, what they become, and that their ids are stable."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.cli.chatlines import ChatLine, messages_of, paced, read_lines, user_id
from pushd.core.names import check_user
from pushd.errors import BadRequest
from tests.support.chat import chat_file_or_made_up

DAY = "2005-02-06"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def record(minute: int = 0, user: str = "bob", text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"day": DAY, "minute": minute, "user": user, "text": text, **more}


def chat_line(number: int, day: str, minute: int) -> ChatLine:
    return ChatLine(number, day, minute, "u", "t", None, "d")


@pytest.mark.parametrize(
    ("times", "speed", "due"),
    [
        ([("a", 10), ("a", 10), ("a", 12)], 60, [(0, 2), (2, 1)]),
        ([("a", 10), ("a", 13)], 1, [(0, 1), (180, 1)]),
        ([("a", 1439), ("b", 0), ("b", 1)], 60, [(0, 1), (1, 1), (2, 1)]),
        ([("a", 5), ("z", 700)], 60, [(0, 1), (1, 1)]),
        ([("a", 5), ("a", 3)], 60, [(0, 1), (0, 1)]),
        ([], 1, []),
    ],
)
def test_when_lines_are_due(
    times: list[tuple[str, int]], speed: float, due: list[tuple[float, int]]
) -> None:
    lines = [chat_line(n, day, minute) for n, (day, minute) in enumerate(times, 1)]
    assert [(at, len(group)) for at, group in paced(lines, speed)] == due


@pytest.mark.parametrize(
    ("nick", "user"),
    [("bob", "bob"), ("bur[n] er", "bur[n]er"), ("[miles] ", "[miles]"),
     ("a:b/c,d*e?", "a_b_c_d_e_"), ("..", "_"), (" ", "_"),
     ("e\u0301", "\u00e9"), ("x\u200by", "x_y")],
)  # fmt: skip
def test_nicks_become_user_ids(nick: str, user: str) -> None:
    assert user_id(nick) == user


@given(st.text(max_size=30))
def test_any_nick_becomes_a_user_id_or_is_refused_by_the_server(nick: str) -> None:
    made = user_id(nick)
    assert user_id(made) == made
    if made.isascii():
        assert check_user(made) == made


def test_ids_differ_by_line_and_content() -> None:
    Path("chat.ndjson").write_text("".join(json.dumps(record(text=t)) + "\n" for t in "aab"))
    lines = list(read_lines(Path("chat.ndjson")))
    ids = [messages_of(line, "c", "p", inbox=True)[0][1]["id"] for line in lines]
    assert len(set(ids)) == 3
    assert all(identity.startswith(f"p-{n}-") for n, identity in enumerate(ids, 1))


def test_a_last_line_without_its_end_keeps_its_id() -> None:
    """A file that grows must not publish its former last line twice."""
    whole = json.dumps(record())
    Path("a").write_text(whole)
    Path("b").write_text(whole + "\n" + whole + "\n")
    (alone,), (first, _) = read_lines(Path("a")), read_lines(Path("b"))
    assert alone == first


def test_the_wrong_line_is_named() -> None:
    Path("a").write_text(json.dumps(record()) + "\n\n")
    with pytest.raises(BadRequest, match="a, line 2"):
        list(read_lines(Path("a")))


def test_a_large_real_chat_is_read_whole(tmp_path: Path) -> None:
    lines = list(read_lines(chat_file_or_made_up(tmp_path)))
    sent = Counter(
        target for line in lines for target, _ in messages_of(line, "#ubuntu", "p", inbox=True)
    )
    assert sent["#ubuntu"] == len(lines) == 40_000
    assert sum(sent.values()) - len(lines) == 16_035
    for target in sent:
        if target != "#ubuntu":
            check_user(target.removeprefix("user:"))
    for line in lines:
        check_user(user_id(line.user))
