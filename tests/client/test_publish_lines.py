"""Many messages in one request: a result for each line, whatever is cut."""

from __future__ import annotations

import itertools
from typing import Any

import httpx
import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from pushd.client import BadAnswer, LineResult, Unreachable
from pushd.errors import Conflict
from tests.client.stores import LineStore, client_of


def numbered(count: int) -> list[tuple[str, dict[str, Any]]]:
    return [(f"c{number % 2}", {"data": number, "id": f"i{number}"}) for number in range(count)]


async def results_of(store: LineStore, count: int, batch: int) -> list[LineResult]:
    async with client_of(store) as client:
        return [result async for result in client.publish_lines(numbered(count), batch=batch)]


async def test_lines_go_in_batches_and_come_back_in_order() -> None:
    store = LineStore()
    results = await results_of(store, 7, 3)
    assert [len(request.content.splitlines()) for _, request in store.requests] == [3, 3, 1]
    assert [result.line for result in results] == list(range(7))
    assert [result.channel for result in results] == [f"c{n % 2}" for n in range(7)]
    assert [result.published and result.published.id for result in results] == [
        f"i{n}" for n in range(7)
    ]


@settings(max_examples=150, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 900), max_size=4),
    busy=st.sets(st.integers(1, 8)),
    count=st.integers(1, 12),
    batch=st.integers(1, 8),
)
def test_every_line_once_whatever_is_cut(
    cuts: list[int], busy: set[int], count: int, batch: int
) -> None:
    store = LineStore(cuts, busy)
    results = trio.run(results_of, store, count, batch, clock=MockClock(autojump_threshold=0))
    assert [result.line for result in results] == list(range(count))
    assert all(result.published is not None for result in results)
    assert {identity for _, identity in store.messages} == {f"i{n}" for n in range(count)}
    # The seq that a line was given is the one of its own message.
    for result in results:
        assert result.published is not None
        order = list(store.messages)
        assert order[result.published.seq - 1] == (result.channel, f"i{result.line}")


async def test_only_lines_without_a_result_are_sent_again(autojump_clock: MockClock) -> None:
    store = LineStore(busy={2})
    results = await results_of(store, 4, 4)
    again = [msgspec.json.decode(line)["id"] for line in store.requests[1][1].content.splitlines()]
    assert again == ["i1"]
    assert [result.line for result in results] == [0, 1, 2, 3]


async def test_a_refused_line_is_a_result(autojump_clock: MockClock) -> None:
    store = LineStore()
    store.refused["i1"] = "conflict"
    results = await results_of(store, 3, 3)
    assert isinstance(results[1].error, Conflict)
    assert results[1].published is None
    assert [result.error for result in results[::2]] == [None, None]
    assert len(store.requests) == 1


async def test_a_stop_without_progress_gives_up(autojump_clock: MockClock) -> None:
    store = LineStore(cuts=[0] * 1000)
    with pytest.raises(Unreachable):
        await results_of(store, 3, 3)
    assert trio.current_time() == pytest.approx(30)


async def test_as_long_as_it_goes_forward_nobody_gives_up(autojump_clock: MockClock) -> None:
    """One line at a time, and far longer in all than patience without progress."""
    store = LineStore(cuts=[120] * 60)
    async with client_of(store, give_up_s=3.0, base_s=1.0, cap_s=1.0) as client:
        results = [result async for result in client.publish_lines(numbered(60))]
    assert all(result.published for result in results)
    assert len(store.requests) == 60
    assert trio.current_time() > 10


async def test_an_empty_answer_that_ends_well_is_no_result(autojump_clock: MockClock) -> None:
    def short(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"")

    async with client_of(short) as client:
        with pytest.raises(Unreachable, match="too early"):
            async for _ in client.publish_lines(numbered(2)):
                pass


@pytest.mark.parametrize("line", [0, 4, -1])
async def test_a_result_for_a_line_never_sent_is_refused(line: int) -> None:
    def wrong(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"line": line, "channel": "c0"})

    async with client_of(wrong) as client:
        with pytest.raises(BadAnswer, match="not sent"):
            async for _ in client.publish_lines(numbered(3)):
                pass


async def test_lines_without_an_id_get_one_for_all_attempts(autojump_clock: MockClock) -> None:
    store = LineStore(cuts=[0])
    async with client_of(store) as client:
        results = [r async for r in client.publish_lines([("a", {"data": 1}), ("a", {"data": 2})])]
    first, second = (
        [msgspec.json.decode(line)["id"] for line in request.content.splitlines()]
        for _, request in store.requests
    )
    assert first == second
    assert len({*first}) == len(results) == 2


async def test_big_lines_make_small_batches() -> None:
    store = LineStore()
    lines = [("a", {"data": "x" * 60_000, "id": str(n)}) for n in range(200)]
    async with client_of(store) as client:
        count = sum([1 async for _ in client.publish_lines(lines, batch=1000)])
    assert count == 200
    assert all(len(request.content) <= 4 << 20 for _, request in store.requests)
    assert len(store.requests) == 3


async def test_the_iterable_is_read_no_further_than_needed() -> None:
    store = LineStore()
    drawn = itertools.count()
    async with client_of(store) as client:
        endless = (("a", {"data": n, "id": str(n)}) for n in drawn)
        async for result in client.publish_lines(endless, batch=5):
            if result.line == 6:
                break
    assert next(drawn) <= 12
