"""``GET /v1/channels/{channel}/messages``: from where, how much, and when there is no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.app import KEY, Server, running_server, until
from tests.support.http import Answer


@pytest.fixture
async def filled(server: Server) -> Server:
    """Ten messages in ``news``."""
    for number in range(1, 11):
        await server.publish("news", number)
    return server


def epoch(server: Server, channel: str = "news") -> str:
    return server.hub.log.heads[channel].epoch


def data(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.json
    assert answer.headers["cache-control"] == "no-store"
    return [message["data"] for message in answer.json["messages"]]


async def test_from_the_start(filled: Server) -> None:
    answer = await filled.pull("news", after=0)
    assert data(answer) == list(range(1, 11))
    body = answer.json
    body.pop("messages")
    assert body == {
        "channel": "news",
        "epoch": epoch(filled),
        "first": 1,
        "head": 10,
        "next": f"{epoch(filled)}.10",
        "more": False,
    }


@pytest.mark.parametrize("seq", [0, 1, 9, 10])
async def test_after_a_cursor(filled: Server, seq: int) -> None:
    answer = await filled.pull("news", after=f"{epoch(filled)}.{seq}")
    assert data(answer) == list(range(seq + 1, 11))
    assert answer.json["next"] == f"{epoch(filled)}.10"


async def test_from_now_on(filled: Server) -> None:
    answer = await filled.pull("news", after="head")
    assert data(answer) == []
    await filled.publish("news", 11)
    assert data(await filled.pull("news", after=answer.json["next"])) == [11]


async def test_a_channel_that_was_never_written_to(server: Server) -> None:
    for after in ("0", "head", "none.0"):
        answer = await server.pull("news", after=after)
        assert data(answer) == []
        assert answer.json["epoch"] == "none"
        assert (answer.json["first"], answer.json["head"]) == (1, 0)
    assert server.hub.log.heads == {}, "reading creates nothing"
    await server.publish("news", 1)
    assert data(await server.pull("news", after=answer.json["next"])) == [1]


@pytest.mark.parametrize("limit", [1, 3, 5, 10, 11])
async def test_page_by_page(filled: Server, limit: int) -> None:
    cursor, pages = "0", []
    while True:
        answer = await filled.pull("news", after=cursor, limit=limit)
        pages.append(data(answer))
        cursor = answer.json["next"]
        if not answer.json["more"]:
            break
    assert [number for page in pages for number in page] == list(range(1, 11))
    assert all(len(page) == limit for page in pages[:-1])


async def test_a_page_has_a_hundred_unless_asked(server: Server) -> None:
    for number in range(101):
        await server.publish("news", number)
    answer = await server.pull("news", after=0)
    assert len(data(answer)) == 100
    assert answer.json["more"] is True
    assert len(data(await server.pull("news", after=0, limit=1000))) == 101


@pytest.mark.parametrize("memory", [0, 1 << 28], ids=["from the file", "from memory"])
async def test_a_page_is_cut_at_its_bytes(tmp_path: Path, memory: int) -> None:
    limits: dict[str, Any] = {"max_pull_bytes": 10_000, "tail_cache": memory}
    async with running_server(tmp_path, **limits) as server:
        for size in (4000, 4000, 4000, 20_000, 100):
            await server.publish("news", "x" * size)
        pages, cursor, more = [], "0", True
        while more:
            answer = await server.pull("news", after=cursor)
            pages.append([len(text) for text in data(answer)])
            cursor, more = answer.json["next"], answer.json["more"]
        assert pages == [[4000, 4000], [4000], [20_000], [100]]


async def test_memory_and_file_give_the_same_bytes(tmp_path: Path) -> None:
    queries: list[dict[str, Any]] = [
        {"after": 0},
        {"after": 0, "limit": 3},
        {"after": "{}.4", "limit": 2},
    ]
    bodies: dict[int, list[bytes]] = {}
    for memory in (1 << 28, 0):  # the second server finds the log of the first
        async with running_server(tmp_path, tail_cache=memory) as server:
            if memory:
                for number in range(10):
                    await server.publish("news", number, id=f"m{number}", sender="alice")
            bodies[memory] = []
            for query in queries:
                asked = {k: str(v).format(epoch(server)) for k, v in query.items()}
                first = (await server.pull("news", **asked)).body
                again = (await server.pull("news", **asked)).body
                assert first == again
                bodies[memory].append(first)
    assert bodies[0] == bodies[1 << 28]


BAD = [
    *("after=-1", "after=41", "after=1e3", "after=", "after=%200", "after=00", "after=none.1"),
    *("after=0mhx3f9ab", "after=0mhx3f9ab.", "after=.1", "after=0mhx3f9ab.1.2", "after=HEAD"),
    *("after=0mhx3f9ab.01", "after=0mhx3f9ab.-1", "after=0mhx3f9ab.%D9%A3", "after=x"),
    *("after=0mhx3f9ab.9007199254740992", "after=0&after=0", "after=%ff"),
    *("after=0&limit=0", "after=0&limit=1001", "after=0&limit=", "after=0&limit=-1"),
    *("after=0&limit=1.0", "after=0&limit=99999999999999999999"),
    *("after=0&wait=", "after=0&wait=-1", "after=0&wait=nan", "after=0&wait=1e3"),
    *("after=0&device=", "after=0&device=a%2Fb", "after=0&device=" + "x" * 129),
    *("after=0&atleast=x", "after=0&atleast=-1"),
]


@pytest.mark.parametrize("query", BAD)
async def test_bad_parameters(filled: Server, query: str) -> None:
    path = f"/v1/channels/news/messages?{query}"
    answer = await filled.ask("GET", path, token=KEY)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert not filled.hub.pulls.held


async def test_a_bare_number_is_explained(filled: Server) -> None:
    detail = (await filled.pull("news", after=5)).json["detail"]
    assert "bare number" in detail
    assert "EPOCH.SEQ" in detail


async def test_unknown_parameters_and_atleast_change_nothing(filled: Server) -> None:
    assert len(data(await filled.pull("news", after=0, atleast=3, later="x"))) == 10


async def test_resets_say_where_to_go_on(filled: Server) -> None:
    now = epoch(filled)
    cases = [("000000001.3", "epoch_changed"), (f"{now}.11", "cursor_ahead")]
    for after, code in cases:
        for query in ({"after": after}, {"after": after, "wait": 60}):
            answer = await filled.pull("news", **query)
            assert (answer.status, answer.code) == (410, code)
            body = answer.json
            assert (body["epoch"], body["first"], body["head"]) == (now, 1, 10)
            assert body["skipped"] is None
            assert data(await filled.pull("news", after=body["resume"])) == list(range(1, 11))
    assert filled.hub.counters.resets == 4


async def test_an_expired_cursor_says_how_much_is_gone(filled: Server) -> None:
    filled.hub.log.heads["news"].first = 6  # as retention leaves it
    filled.hub.tails.drop("news")
    answer = await filled.pull("news", after=f"{epoch(filled)}.2")
    assert (answer.status, answer.code) == (410, "expired")
    assert answer.json["skipped"] == 3
    assert data(await filled.pull("news", after=answer.json["resume"])) == [6, 7, 8, 9, 10]
    assert data(await filled.pull("news", after=0)) == [6, 7, 8, 9, 10]


# -- without a cursor: first contact and devices ---------------------------------------------------


async def test_first_contact(server: Server) -> None:
    token = server.token("alice")
    for channel in ("news", "user:alice", "user:alice:orders", "all"):
        await server.publish(channel, 1)
        answer = await server.pull(channel, token)
        assert data(answer) == ([1] if channel.startswith("user:") else []), channel
    assert data(await server.pull("news")) == []


@pytest.mark.parametrize("pinned", [True, False], ids=["by the token", "by the query"])
async def test_a_device_goes_on_where_it_was(filled: Server, pinned: bool) -> None:
    token = filled.token("alice", device="d1" if pinned else None)
    query = {} if pinned else {"device": "d1"}
    await filled.pull("news", token, after=f"{epoch(filled)}.4", **query)
    assert data(await filled.pull("news", token, **query)) == [5, 6, 7, 8, 9, 10]
    assert data(await filled.pull("news", token, **query)) == [5, 6, 7, 8, 9, 10], "not yet acked"
    await filled.pull("news", token, after=f"{epoch(filled)}.2", **query)
    assert data(await filled.pull("news", token, **query)) == [5, 6, 7, 8, 9, 10], "never falls"
    await filled.pull("news", token, after=f"{epoch(filled)}.10", **query)
    assert data(await filled.pull("news", token, **query)) == []
    other = filled.token("bob", device="d1")
    assert data(await filled.pull("news", other)) == [], "another user's first contact"
    assert data(await filled.pull("news", filled.token("alice"), device="d2")) == []


async def test_the_start_and_the_head_are_no_positions_that_were_reached(filled: Server) -> None:
    """Nothing was delivered by asking for them: the device comes for the first time again."""
    token = filled.token("alice", device="d1")
    for after in ("0", "head"):
        await filled.pull("news", token, after=after)
        assert data(await filled.pull("news", token)) == []


async def test_a_token_for_another_device(filled: Server) -> None:
    token = filled.token("alice", device="d1")
    assert (await filled.pull("news", token, after=0, device="d1")).status == 200
    answer = await filled.pull("news", token, after=0, device="d2")
    assert (answer.status, answer.code) == (403, "forbidden")


async def test_without_a_device_nothing_is_remembered(filled: Server) -> None:
    await filled.pull("news", filled.token("alice"), after=f"{epoch(filled)}.4")
    await filled.pull("news", KEY, after=f"{epoch(filled)}.4", device="d1")
    assert data(await filled.pull("news", filled.token("alice"))) == []
    assert data(await filled.pull("news", KEY, device="d1")) == []


async def test_a_device_survives_a_restart(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        for number in range(5):
            await server.publish("news", number)
        token = server.token("alice", device="d1")
        await server.pull("news", token, after=f"{epoch(server)}.3")
        server.stopper.asked.set()
        await until(lambda: not server.hub.ready)
    async with running_server(tmp_path) as server:
        assert data(await server.pull("news", token)) == [3, 4]
