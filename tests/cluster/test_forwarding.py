"""Publishes of an edge on their way: batches, lost answers, other owners, refusals, marks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
import trio

from pushd.answers import answer_of
from pushd.cluster.bus.texts import OwnerRecord
from pushd.cluster.edge import forwarding
from pushd.cluster.edge.edgelog import EdgeLog
from pushd.cluster.edge.upstream import Upstream
from pushd.core.messages import Draft
from pushd.core.positions import Cursor
from pushd.errors import Conflict, NotReady, Overloaded, OwnerAway, PushdError
from pushd.log import Append, Entry, LogOptions, Marks, Stored
from pushd.nodetokens import NodeTokens
from tests.support.app import until
from tests.support.fakeowner import GENERATION, FakeOwner, Lost, fake_owner

Answer = Callable[[str, Any], Awaitable[tuple[int, object]]]


class World(NamedTuple):
    owner: FakeOwner
    log: EdgeLog
    done: list[tuple[str, list[Stored] | PushdError]]

    def publish(self, data: str, *, id_: str | None = None, publisher: str = "user:ann") -> None:
        draft = Draft(f'"{data}"'.encode(), id=id_)
        self.log.submit(
            Append(
                [Entry("news", draft)], publisher, lambda result: self.done.append((data, result))
            )
        )

    @property
    def batches(self) -> list[Any]:
        return [body for path, body in self.owner.requests if path.endswith("append")]


@asynccontextmanager
async def world(answer: Answer, **options: Any) -> AsyncIterator[World]:
    async with fake_owner(answer) as owner, trio.open_nursery() as nursery:
        tokens = NodeTokens(b"the key of this test", "edge")
        log = EdgeLog(Upstream("edge", tokens), LogOptions(**options))
        log.upstream.turn_to(owner.record())
        await nursery.start(log.run)
        log.upstream.reached = trio.current_time()
        yield World(owner, log, [])
        log.close()
        nursery.cancel_scope.cancel()


class Storing:
    """A log that knows batches: ``fail`` says what becomes of each request."""

    def __init__(self, *fail: str) -> None:
        self.fail = list(fail)
        self.stored: list[Any] = []
        self.known: dict[str, object] = {}
        self.generation = GENERATION

    async def __call__(self, path: str, body: Any) -> tuple[int, object]:
        fail = self.fail.pop(0) if self.fail else "none"
        if fail == "before":
            raise Lost
        if body["generation"] != self.generation:
            return 409, {"code": "conflict", "detail": "x", "generation": self.generation}
        if body["batch"] not in self.known:
            self.known[body["batch"]] = self._store(body)
        if fail == "after":
            raise Lost
        return 200, self.known[body["batch"]]

    def _store(self, body: Any) -> object:
        results = []
        for append in body["appends"]:
            [entry] = append["entries"]
            self.stored.append(entry["data"])
            seq = len(self.stored)
            results.append(
                {"stored": [["news", "000000001", seq, f"000000001.{seq}", 5, False, True]]}
            )
        return {"generation": self.generation, "results": results}


async def test_what_comes_meanwhile_goes_together() -> None:
    gate = trio.Event()
    storing = Storing()

    async def answer(path: str, body: Any) -> tuple[int, object]:
        await gate.wait()
        return await storing(path, body)

    async with world(answer) as there:
        there.publish("0")
        await until(lambda: there.batches)
        for number in range(1, 100):
            there.publish(str(number))
        gate.set()
        await until(lambda: len(there.done) == 100)
        assert storing.stored == [str(number) for number in range(100)]
        assert len(there.batches) == 2
        assert [stored[0].seq for _, stored in there.done if isinstance(stored, list)] == list(
            range(1, 101)
        )


@pytest.mark.parametrize("fail", [["before"], ["after"], ["after", "before", "after"]])
async def test_a_lost_answer_is_asked_for_again(fail: list[str]) -> None:
    storing = Storing(*fail)
    async with world(storing) as there:
        there.publish("one")
        await until(lambda: there.done)
        [(_, result)] = there.done
        assert isinstance(result, list), result
        assert storing.stored == ["one"]
        assert len({body["batch"] for body in there.batches}) == 1


async def test_another_owner_gets_only_what_an_id_tells_again() -> None:
    storing = Storing()
    held = trio.Event()

    async def answer(path: str, body: Any) -> tuple[int, object]:
        if not held.is_set():
            storing.generation = "g2"
            held.set()
            raise Lost  # whether it was stored is unknown
        return await storing(path, body)

    async with world(answer) as there:
        there.publish("plain", publisher="user:ann")
        there.publish("named", id_="n", publisher="user:ann")
        await held.wait()
        there.log.upstream.turn_to(there.owner.record("g2"))
        await until(lambda: len(there.done) == 2)
        results = dict(there.done)
        assert isinstance(results["plain"], OwnerAway)
        assert "may have been stored" in results["plain"].detail
        assert isinstance(results["named"], list)
        assert storing.stored == ["named"]


async def test_an_owner_that_has_begun_anew_may_have_stored_it_before() -> None:
    """It stores, and dies before its answer is out; the same request then reaches its successor,
    which refuses it: that says nothing of the first time."""
    storing = Storing()
    asked = 0

    async def answer(path: str, body: Any) -> tuple[int, object]:
        nonlocal asked
        if not path.endswith("append"):
            return 200, {"generation": storing.generation, "found": []}
        asked += 1
        if asked != 2:
            return await storing(path, body)
        await storing(path, body)
        storing.generation = "g2"
        raise Lost

    async with world(answer) as there:
        there.log.upstream.on_lost = lambda generation: (
            there.log.upstream.turn_to(there.owner.record(generation)) if generation else None
        )
        there.publish("first")  # from now on there is a kept connection
        await until(lambda: there.done)
        there.publish("second")
        await until(lambda: len(there.done) == 2)
        result = dict(there.done)["second"]
        assert isinstance(result, OwnerAway)
        assert "may have been stored" in result.detail
        assert storing.stored == ["first", "second"]


async def test_an_owner_that_is_gone_may_have_stored_it_before() -> None:
    """It stores, dies before its answer is out, and nobody listens there any more."""
    storing, following = Storing(), Storing()
    following.generation = "g2"
    asked = 0

    async def answer(path: str, body: Any) -> tuple[int, object]:
        nonlocal asked
        asked += 1
        found = await storing(path, body)
        if asked == 2:
            there.owner.listening.cancel()
            raise Lost
        return found

    async with fake_owner(following) as successor, world(answer) as there:
        there.publish("first")  # from now on there is a kept connection
        await until(lambda: there.done)
        there.publish("second")
        await until(lambda: there.owner.listening.cancelled_caught)
        there.log.upstream.turn_to(successor.record("g2"))
        await until(lambda: len(there.done) == 2)
        result = dict(there.done)["second"]
        assert isinstance(result, OwnerAway)
        assert "may have been stored" in result.detail
        assert (storing.stored, following.stored) == (["first", "second"], [])


async def test_nothing_is_said_to_be_unknown_that_was_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "PATIENCE_S", 0.3)
    async with world(Storing()) as there:
        record = there.owner.record("g2")
        record.url = "http://127.0.0.1:1"  # nobody listens there
        there.log.upstream.turn_to(record)
        there.publish("one")
        await until(lambda: there.done)
        [(_, result)] = there.done
        assert isinstance(result, OwnerAway)
        assert result.retry_after
        assert "nothing of this was stored" in result.detail


async def test_refusals_are_raised_as_they_were_there() -> None:
    async def answer(path: str, body: Any) -> tuple[int, object]:
        errors: list[object] = [
            {"code": "conflict", "status": 409, "detail": "d", "cure": "c", "extra": {"a": 1}},
            {"code": "overloaded", "status": 503, "detail": "d", "retry_after": 7},
            {"code": "nobody_knows", "status": 418, "detail": "d"},
        ]
        results = [{"error": errors[int(each["entries"][0]["data"])]} for each in body["appends"]]
        return 200, {"generation": GENERATION, "results": results}

    async with world(answer) as there:
        for number in range(3):
            there.publish(str(number))
        await until(lambda: len(there.done) == 3)
        conflict, overloaded, other = (dict(there.done)[str(number)] for number in range(3))
        assert type(conflict) is Conflict
        assert (conflict.detail, conflict.cure, conflict.extra) == ("d", "c", {"a": 1})
        assert type(overloaded) is Overloaded
        assert overloaded.retry_after == 7
        assert isinstance(other, PushdError)
        assert (other.code, other.status) == ("bad_request", 400)


async def test_without_an_owner_for_long_publishes_are_refused_at_once() -> None:
    async with world(Storing()) as there:
        there.log.upstream.reached -= 5
        with pytest.raises(OwnerAway):
            there.publish("one")
        there.log.upstream.reached = trio.current_time()
        there.publish("two")
        await until(lambda: there.done)
        assert there.batches[0]["appends"][0]["entries"][0]["data"] == "two"


async def test_more_than_the_backlog_takes_is_refused() -> None:
    gate = trio.Event()

    async def answer(path: str, body: Any) -> tuple[int, object]:
        await gate.wait()
        return await storing(path, body)

    storing = Storing()
    async with world(answer, backlog_bytes=1000) as there:
        for number in range(100):
            try:
                there.publish(str(number), publisher="service")
            except Overloaded:
                break
        else:
            pytest.fail("no bound")
        gate.set()
        await until(lambda: len(there.done) == number)
        there.publish("again", publisher="service")  # there is room again


async def test_marks_are_sent_together_and_known_at_once() -> None:
    got: list[Any] = []

    async def answer(path: str, body: Any) -> tuple[int, object]:
        if path.endswith("load"):
            found = [[[name, None, None, None] for name in asked[2]] for asked in body["asked"]]
            return 200, {"generation": GENERATION, "found": found}
        got.append(body)
        if len(got) == 1:
            raise Lost
        return 200, {"generation": GENERATION}

    async with world(answer) as there:
        log = there.log
        for seq in (3, 9, 5):
            log.record_delivered("ann", "phone", "news", Cursor("000000001", seq))
        log.record_read("ann", "news", Cursor("000000001", 4), "phone", "s1")
        log.record_seen("ann")
        loaded = await answer_of(partial(log.load_marks, "ann", "phone", ["news"]))
        assert loaded == {"news": Marks(Cursor("000000001", 9), Cursor("000000001", 4), None)}
        await until(lambda: len(got) == 2)
        assert got[1]["delivered"] == [["ann", "phone", "news", "000000001.9"]]
        assert got[1]["read"] == [["ann", "news", "000000001.4", "phone", "s1"]]
        assert got[1]["seen"] == ["ann"]
        await until(lambda: not log.statistics().dirty_marks)


async def test_one_connection_serves_many_and_a_lost_one_is_replaced() -> None:
    storing = Storing()
    async with world(storing) as there:
        for number in range(5):
            there.publish(str(number))
            await until(lambda count=number + 1: len(there.done) == count)
        assert there.owner.connections == 1
        storing.fail = ["before"]
        there.publish("5")
        await until(lambda: len(there.done) == 6)
        assert there.owner.connections == 2


async def test_who_waits_at_the_end_is_told() -> None:
    async def never(path: str, body: Any) -> tuple[int, object]:
        await trio.sleep_forever()
        raise Lost

    async with world(never) as there:
        there.publish("one")
        await until(lambda: there.batches)
        marks: list[object] = []
        there.log.load_marks("ann", None, ["news"], marks.append)
    assert [type(result) for _, result in there.done] == [OwnerAway]
    assert isinstance(marks[0], NotReady)


def test_a_lower_generation_is_never_followed_again() -> None:
    upstream = Upstream("edge", NodeTokens(b"the key of this test", "edge"))
    url = "http://127.0.0.1:1"
    told = [
        (generation, upstream.turn_to(OwnerRecord("owner", url, generation, 0.0)))
        for generation in ("g2", "g1", "g2", "g3", "g2")
    ]
    assert told == [("g2", True), ("g1", False), ("g2", False), ("g3", True), ("g2", False)]
    assert upstream.generation == "g3"
    # The same life, at another address.
    assert upstream.turn_to(OwnerRecord("owner", "http://127.0.0.1:2", "g3", 0.0))
