"""What an administrator has removed is nowhere on the disk any more, soon afterwards."""

from __future__ import annotations

import re
import shutil
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pushd.core.namespaces import Retention
from pushd.log import Log, sweeper, wiper
from pushd.log.store import connect_reader
from tests.log.support import (
    OPTIONS,
    answer,
    append,
    delete,
    entry,
    idle,
    open_and_close,
    opened,
    redact,
    swept,
    trim,
)

CHANNELS = ["user:alice", "user:alice:work", "news", "brief"]
# Some in a page with others, some in pages of their own.
SIZES = [1, 10, 40, 200, 700, 2500]
PER_CHANNEL = 60


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pauses; and slices that end by their size only, so that each run does the same."""
    monkeypatch.setattr(wiper, "DELAY_S", 0.01)
    monkeypatch.setattr(sweeper, "PAUSE_S", 0.0)
    monkeypatch.setattr(sweeper, "BUDGET_S", 60.0)


def word(channel: str, number: int) -> str:
    return f"<{channel} said {number:03}>"


async def fill(log: Log) -> None:
    """All channels in turns; then retention cuts one of them, so that rows change their pages."""
    for number in range(1, PER_CHANNEL + 1):
        for channel in CHANNELS:
            await append(log, entry(channel, word(channel, number) * SIZES[number % len(SIZES)]))
    log.retention = lambda channel: Retention(None, 5 if channel == "brief" else None, None)
    await log._make_retention()._go_round(None)
    await swept(log)


def found(directory: Path) -> set[tuple[str, int]]:
    """Channel and number of every message of which anything can be read, in whatever file."""
    words: set[tuple[str, int]] = set()
    pattern = f"<({'|'.join(CHANNELS)}) said (\\d+)>".encode()
    for path in directory.iterdir():
        for channel, number in re.findall(pattern, path.read_bytes()):
            words.add((channel.decode(), int(number)))
    return words


def some(channel: str, first: int = 1) -> set[tuple[str, int]]:
    return {(channel, number) for number in range(first, PER_CHANNEL + 1)}


async def wiped(log: Log) -> None:
    await swept(log)
    engine = log._engine
    assert engine is not None
    while engine.writer._changer.wiper.due is not None:
        await idle(log)


async def erase(log: Log) -> None:
    await answer(lambda done: log.erase_user("alice", done))


async def redact_some(log: Log) -> None:
    for seq in range(7, 50, 3):
        await redact(log, "news", seq)


Remove = Callable[[Log], Awaitable[Any]]

# What is done; what has to be gone.
REMOVALS: dict[str, tuple[Remove, set[tuple[str, int]]]] = {
    "erase": (erase, some("user:alice") | some("user:alice:work")),
    "delete": (lambda log: delete(log, "news"), some("news")),
    "trim": (lambda log: trim(log, "news", 41), some("news") - some("news", 41)),
    "redact": (redact_some, {("news", seq) for seq in range(7, 50, 3)}),
}
KEPT = {
    channel: some(channel, PER_CHANNEL - 4 if channel == "brief" else 1) for channel in CHANNELS
}
ALL = set().union(*KEPT.values())


@pytest.mark.parametrize("case", REMOVALS)
async def test_nothing_of_it_can_be_read(tmp_path: Path, case: str, logged: list[Any]) -> None:
    remove, gone = REMOVALS[case]
    async with opened(tmp_path) as log:
        await fill(log)
        assert found(tmp_path) >= ALL
        await remove(log)
        await wiped(log)
        left = found(tmp_path)
        assert left & gone == set()
        assert left >= ALL - gone
        # What retention cut before has left the -wal with it.
        assert left == ALL - gone
    assert "what was removed is wiped from the disk" in [line["event"] for line in logged]


async def test_while_somebody_reads_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiper, "MOST_DELAY_S", 0.02)
    monkeypatch.setattr("pushd.log.checkpoint.RESTART_WAIT_MS", 1)
    async with opened(tmp_path) as log:
        await fill(log)
        with closing(connect_reader(tmp_path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM meta").fetchall()
            await delete(log, "news")
            await swept(log)
            before = log.statistics().checkpoints
            while log.statistics().checkpoints < before + 3:
                await idle(log)
            assert found(tmp_path) >= some("news")
        await wiped(log)
        assert not found(tmp_path) & some("news")


async def test_it_waits_until_all_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as log:
        await fill(log)
        await wiped(log)
        monkeypatch.setattr(sweeper, "PAUSE_S", 3600.0)
        monkeypatch.setattr(sweeper, "BUDGET_S", 0.0)
        monkeypatch.setattr(sweeper, "CHUNK", 5)
        await delete(log, "news")
        await idle(log)
        writer = log._engine.writer  # type: ignore[union-attr]
        looks = set()
        while len(looks) < 4 and None not in looks:
            looks.add(writer._changer.wiper.due)
            await idle(log)
        assert None not in looks
        assert found(tmp_path) & some("news")
        monkeypatch.setattr(sweeper, "PAUSE_S", 0.0)
        writer._sweeper.due = 0.0
        await wiped(log)
        assert not found(tmp_path) & some("news")


@pytest.mark.parametrize("when", ["before it is swept", "before it is wiped"])
async def test_killed_before_it_is_done_the_next_start_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async with opened(tmp_path / "log") as log:
        await fill(log)
        monkeypatch.setattr(wiper, "DELAY_S", 3600.0)
        if when == "before it is swept":
            monkeypatch.setattr(sweeper, "PAUSE_S", 3600.0)
            monkeypatch.setattr(sweeper, "BUDGET_S", 0.0)
        await delete(log, "news")
        if when == "before it is wiped":
            await swept(log)
        shutil.copytree(tmp_path / "log", tmp_path / "killed")
    monkeypatch.undo()
    monkeypatch.setattr(wiper, "DELAY_S", 0.01)
    assert found(tmp_path / "killed") & some("news")
    if when == "before it is wiped":
        open_and_close(tmp_path / "killed")
    else:
        async with opened(tmp_path / "killed", OPTIONS) as log:
            await wiped(log)
            assert found(tmp_path / "killed") & some("news") == set()
    assert found(tmp_path / "killed") & some("news") == set()


async def test_what_is_refused_wipes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await fill(log)
        await wiped(log)
        await idle(log)  # a deletion of a channel that is not there
        engine = log._engine
        assert engine is not None
        assert engine.writer._changer.wiper.due is None
