"""Reading back: caps, contiguity, and a bounded queue."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pushd.core.history import newest
from pushd.errors import Overloaded, PushdError
from pushd.log import Append, MissingMessages
from pushd.log.history import ReadBack
from pushd.log.reader import ReadMessages
from pushd.log.store import DATABASE, connect_reader
from tests.log.support import OPTIONS, answer, append, entry, opened, outcome, read

# Encoded sizes of the messages of the channel below: 100 of data each, a little more around.
COUNT = 12


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one channel of COUNT messages."""
    directory: Path = tmp_path_factory.mktemp("stored")

    async def fill() -> None:
        async with opened(directory) as log:
            await append(log, *(entry("news", "x" * 98) for _ in range(COUNT)))

    trio.run(fill)
    return directory


@given(
    after=st.integers(0, COUNT - 1),
    upto=st.integers(1, COUNT),
    limit=st.integers(1, COUNT + 2),
    max_bytes=st.integers(0, 2500),
)
def test_limits_are_kept_and_one_message_always_comes(
    stored: Path, after: int, upto: int, limit: int, max_bytes: int
) -> None:
    after, upto = min(after, upto - 1), max(after + 1, upto)
    with closing(connect_reader(stored)) as connection:

        def get(limit: int, max_bytes: int) -> list[bytes]:
            job = ReadMessages(1, "abcdefghi", after, upto, limit, max_bytes, print)
            return job.run(connection)

        everything = get(COUNT, 1 << 20)
        some = get(limit, max_bytes)
        back = ReadBack(1, "abcdefghi", after, upto, max_bytes, print).run(connection)
    assert len(everything) == upto - after
    assert back == newest(everything, max_bytes)
    assert some == everything[: len(some)]
    assert 1 <= len(some) <= limit
    size = sum(map(len, some))
    assert size <= max_bytes or len(some) == 1
    if len(some) < min(limit, len(everything)):
        assert size + len(everything[len(some)]) > max_bytes


async def test_a_read_does_not_fetch_what_it_will_not_send(tmp_path: Path) -> None:
    """Big rows beyond the cap are never read: at most one more than is returned."""
    async with opened(tmp_path) as log:
        await append(log, *(entry("news", "x" * 60_000) for _ in range(20)))
        head = log.heads["news"]
        with closing(connect_reader(tmp_path)) as connection:
            fetched: list[int] = []
            connection.row_factory = lambda _, row: fetched.append(row[0]) or row
            job = ReadMessages(head.channel_id, head.epoch, 0, 20, 1000, 130_000, print)
            assert len(job.run(connection)) == 2
        assert fetched == [1, 2, 3]


@pytest.mark.parametrize("lost", [1, 3, 5])
async def test_a_hole_is_an_error_and_never_silent(tmp_path: Path, lost: int) -> None:
    async with opened(tmp_path) as log:
        await append(log, *(entry("news") for _ in range(5)))
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection, connection:
        connection.execute("DELETE FROM messages WHERE seq = ?", (lost,))
    async with opened(tmp_path) as log:
        with pytest.raises(MissingMessages, match=f"Message {lost} "):
            await read(log, "news")
        head = log.heads["news"]
        # Backwards as well, as far as it goes.
        with pytest.raises(MissingMessages, match=f"Message {lost} "):
            await answer(lambda done: log.read_back(head, 0, 5, 1 << 20, done))
        newer = await answer(lambda done: log.read_back(head, lost, 5, 1 << 20, done))
        assert len(newer) == 5 - lost
        if lost > 1:
            before = await answer(
                lambda done: log.read_messages(head, 0, lost - 1, 10, 1 << 20, done)
            )
            assert len(before) == lost - 1


async def test_a_read_that_fails_is_an_answer_and_not_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, entry("news"))
        head = log.heads["news"]
        bad = await outcome(lambda done: log.read_messages(head, 0, 1 << 70, 10, 100, done))
        assert isinstance(bad, PushdError)
        assert bad.status == 500
        assert len(await read(log, "news")) == 1


async def test_reads_that_fail_do_not_flood_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr("pushd.log.reader.SILENCE_S", 3600.0)
    async with opened(tmp_path) as log:
        await append(log, entry("news"))
        head = log.heads["news"]

        async def fail() -> None:
            bad = await outcome(lambda done: log.read_messages(head, 0, 1 << 70, 10, 100, done))
            assert isinstance(bad, PushdError)

        for _ in range(5):
            await fail()
        assert log._engine is not None
        log._engine.reader._silent_until = 0.0
        await fail()
    assert [line["untold"] for line in logged if line["event"] == "read failed"] == [0, 4]


async def test_too_many_waiting_reads_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(OPTIONS, waiting_reads=3)) as log:
        await append(log, entry("news"))
        head = log.heads["news"]
        answers: list[object] = []
        for _ in range(5):
            log.read_messages(head, 0, 1, 10, 100, answers.append)
        while len(answers) < 5:
            await append(log, entry("other"))
        refused = [one for one in answers if isinstance(one, Overloaded)]
        assert [one.retry_after for one in refused] == [1, 1]
        assert len(await read(log, "news")) == 1
        assert log.statistics().waiting_reads == 0


async def test_a_reader_sees_what_was_acked(tmp_path: Path) -> None:
    """Every done callback reads its own message at once, while more is being written."""
    async with opened(tmp_path) as log:
        answers: list[object] = []

        def acked(result: object) -> None:
            head = log.heads["news"]
            [one] = result  # type: ignore[misc]
            log.read_messages(head, one.seq - 1, one.seq, 1, 1 << 20, answers.append)

        for number in range(300):
            log.submit(Append([entry("news", number)], "p", acked))
        while len(answers) < 300:
            await append(log, entry("other"))
        assert all(isinstance(one, list) and len(one) == 1 for one in answers)
