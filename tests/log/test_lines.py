"""One user's appends in line: in their order, so much at a time, and nobody else waits for all."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pushd.errors import Overloaded, PushdError
from pushd.log import Append, Stored
from pushd.log.lines import MOST, ROW, SHARE, Lines
from pushd.log.requests import MIB
from tests.log.support import OPTIONS, entry, opened

Result = list[Stored] | PushdError


def made(publisher: str, rows: int, size: int = 0) -> Append:
    return Append([entry("news", "x" * size) for _ in range(rows)], publisher, lambda _: None)


def cost(append: Append) -> int:
    return append.size + ROW * len(append.entries)


steps = st.one_of(
    st.tuples(
        st.sampled_from(["user:a", "user:b", "service"]),
        st.sampled_from([1, 10, 700, 1500, 2500]),
        st.integers(0, 100),
    ),
    st.just("stored"),
)


@given(st.lists(steps, max_size=30))
def test_order_and_bounds(script: list[tuple[str, int, int] | str]) -> None:
    queue: deque[Append] = deque()
    lines = Lines(queue.append)
    added: dict[str, list[Append]] = {}
    stored: dict[str, list[Append]] = {}

    def store() -> None:
        append = queue.popleft()
        stored.setdefault(append.publisher, []).append(append)
        lines.stored(append)

    def check() -> None:
        queued: Counter[str] = Counter()
        for append in queue:
            queued[append.publisher] += cost(append)
        for user in ("user:a", "user:b"):
            alone = [append for append in queue if append.publisher == user]
            assert queued[user] <= MOST or len(alone) == 1
            waits = len(added.get(user, [])) - len(stored.get(user, [])) - len(alone)
            assert not waits or alone, "who waits has something under way"

    for step in script:
        if not isinstance(step, str):
            append = made(*step)
            added.setdefault(append.publisher, []).append(append)
            lines.add(append)
        elif queue:
            store()
        check()
    while queue:
        store()
    assert stored == added
    assert not lines._lines


def test_the_share_of_a_user() -> None:
    lines = Lines(lambda _: None)
    backlog = SHARE * MIB
    lines.admit("user:a", backlog, backlog)  # who has nothing there may have all
    append = made("user:a", 1, MIB - 1000)
    lines.add(append)
    lines.admit("user:a", 500, backlog)
    for size in (2000, backlog):
        with pytest.raises(Overloaded):
            lines.admit("user:a", size, backlog)
    lines.admit("user:b", 2000, backlog)
    lines.stored(append)
    lines.admit("user:a", 2000, backlog)
    service = made("service", 1, MIB)
    lines.add(service)
    lines.add(service)
    lines.admit("service", backlog, backlog)


async def test_others_do_not_wait_for_all_of_one_user(tmp_path: Path) -> None:
    """Each of these takes the writer a commit: another one comes long before all of them."""
    order: list[str] = []

    def told(name: str) -> Callable[[Result], None]:
        def tell(result: Result) -> None:
            assert isinstance(result, list), result
            order.append(name)

        return tell

    greedy = [f"greedy {number}" for number in range(30)]
    async with opened(tmp_path, OPTIONS) as log:
        for name in greedy:
            entries = [entry("news", at) for at in range(1000)]
            log.submit(Append(entries, "user:greedy", told(name)))
        log.submit(Append([entry("other")], "user:other", told("other")))
        while len(order) < 31:
            await trio.lowlevel.checkpoint()
        assert log.heads["news"].seq == 30_000
    assert order.index("other") <= 2
    assert [name for name in order if name != "other"] == greedy


async def test_what_stands_in_line_is_stored_at_the_end(tmp_path: Path) -> None:
    results: list[Result] = []
    async with opened(tmp_path, OPTIONS) as log:
        for _ in range(10):
            entries = [entry("news", at) for at in range(1500)]
            log.submit(Append(entries, "user:greedy", results.append))
        log.close()
        while len(results) < 10:
            await trio.lowlevel.checkpoint()
    assert all(isinstance(each, list) for each in results)
    async with opened(tmp_path, OPTIONS) as log:
        assert log.heads["news"].seq == 15_000
