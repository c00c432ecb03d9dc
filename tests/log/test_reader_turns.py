"""The reader's turns: what is asked again and again keeps nobody else waiting, nor the loop."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.log import reader as module
from pushd.log.reader import AHEAD, Reader, Turns

MIB = 1 << 20


class Job:
    """Reads nothing; ``log_id`` None: of no channel."""

    def __init__(self, log_id: int | None = None, size: int = 1, number: int = 0) -> None:
        if log_id is not None:
            self.log_id = log_id
        self.number = number
        self.size = size
        self.done: Any = None  # nobody is told

    def run(self, connection: sqlite3.Connection) -> list[bytes]:
        return [b"x" * self.size]


class Other(Job):
    """Another kind of what is of no channel."""


def test_kinds_take_turns() -> None:
    turns = Turns()
    jobs = [Other(), Other(), Other(), Job()]
    for job in jobs:
        turns.add(job)
    assert [turns.next() for _ in jobs] == [jobs[0], jobs[3], jobs[1], jobs[2]]


@given(st.lists(st.one_of(st.sampled_from([None, 1, 2, 3]), st.just("next")), max_size=60))
def test_lines_take_turns_and_keep_their_order(steps: list[Any]) -> None:
    turns = Turns()
    waiting: list[Job] = []
    passed: dict[int, int] = {}  # how many went before a job that was the first of its line

    def line_of(job: Job) -> int:
        return getattr(job, "log_id", 0)

    for number, step in enumerate([*steps, *["next"] * 60]):
        if step != "next":
            job = Job(step, number=number)
            turns.add(job)
            waiting.append(job)
            continue
        got = turns.next()
        assert bool(turns) == (len(waiting) > 1)
        if got is None:
            assert not waiting
            continue
        assert isinstance(got, Job)
        firsts = {line_of(job): job for job in reversed(waiting)}
        assert firsts[line_of(got)] is got
        waiting.remove(got)
        passed.pop(got.number, None)
        for job in firsts.values():
            if job is not got:
                passed[job.number] = passed.get(job.number, 0) + 1
                assert passed[job.number] <= 3, "each of the other lines once, at most"
    assert not waiting


@pytest.fixture
def running(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Reader, threading.Thread, list[Any]]]:
    """A reader on its thread, and what it has handed to a loop that does not come round."""
    monkeypatch.setattr(module, "_LOOP_S", 60.0)
    posted: list[Any] = []
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        reader = Reader(connection, posted.append)
        thread = threading.Thread(target=reader.run, daemon=True)
        yield reader, thread, posted
        for _ in range(100):
            reader.ahead.release()
        thread.join(60)
        assert not thread.is_alive()


def test_it_does_not_run_ahead_of_the_loop(
    running: tuple[Reader, threading.Thread, list[Any]],
) -> None:
    """Else the loop would find answer upon answer, each of a mebibyte, and do them in one turn."""
    reader, thread, posted = running
    for _ in range(AHEAD + 2):
        reader.queue.put(Job(1, MIB))
    reader.queue.put(None)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert len(posted) <= AHEAD
    reader.ahead.release()
    reader.ahead.release()
    thread.join(60)
    assert [len(answers) for answers in posted] == [1] * (AHEAD + 2)


def test_small_answers_are_handed_over_together(
    running: tuple[Reader, threading.Thread, list[Any]],
) -> None:
    reader, thread, posted = running
    jobs = [Job(number % 7) for number in range(20)]
    for job in jobs:
        reader.queue.put(job)
    reader.queue.put(None)
    thread.start()
    thread.join(60)
    [answers] = posted
    assert len(answers) == len(jobs)
