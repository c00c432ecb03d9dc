"""How a log ends: by cancelling, by an error, with a disk that hangs."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.positions import Cursor
from pushd.errors import CannotStart, StorageBroken
from pushd.log import Append, Log
from pushd.log.engine import Engine
from pushd.log.startup import open_log
from pushd.log.store import DATABASE, Store
from tests.log.support import OPTIONS, append, entry, first_of, marks, opened, shut


class Failing:
    """Makes a method of the store fail when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str, error: BaseException) -> None:
        self.calls_since = 0
        self.working = True
        real = getattr(Store, method)

        def call(store: Store, *arguments: Any) -> Any:
            if self.working:
                return real(store, *arguments)
            self.calls_since += 1
            raise error

        monkeypatch.setattr(Store, method, call)

    def break_down(self) -> None:
        self.working = False


@pytest.mark.parametrize("method", ["write", "find_channel", "find_ids"])
@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), ValueError("bug")])
async def test_an_error_that_nobody_expected_ends_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    """All that wait are told, once; what comes later is refused; run() raises the cause."""
    failing = Failing(monkeypatch, method, error)
    closed: list[Store] = []
    monkeypatch.setattr(Store, "close", lambda store: closed.append(store))
    answers: Counter[str] = Counter()
    log: Log

    def done(result: object) -> None:
        answers[type(result).__name__] += 1
        if isinstance(result, StorageBroken):
            # Submitted from a callback, as a publisher would that retries at once.
            with pytest.raises(StorageBroken):
                log.submit(Append([entry("news")], "p", done))
            answers["refused"] += 1

    async def serve() -> None:
        nonlocal log
        async with opened(tmp_path) as log:
            await append(log, entry("used", id="a"))
            failing.break_down()
            for number in range(2000):
                channel = f"c{number}" if method == "find_channel" else "used"
                log.submit(Append([entry(channel, id="b")], "p", done))
            await trio.sleep_forever()

    with pytest.raises(StorageBroken) as caught:
        await serve()
    assert caught.value.__cause__ is error
    assert answers == {"StorageBroken": 2000, "refused": 2000}
    assert failing.calls_since == 1
    # Closing would sync and checkpoint: never again on this disk.
    assert closed == []
    failing.working = True
    opened_again = open_log(tmp_path, OPTIONS)
    assert {name: head.seq for name, head in opened_again.heads.items()} == {"used": 1}
    monkeypatch.undo()
    shut(opened_again)


async def test_cancelling_closes_in_order(tmp_path: Path) -> None:
    """Shielded: what was submitted is stored, the marks are written, the lock is free."""
    log = Log(tmp_path, OPTIONS)
    answers: list[Any] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        await append(log, entry("news"))
        log.record_read("alice", "news", Cursor(log.heads["news"].epoch, 1))
        for _ in range(100):
            log.submit(Append([entry("news")], "p", answers.append))
        nursery.cancel_scope.cancel()
    assert [one[0].seq for one in answers] == list(range(2, 102))
    assert (tmp_path / f"{DATABASE}-wal").exists() is False
    async with opened(tmp_path) as log:
        assert log.heads["news"].seq == 101
        assert (await marks(log, "alice", None, "news"))["news"].read is not None


async def test_a_disk_that_hangs_does_not_keep_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is given up in time; the lock stays, as the thread may still write."""
    monkeypatch.setattr("pushd.log.engine.END_SECONDS", 0.05)
    hanging, go_on, given_up = threading.Event(), threading.Event(), threading.Event()
    real, join = Store.write, Engine._join

    def joined(engine: Engine) -> None:
        join(engine)
        given_up.set()

    def write(store: Store, rows: Any) -> int:
        hanging.set()
        go_on.wait()
        return real(store, rows)

    monkeypatch.setattr(Store, "write", write)
    monkeypatch.setattr(Engine, "_join", joined)
    log = Log(tmp_path, OPTIONS)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        log.submit(Append([entry("news")], "p", lambda _: None))
        await trio.to_thread.run_sync(hanging.wait)
        nursery.cancel_scope.cancel()
    try:
        with pytest.raises(CannotStart, match="in use by process"):
            open_log(tmp_path, OPTIONS)
    finally:
        # Or the thread that waits for the writer, late, would see it end after all, and close.
        await trio.to_thread.run_sync(given_up.wait)
        go_on.set()
        for thread in threading.enumerate():
            if thread.name.startswith("pushd log"):
                await trio.to_thread.run_sync(thread.join)
    engine = log._engine
    assert engine is not None
    engine._join()
    async with opened(tmp_path) as log:
        assert log.heads["news"].seq == 1


def test_the_group_of_errors_is_unpacked() -> None:
    inner = StorageBroken("x")
    assert first_of(ExceptionGroup("", [ExceptionGroup("", [inner])])) is inner
