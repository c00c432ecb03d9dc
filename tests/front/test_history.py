"""History backwards over HTTP: pages that end where the one before began, whatever is removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.front.history import MAX_READS
from tests.support.app import KEY, Server, running_server, until
from tests.support.http import Answer, patience


async def page(server: Server, token: str = KEY, channel: str = "news", **query: Any) -> Answer:
    return await server.pull(channel, token, **query)


def data(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.json
    return [message["data"] for message in answer.json["messages"]]


async def filled(server: Server, count: int, size: int = 0) -> str:
    """``count`` messages whose data begins with their seq; returns the epoch."""
    lines = [f'{{"channel":"news","data":[{seq},"{"x" * size}"]}}' for seq in range(1, count + 1)]
    for at in range(0, count, 50):
        answer = await server.ask(
            "POST",
            "/v1/publish",
            token=KEY,
            body="\n".join(lines[at : at + 50]).encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert answer.status == 200, answer
    return server.hub.log.heads["news"].epoch


def seqs(answer: Answer) -> list[int]:
    found = [message["seq"] for message in answer.json["messages"]]
    assert [message["data"][0] for message in answer.json["messages"]] == found
    return found


def forget_tails(server: Server) -> None:
    """As after a restart: everything is read from the file."""
    server.hub.tails.drop("news")


async def done(call: Callable[..., None], *arguments: Any) -> Any:
    """What the log answers to one of its calls."""
    answered = trio.Event()
    results: list[Any] = []

    def answer(result: Any) -> None:
        results.append(result)
        answered.set()

    call(*arguments, answer)
    with patience():
        await answered.wait()
    return results[0]


both_ways = pytest.mark.parametrize("kept", [True, False], ids=["tail", "file"])


@both_ways
async def test_the_last_ones(server: Server, kept: bool) -> None:
    epoch = await filled(server, 10)
    if not kept:
        forget_tails(server)
    answer = await page(server, last=3)
    assert seqs(answer) == [8, 9, 10]
    facts = {k: v for k, v in answer.json.items() if k != "messages"}
    assert facts == {
        "channel": "news",
        "epoch": epoch,
        "first": 1,
        "head": 10,
        "next": f"{epoch}.10",
        "more": True,
    }
    assert answer.headers["cache-control"] == "no-store"
    forwards = await page(server, after=f"{epoch}.7")
    assert forwards.json["messages"] == answer.json["messages"]
    everything = await page(server, last=10)
    assert (seqs(everything), everything.json["more"]) == (list(range(1, 11)), False)


@both_ways
async def test_page_by_page_to_the_start(server: Server, kept: bool) -> None:
    epoch = await filled(server, 25)
    if not kept:
        forget_tails(server)
    found: list[int] = []
    answer = await page(server, last=7)
    while True:
        found = seqs(answer) + found
        assert answer.json["next"] == f"{epoch}.{answer.json['messages'][-1]['seq']}"
        if not answer.json["more"]:
            break
        answer = await page(server, before=f"{epoch}.{found[0]}", limit=7)
    assert found == list(range(1, 26))
    assert server.hub.counters.pulls_cached == (4 if kept else 0)


@both_ways
async def test_a_page_has_a_bound_of_bytes_and_one_message_always(
    tmp_path: Path, kept: bool
) -> None:
    async with running_server(tmp_path, max_pull_bytes=1024) as server:
        await filled(server, 12, size=200)
        if not kept:
            forget_tails(server)
        answer = await page(server, last=10)
        assert (seqs(answer), answer.json["more"]) == ([10, 11, 12], True)
        answer = await page(server, before=10)
        assert seqs(answer) == [7, 8, 9]
        large = await server.publish("news", [13, "x" * 3000])
        if not kept:
            forget_tails(server)
        assert seqs(await page(server, last=5)) == [large["seq"]]


async def test_where_nothing_is(server: Server) -> None:
    answer = await page(server, last=5)
    assert answer.json == {
        "channel": "news",
        "epoch": "none",
        "first": 1,
        "head": 0,
        "next": "none.0",
        "more": False,
        "messages": [],
    }
    assert (await page(server, before=1)).json == answer.json
    assert "news" not in server.hub.log.heads, "reading creates nothing"


async def test_positions_that_were_never_there(server: Server) -> None:
    epoch = await filled(server, 3)
    answer = await page(server, before=5)
    assert (answer.status, answer.code) == (410, "cursor_ahead")
    answer = await page(server, before="000000001.2")
    assert (answer.status, answer.code) == (410, "epoch_changed")
    assert answer.json["resume"] == f"{epoch}.0"
    assert seqs(await page(server, before=4)) == [1, 2, 3]
    assert seqs(await page(server, before=1)) == []


@pytest.mark.parametrize(
    "query",
    [
        "before=x",
        "last=0",
        "last=1&before=1",
        "last=1&wait=5",
        "last=1&device=a/b",
        "before=1&atleast=x",
    ],
)
async def test_what_cannot_be_asked(server: Server, query: str) -> None:
    answer = await server.ask("GET", f"/v1/channels/news/messages?{query}", token=KEY)
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_who_may_read_it(server: Server) -> None:
    alice = server.token("alice", device="phone", subscribe=[])
    await server.publish("user:alice", 1)
    assert data(await page(server, alice, "user:alice", last=5)) == [1]
    for channel in ("news", "user:bob"):
        answer = await page(server, alice, channel, last=5)
        assert (answer.status, answer.code) == (403, "forbidden")
    assert (await server.ask("GET", "/v1/channels/news/messages?last=1")).status == 401
    answer = await server.pull("user:alice", alice)
    assert data(answer) == [1], "history records nothing: this is still the first contact"


@both_ways
async def test_trimmed_redacted_deleted(server: Server, kept: bool) -> None:
    epoch = await filled(server, 10)
    log = server.hub.log
    await done(log.trim, "news", 5)
    await done(log.redact, "news", 7)
    if not kept:
        forget_tails(server)
    answer = await page(server, last=50)
    assert (answer.json["first"], answer.json["more"]) == (5, False)
    messages = {message["seq"]: message for message in answer.json["messages"]}
    assert list(messages) == list(range(5, 11))
    assert (messages[7]["type"], messages[7]["data"]) == ("redacted", None)
    answer = await page(server, before=5)
    assert (answer.json["messages"], answer.json["more"]) == ([], False)
    assert answer.json["next"] == f"{epoch}.4"
    assert (await page(server, before=2)).json == answer.json

    await done(log.delete, "news")
    assert (await page(server, last=5)).json["messages"] == []
    new = await server.publish("news", [1, ""])
    assert new["epoch"] > epoch
    assert seqs(await page(server, last=5)) == [1]
    answer = await page(server, before=f"{epoch}.9")
    assert (answer.status, answer.code) == (410, "epoch_changed")


@pytest.mark.parametrize("change", ["trim", "trim all", "redact", "delete"])
async def test_a_change_between_the_read_and_the_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What was read before it is not given out after it."""
    await filled(server, 10)
    forget_tails(server)
    log = server.hub.log
    read = log.read_back

    def read_then_change(*arguments: Any) -> None:
        *ask, done = arguments

        def changed(messages: Any) -> None:
            monkeypatch.undo()
            calls: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
                "trim": (log.trim, ("news", 8)),
                "trim all": (log.trim, ("news", 11)),
                "redact": (log.redact, ("news", 9)),
                "delete": (log.delete, ("news",)),
            }
            call, what = calls[change]
            call(*what, lambda _: done(messages))

        read(*ask, changed)

    monkeypatch.setattr(log, "read_back", read_then_change)
    answer = (await page(server, last=5)).json
    types = {message["seq"]: message["type"] for message in answer["messages"]}
    plain = dict.fromkeys(range(6, 11), "message")
    assert (
        types
        == {
            "trim": dict.fromkeys(range(8, 11), "message"),
            "trim all": {},
            "redact": {**plain, 9: "redacted"},
            "delete": {},
        }[change]
    )
    assert answer["more"] is (change == "redact")


async def test_a_channel_that_changes_without_end_is_not_read_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(tmp_path, errors_expected=True) as server:
        await filled(server, 10)
        forget_tails(server)
        log = server.hub.log
        read = log.read_back
        reads = 0

        def read_then_redact(*arguments: Any) -> None:
            nonlocal reads
            reads += 1
            *ask, done = arguments
            read(*ask, lambda messages: log.redact("news", 9, lambda _: done(messages)))

        monkeypatch.setattr(log, "read_back", read_then_redact)
        answer = await page(server, last=5)
        assert (answer.status, answer.code, reads) == (503, "overloaded", MAX_READS)
        monkeypatch.undo()
        assert seqs(await page(server, before=9, limit=2)) == [7, 8], "others go on"


async def test_a_trim_meanwhile_costs_no_second_read(tmp_path: Path) -> None:
    """Else a channel that is trimmed without end could not be read."""
    async with running_server(tmp_path) as server:
        await filled(server, 10)
        head = server.hub.log.heads["news"]
        read: list[Any] = []
        server.hub.log.read_back(head, 0, 10, 1 << 20, read.append)
        head.first = 8  # as the loop learns of a trim before it learns of what was read
        await until(lambda: bool(read))
        assert isinstance(read[0], list), read[0]


async def test_pages_while_the_channel_changes(tmp_path: Path) -> None:
    """Every page is an exact slice, or nothing that was removed comes back.

    A reader whom all trims overtake, on a busy machine, is asked to come again.
    """
    async with running_server(tmp_path, errors_expected=True) as server:
        await filled(server, 200)
        log = server.hub.log
        pages = 0

        async def read() -> None:
            nonlocal pages
            async with server.peer() as peer:
                while log.heads["news"].first < 150:
                    forget_tails(server)
                    first = log.heads["news"].first
                    target = "/v1/channels/news/messages?before=160&limit=40"
                    answer = await peer.ask("GET", target, token=KEY)
                    if answer.status == 503:
                        assert answer.code == "overloaded"
                        continue
                    found = seqs(answer)
                    assert found == list(range(160 - len(found), 160))
                    assert len(found) == min(40, 160 - answer.json["first"])
                    assert answer.json["first"] >= first
                    pages += 1

        async def trim() -> None:
            for before in range(2, 151):
                await done(log.trim, "news", before)
                if before < 150:
                    await until(lambda: pages >= before // 10)  # noqa: B023

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(read)
            nursery.start_soon(trim)
        assert pages >= 14


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 30), st.integers(0, 31), st.integers(1, 32), st.integers(1, 40), st.booleans()
)
def test_any_page_of_any_channel(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    trimmed: int,
    before: int,
    limit: int,
    kept: bool,
) -> None:
    async def check() -> None:
        async with running_server(tmp_path_factory.mktemp("log")) as server:
            if count:
                await filled(server, count)
                await done(server.hub.log.trim, "news", min(trimmed, count + 1))
            if not kept:
                forget_tails(server)
            first = max(1, min(trimmed, count + 1))
            answer = await page(server, before=before, limit=limit)
            if before > count + 1:
                assert answer.code == "cursor_ahead"
                return
            expected = [seq for seq in range(first, count + 1) if seq < before][-limit:]
            assert seqs(answer) == expected
            assert answer.json["more"] == bool(expected and expected[0] > first)

    trio.run(check)
