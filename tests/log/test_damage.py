"""Damaged pages that the writer meets: told once, left alone, and everything else goes on."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.namespaces import Retention
from pushd.errors import PushdError, StorageBroken
from pushd.log import Log, retention, sweeper, wiper
from pushd.log.changes import Request
from pushd.log.crossing import Signal
from pushd.log.ledger import Ledger
from pushd.log.store import DATABASE, connect_reader
from tests.log.support import (
    answer,
    append,
    delete,
    entry,
    idle,
    on_disk,
    open_and_close,
    opened,
    outcome,
    read,
    redact,
    swept,
    trim,
)
from tests.log.vaults import rows
from tests.support.app import KEY, running_server

PAGE = 4096
COUNT = 30
# The one with the damaged page, and others around it.
BAD, GOOD = "bad", ["good:1", "good:2"]


async def fill(directory: Path) -> None:
    """A page for each message; those of one channel side by side, far from the others'."""
    async with opened(directory) as log:
        for channel in (GOOD[0], BAD, GOOD[1]):
            for number in range(1, COUNT + 1):
                await append(log, entry(channel, f"<{channel} {number:03}>" + "x" * 3000))


def spoil_message(directory: Path, number: int, channel: str = BAD) -> None:
    """The page that has it is no page any more."""
    content = (directory / DATABASE).read_bytes()
    page = content.index(f"<{channel} {number:03}>".encode()) // PAGE
    spoil(directory, page)


def spoil(directory: Path, page: int) -> None:
    with (directory / DATABASE).open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xee" * 16)


def root(directory: Path, name: str) -> int:
    """The first page of a table or index; with few rows its only one."""
    [(page,)] = rows(
        directory / DATABASE, f"SELECT rootpage FROM sqlite_master WHERE name='{name}'"
    )
    return int(page) - 1


def told(logged: list[Any]) -> list[tuple[str, str]]:
    errors = [line for line in logged if line["log_level"] == "error"]
    assert all("pushctl verify" in line["cure"] for line in errors)
    assert all("pushctl restore" in line["cure"] for line in errors)
    return [(line["event"].split()[0], line["of"]) for line in errors]


async def healthy(log: Log) -> None:
    """It can be published to and pulled from."""
    for channel in (BAD, *GOOD):
        [stored] = await append(log, entry(channel))
        assert len(await read(log, channel, after=stored.seq - 1)) == 1


async def test_a_sweep_that_meets_damage_leaves_that_channel(
    tmp_path: Path, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else waits is swept, and each start serves: before, it was the end of each."""
    monkeypatch.setattr(sweeper, "PAUSE_S", 0.0)
    monkeypatch.setattr(sweeper, "CHUNK", 4)
    monkeypatch.setattr(wiper, "DELAY_S", 0.01)
    await fill(tmp_path)
    spoil_message(tmp_path, 7)
    async with opened(tmp_path) as log:
        for channel in (BAD, *GOOD):
            await trim(log, channel, COUNT + 1)
        while log.statistics().garbage > 1:
            await idle(log)
        await healthy(log)
        # Cut further, it still waits for the next start.
        await trim(log, BAD, COUNT + 2)
        await wiped(log)
        assert (log.statistics().garbage, log.statistics().damaged) == (1, 1)
        assert log.heads[BAD].first == COUNT + 2
    assert told(logged) == [("sweeping", BAD)]
    assert any("wiped from the disk, but where it is damaged" in line["event"] for line in logged)
    assert {name for name, seq in channels_on_disk(tmp_path) if seq <= COUNT} == {BAD}
    logged.clear()
    async with opened(tmp_path) as log:
        while not log.statistics().damaged:
            await idle(log)
        await healthy(log)
        await delete(log, GOOD[0])
        while log.statistics().garbage > 1:
            await idle(log)
    assert told(logged) == [("sweeping", BAD)]


def channels_on_disk(directory: Path) -> list[tuple[str, int]]:
    """By the index, which is whole."""
    with closing(connect_reader(directory)) as connection:
        return connection.execute(
            "SELECT name, seq FROM channels AS c JOIN messages AS m ON m.log_id = c.log_id"
        ).fetchall()


async def wiped(log: Log) -> None:
    writer = log._engine.writer  # type: ignore[union-attr]
    await idle(log)
    while writer._changer.wiper.due is not None:
        await idle(log)


@pytest.mark.parametrize("bound", ["age", "number", "bytes"])
async def test_retention_that_meets_damage_leaves_that_channel(
    tmp_path: Path, logged: list[Any], monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    await fill(tmp_path)
    # The first one to keep, or one that is looked at to find it.
    also_bad = GOOD[1]
    for channel in (BAD, also_bad):
        spoil_message(tmp_path, 21 if bound == "number" else 7, channel)
    keep = {
        "age": Retention(10.0, None, None),
        "number": Retention(None, 10, None),
        "bytes": Retention(None, None, 20_000),
    }[bound]
    now = time.time() + 100 if bound == "age" else None
    async with opened(tmp_path) as log:
        log.retention = lambda channel: keep if log.heads[channel].seq >= COUNT else UNBOUNDED
        for _ in range(3):
            await log._make_retention()._go_round(now)
            assert log.heads[GOOD[0]].first > COUNT - 11
            assert log.heads[BAD].first == log.heads[also_bad].first == 1
        await healthy(log)
        assert log.statistics().damaged == 2
    assert sorted(told(logged)) == [("retention", BAD), ("retention", also_bad)]


UNBOUNDED = retention.UNBOUNDED


async def test_a_change_that_meets_damage_is_refused_alone(tmp_path: Path) -> None:
    """Those that share its commit are done."""
    await fill(tmp_path)
    spoil_message(tmp_path, 7)
    async with opened(tmp_path) as log:
        answers: list[Any] = []
        log.trim(GOOD[0], 7, answers.append)
        log.trim(BAD, 7, answers.append)
        log.redact(BAD, 7, answers.append)
        log.trim(GOOD[1], 7, answers.append)
        while len(answers) < 4:
            await idle(log)
        first, *refused, last = answers
        assert (first.first, last.first) == (7, 7)
        for refusal in refused:
            assert isinstance(refusal, StorageBroken)
            assert "pushctl verify" in refusal.cure
            assert "pushctl restore" in refusal.cure
        assert [log.heads[name].first for name in (BAD, *GOOD)] == [1, 7, 7]
        await swept(log)
        await healthy(log)
        # What lies on other pages can be changed.
        await redact(log, BAD, 20)
        await trim(log, BAD, 5)
        await delete(log, BAD)
        await append(log, entry(BAD))


class Unwritable(Request):
    def apply(self, _ledger: Ledger) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


async def test_a_disk_that_breaks_after_damage_answers_each_once(tmp_path: Path) -> None:
    await fill(tmp_path)
    spoil_message(tmp_path, 7)
    answers: list[tuple[int, Any]] = []

    async def change() -> None:
        async with opened(tmp_path) as log:
            log.trim(GOOD[0], 7, lambda answer: answers.append((1, answer)))
            log.trim(BAD, 7, lambda answer: answers.append((2, answer)))
            log._request(Unwritable(lambda answer: answers.append((3, answer))))
            log.trim(GOOD[1], 7, lambda answer: answers.append((4, answer)))
            await trio.sleep_forever()

    with pytest.raises(StorageBroken, match="disk I/O error"):
        await change()
    assert [number for number, _ in answers] == [1, 2, 3, 4]
    assert answers[0][1].first == 7
    assert ["damaged there" in str(answer) for _, answer in answers[1:]] == [True, False, False]


async def test_who_reads_a_damaged_page_is_told_what_to_do(tmp_path: Path) -> None:
    await fill(tmp_path)
    spoil_message(tmp_path, 7)
    async with opened(tmp_path) as log:
        with pytest.raises(StorageBroken) as caught:
            await read(log, BAD, after=5, limit=3)
        assert "pushctl restore" in caught.value.cure
        assert len(await read(log, BAD, after=8)) > 5
        await healthy(log)


async def test_damage_is_seen_in_the_metrics(tmp_path: Path) -> None:
    """The server is ready all the same: others are served."""
    await fill(tmp_path / "log")
    spoil_message(tmp_path / "log", 7)
    async with running_server(tmp_path, errors_expected=True) as server:
        answer = await server.ask("GET", f"/v1/channels/{BAD}/messages?after=0", token=KEY)
        assert (answer.status, answer.json["code"]) == (500, "internal")
        assert "pushctl restore" in answer.json["cure"]
        body = {"before": 7}
        refused = await server.ask("POST", f"/v1/channels/{BAD}/trim", token=KEY, body=body)
        assert (refused.status, refused.json["code"]) == (500, "internal")
        assert "pushctl restore" in refused.json["cure"]
        server.hub.log.delete(BAD, lambda _: None)
        while not server.hub.log.statistics().damaged:
            await idle(server.hub.log)
        assert (await server.ask("GET", "/readyz")).status == 200
        shown = (await server.ask("GET", "/metrics")).body
        assert b'pushd_errors_total{code="internal"} 2.0' in shown
        assert b"pushd_damaged_parts 1.0" in shown


async def test_a_publish_that_meets_damage_ends_the_log_with_the_right_cure(
    tmp_path: Path,
) -> None:
    await fill(tmp_path)
    with closing(
        sqlite3.connect(f"file:{tmp_path / DATABASE}?immutable=1", uri=True)
    ) as connection:
        (page,) = connection.execute(
            "SELECT max(pageno) FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf'"
        ).fetchone()
    spoil(tmp_path, page - 1)
    refused: list[PushdError] = []

    async def publish_twice() -> None:
        async with opened(tmp_path) as log:
            for data in ("x" * 3000, "after that"):
                with pytest.raises(StorageBroken) as told:
                    await append(log, entry("other", data))
                refused.append(told.value)

    with pytest.raises(StorageBroken) as caught:
        await publish_twice()
    for error in (caught.value, *refused):
        assert error.detail.startswith("The log is damaged (SQLITE_CORRUPT")
        assert "pushctl verify" in error.cure
        assert "pushctl restore" in error.cure


async def test_upkeep_that_meets_damage_leaves_that_table(
    tmp_path: Path, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PAUSE_S", 0.0)
    async with opened(tmp_path) as log:
        await append(log, entry("news"))
        until = time.time() + 3600
        for number in range(3):
            await answer(lambda done, n=number: log.revoke("jti", f"{n}", until, done))
    open_and_close(tmp_path)
    spoil(tmp_path, root(tmp_path, "devices_by_day"))
    real = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: real() + int(7200 * 1e9))
    async with opened(tmp_path) as log:
        for _ in range(3):
            log._put(Signal.TIDY)
            await idle(log)
            await idle(log)
        while log.revocations:
            await idle(log)
        await append(log, entry("news"))
        await outcome(lambda done: log.trim("news", 2, done))
        await swept(log)
        assert on_disk(tmp_path, "news") == [2]
    assert told(logged) == [("tidying", "drop_devices")]
