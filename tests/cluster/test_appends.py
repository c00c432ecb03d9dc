"""Messages that were published at other nodes: stored once, answered for, told to everybody."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from pushd.answers import answer_of
from pushd.cluster.bus.texts import SessionRecord
from pushd.cluster.owner.remote import RemoteSessions
from pushd.cluster.wire import (
    PATH,
    AppendBatch,
    AppendResults,
    AwaitBody,
    AwaitResult,
    LoadBody,
    LoadResults,
    MarksBody,
    MarksFound,
    ReadMark,
)
from pushd.core.positions import parse_cursor
from pushd.log import Own
from tests.support.app import Server, until
from tests.support.asking import Asking, asking, body
from tests.support.http import request


async def seqs(server: Server, channel: str) -> list[Any]:
    """What is stored there, as everybody pulls it."""
    answer = await server.pull(channel, after="0")
    return [message["data"] for message in answer.json["messages"]]


async def test_each_append_has_its_result(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        results = (
            await edge.append(
                "b1",
                body("news", "other", data="one", name="m1", user="ann"),
                body("news", data={"n": 2}),
                body("news", data="changed", name="m1", user="ann"),
                body("news", data="one", name="m1", user="ann"),
            )
        ).results
        first, second, refused, again = results
        assert [(each.channel, each.seq, each.id) for each in first.stored] == [
            ("news", 1, "m1"),
            ("other", 1, "m1"),
        ]
        assert [(each.seq, each.duplicate) for each in second.stored] == [(2, False)]
        assert refused.error is not None
        assert (refused.error.code, refused.error.status, refused.stored) == ("conflict", 409, [])
        assert [(each.seq, each.duplicate) for each in again.stored] == [(1, True)]
        pulled = (await edge.server.pull("news", after="0")).json["messages"]
        assert [(each["seq"], each["data"], each.get("sender")) for each in pulled] == [
            (1, "one", "ann"),
            (2, {"n": 2}, None),
        ]
        assert pulled[0]["at"] == first.stored[0].at
        assert first.stored[0].epoch == edge.server.hub.log.heads["news"].epoch


async def test_data_is_kept_to_the_byte(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        append = body("news")
        append.entries[0].data = msgspec.Raw(b'{"a" : 1.50, "b":"\\u0041"}')
        await edge.append("b1", append)
        answer = await edge.server.pull("news", after="0")
        assert b'{"a" : 1.50, "b":"\\u0041"}' in answer.body


async def test_online_is_what_all_nodes_know(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        remote = RemoteSessions(edge.server.hub, edge.owner.bye)
        now = time.time()
        record = SessionRecord("s1", "edge-1", "ann", None, "ws", "::1", now, now, ["news"])
        remote.opened(record)
        [result] = (await edge.append("b1", body("user:ann", "news", "other", "user:bob"))).results
        assert [each.online for each in result.stored] == [True, True, False, False]
        remote.set_known(False)
        assert not (await edge.append("b2", body("news"))).known


async def test_a_batch_that_comes_again_is_stored_once(tmp_path: Path) -> None:
    """Also while the first is under way, and by another connection."""
    async with asking(tmp_path) as edge:
        answers: list[AppendResults] = []

        async def send() -> None:
            answers.append(await edge.append("b1", body("news", data=1), body("news", data=2)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(send)
        await send()
        assert answers == [answers[0]] * 6
        assert await seqs(edge.server, "news") == [1, 2]
        assert edge.server.hub.counters.batches_repeated == 5
        other = Asking(edge.server, edge.owner, "edge-2")
        await other.append("b1", body("news", data=3))  # which calls its own so
        assert await seqs(edge.server, "news") == [1, 2, 3]


async def test_a_batch_whose_asker_left_is_stored_and_its_answer_kept(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        batch = AppendBatch(edge.generation, edge.node, "b1", [body("news", data="once")])
        async with edge.server.peer() as peer:
            raw = msgspec.json.encode(batch)
            await peer.write(request("POST", PATH + "append", token=edge.token(), body=raw))
            await until(lambda: len(edge.owner.served.appending.batches))
        [result] = (await edge.append("b1", body("news", data="once"))).results
        assert [each.seq for each in result.stored] == [1]
        assert await seqs(edge.server, "news") == ["once"]


async def test_another_generation_stores_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        batch = AppendBatch("another", edge.node, "b1", [body("news")])
        assert (await edge.ask("append", batch)).status == 409
        assert "news" not in edge.server.hub.log.heads


async def test_one_that_cannot_be_taken_harms_no_other(tmp_path: Path) -> None:
    async with asking(tmp_path, publish_backlog=64 * 1024, max_publish_body=32 * 1024) as edge:
        results = (
            await edge.append("b1", body("news", data="x" * 70_000), body("news", data=2))
        ).results
        assert results[0].error is not None
        assert results[0].error.code == "too_large"
        assert [each.seq for each in results[1].stored] == [1]
        empty = body()
        answer = await edge.ask("append", AppendBatch(edge.generation, "n", "b2", [empty]))
        assert answer.status == 400
        assert (await edge.append("b3")).results == []
        bad, good = (await edge.append("b4", body("bad name\n"), body("news"))).results
        assert bad.error is not None
        assert bad.error.code == "bad_request"
        assert good.stored


async def test_a_log_that_stops_refuses_each(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        edge.server.hub.log.close()
        results = (await edge.append("b1", body("a"), body("b"))).results
        assert [each.error and each.error.code for each in results] == ["not_ready"] * 2
        assert [each.error and each.error.retry_after for each in results] == [1, 1]


async def test_who_writes_has_read_what_was_there(tmp_path: Path) -> None:
    """As for messages that are published here: and all of the user's devices hear of it."""
    async with asking(tmp_path) as edge:
        server = edge.server
        path = "/v1/ws?channels=news"
        async with (
            server.socket(path, token=server.token("ann")) as one,
            server.socket(path, token=server.token("ann")) as two,
        ):
            hello = await one.expect("hello")
            await two.expect("hello")
            before = edge.owner.journal.version
            own = Own("ann", "phone", hello["session"], (0,))
            await edge.append("b1", body("news", "other", user="ann", own=own))
            cursor = f"{server.hub.log.heads['news'].epoch}.1"
            assert (await two.expect("read"))["cursor"] == cursor
            assert (await two.expect("hint"))["channel"] == "news"
            assert (await one.expect("hint"))["channel"] == "news"  # no mark: it knows
            found = await answer_of(
                partial(server.hub.log.load_marks, "ann", None, ["news", "other"])
            )
            assert str(found["news"].read) == cursor
            assert found["other"].read is None
            feed = await edge.feed(before)
            assert feed.reads == [ReadMark("ann", "news", cursor, "phone", hello["session"])]


# Marks


async def test_marks_of_another_node(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        server, log = edge.server, edge.server.hub.log
        for number in range(3):
            await server.publish("news", number)
        epoch = log.heads["news"].epoch
        async with server.socket(token=server.token("ann")) as here:
            await here.expect("hello")
            marks = MarksBody(
                edge.generation,
                edge.node,
                [("ann", "phone", "news", f"{epoch}.2"), ("bob", "pc", "news", f"{epoch}.9")],
                [ReadMark("ann", "news", f"{epoch}.1", "phone")],
                ["ann"],
            )
            before = edge.owner.journal.version
            assert (await edge.ask("marks", marks)).status == 200
            assert (await here.expect("read"))["cursor"] == f"{epoch}.1"
            await until(lambda: edge.owner.journal.version > before)
        found = await answer_of(partial(log.load_marks, "ann", "phone", ["news", "all"]))
        assert (str(found["news"].delivered), str(found["news"].read)) == (
            f"{epoch}.2",
            f"{epoch}.1",
        )
        assert found["all"].since is not None
        beyond = await answer_of(partial(log.load_marks, "bob", "pc", ["news"]))
        assert beyond["news"].delivered is None  # of no message that there is
        assert (await edge.feed(before)).reads == marks.read


async def test_a_mark_below_the_recorded_one_is_told_to_nobody(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        for number in range(2):
            await edge.server.publish("news", number)
        epoch = edge.server.hub.log.heads["news"].epoch
        before = edge.owner.journal.version
        marks = [ReadMark("ann", "news", f"{epoch}.{seq}") for seq in (2, 1)]
        for mark in marks:
            body_ = MarksBody(edge.generation, edge.node, read=[mark])
            assert (await edge.ask("marks", body_)).status == 200
            loaded = LoadBody(edge.generation, edge.node, [("ann", None, ["news"])])
            await edge.answer("load", loaded, LoadResults)  # after what the mark looks up
        assert (await edge.feed(before)).reads == marks[:1]


async def test_a_mark_that_is_no_cursor_stores_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        await edge.server.publish("news")
        epoch = edge.server.hub.log.heads["news"].epoch
        marks = MarksBody(
            edge.generation,
            edge.node,
            [("ann", "phone", "news", f"{epoch}.1"), ("ann", "phone", "news", "41")],
        )
        assert (await edge.ask("marks", marks)).status == 400
        found = await answer_of(partial(edge.server.hub.log.load_marks, "ann", "phone", ["news"]))
        assert found["news"].delivered is None


async def test_marks_are_looked_up_for_many(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        server, log = edge.server, edge.server.hub.log
        await server.publish("news")
        await server.publish("group:team")
        await answer_of(partial(log.change_members, "team", ["ann"], []))
        news, team = log.heads["news"].epoch, log.heads["group:team"].epoch
        log.record_delivered("ann", "phone", "news", parse_cursor(f"{news}.1"))
        log.record_read("bob", "news", parse_cursor(f"{news}.1"))
        asked = LoadBody(
            edge.generation,
            edge.node,
            [
                ("ann", "phone", ["news", "group:team", "none"]),
                ("bob", None, ["news"]),
                ("cid", None, []),
            ],
        )
        answer = await edge.answer("load", asked, LoadResults)
        assert answer.found == [
            [
                MarksFound("news", f"{news}.1", None, None),
                MarksFound("group:team", None, None, f"{team}.1"),
                MarksFound("none", None, None, None),
            ],
            [MarksFound("news", None, f"{news}.1", None)],
            [],
        ]
        nothing = LoadBody(edge.generation, edge.node, [])
        assert (await edge.answer("load", nothing, LoadResults)).found == []
        many = LoadBody(edge.generation, edge.node, [("ann", None, ["c"] * 20_001)])
        assert (await edge.ask("load", many)).status == 413


# Waiting until somebody has it


async def waiting(edge: Asking, count: int = 1) -> None:
    await until(lambda: len(edge.server.hub.deliveries) == count)


async def test_a_publish_of_another_node_waits_for_a_device_here(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        server = edge.server
        stored = await server.publish("user:ann")
        cursor = f"{stored['epoch']}.{stored['seq']}"
        wanted = AwaitBody(edge.generation, edge.node, "ann", {"user:ann": cursor}, 60_000)
        answers: list[AwaitResult] = []

        async def ask() -> None:
            answers.append(await edge.answer("await", wanted, AwaitResult))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await waiting(edge)
            ack = {"cursors": {"user:ann": cursor}, "device": "phone"}
            token = server.token("ann")
            assert (await server.ask("POST", "/v1/ack", token=token, body=ack)).status == 204
        assert [each.delivered for each in answers] == [True]
        await waiting(edge, 0)
        await ask()  # it is there already
        assert answers[-1].delivered


async def test_it_waits_as_long_as_was_said_and_no_longer_than_its_asker(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        stored = await edge.server.publish("user:ann")
        cursor = f"{stored['epoch']}.{stored['seq']}"
        brief = AwaitBody(edge.generation, edge.node, "ann", {"user:ann": cursor}, 1)
        assert not (await edge.answer("await", brief, AwaitResult)).delivered
        long = AwaitBody(edge.generation, edge.node, "ann", {"user:ann": cursor}, 60_000)
        async with edge.server.peer() as peer:
            raw = msgspec.json.encode(long)
            await peer.write(request("POST", PATH + "await", token=edge.token(), body=raw))
            await waiting(edge)
        await waiting(edge, 0)
        assert edge.owner.served.awaiting.of(edge.node) == 0
