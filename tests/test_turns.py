"""Turns: one at a time, one in a round, and each user's line takes its turn."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
import trio.testing

from pushd.turns import Turns


class Rounds(trio.abc.Instrument):
    count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def test_one_at_a_time_and_one_in_a_round() -> None:
    turns, rounds = Turns(), Rounds()
    inside = 0
    at: Counter[int] = Counter()

    async def work(who: str) -> None:
        nonlocal inside
        for number in range(5):
            async with turns.of(who):
                inside += 1
                assert inside == 1
                at[rounds.count] += 1
                if number % 2:
                    await trio.lowlevel.checkpoint()
                inside -= 1

    trio.lowlevel.add_instrument(rounds)
    async with trio.open_nursery() as nursery:
        for who in "aabbbc":
            nursery.start_soon(work, who)
    assert at.total() == 30
    assert max(at.values()) == 1


async def test_lines_take_turns() -> None:
    turns = Turns()
    order = []

    async def work(who: str) -> None:
        async with turns.of(who):
            order.append(who)

    async with trio.open_nursery() as nursery, turns.of("first"):
        for who in "aaaabbc":
            nursery.start_soon(work, who)
            await trio.testing.wait_all_tasks_blocked()
    assert "".join(order) == "abcabaa"


@pytest.mark.parametrize("when", ["waiting", "called", "inside", "entering"])
async def test_who_is_cancelled_leaves_the_turn_to_others(when: str) -> None:
    turns = Turns()
    order = []

    async def work(who: str) -> None:
        async with turns.of(who):
            order.append(who)
            if when == "inside" and who == "cancelled":
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await work("cancelled")

        if when == "entering":
            scope.cancel()
            await cancelled()
            await work("other")
            return
        async with turns.of("first"):
            nursery.start_soon(cancelled)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(work, "other")
            await trio.testing.wait_all_tasks_blocked()
            if when == "waiting":
                scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
        if when == "inside":
            await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert order[-1] == "other"
    await work("last")
    assert not turns._busy
    assert not turns._lines
