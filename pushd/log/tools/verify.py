"""Says whether a log is whole: a backup, or a directory, served or not. Changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pushd.log import walcheck
from pushd.log.lock import read_holder
from pushd.log.store import DATABASE
from pushd.log.tools import checks, content, marker
from pushd.log.tools.copying import Progress
from pushd.log.tools.form import number
from pushd.log.tools.source import Kind, Source, explained, opened

MOST_PROBLEMS: Final = 100
GROUPS: Final = "0002_groups"  # the migration that made the tables


@dataclass(slots=True)
class Report:
    """``problems``: at most ``MOST_PROBLEMS`` texts; ``more``: how many there are beyond."""

    path: str
    kind: str
    format: str
    pending: list[str]
    bytes: int
    channels: int = 0
    deleted_channels: int = 0
    messages: int = 0
    waiting_to_be_swept: int = 0
    ids: int = 0
    delivered_marks: int = 0
    read_marks: int = 0
    revocations: int = 0
    groups: int = 0
    members: int = 0
    newest_at: int = 0
    made_at: int | None = None
    made_on: str | None = None
    seal: str | None = None
    quick: bool = False
    problems: list[str] = field(default_factory=list)
    more: int = 0

    @property
    def is_sound(self) -> bool:
        """Nothing wrong was found."""
        return not self.problems

    def say(self, problem: str) -> None:
        """Something is wrong."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more += 1


def verify(path: Path, progress: Progress, *, quick: bool = False) -> Report:
    """Raises NotALog when it cannot even be opened."""
    with opened(path) as source:
        return verify_source(source, progress, quick=quick)


def verify_source(source: Source, progress: Progress, *, quick: bool = False) -> Report:
    """``quick`` leaves out the indexes and what stands in the messages."""
    connection = source.connection
    form = source.form
    kind = source.kind.value
    report = Report(str(source.path), kind, form.format, list(form.pending), source.size)
    report.quick = quick
    try:
        # SQLite does not tell how far it is, and this may take minutes.
        progress("pages checked", 0, number(connection, "PRAGMA page_count"))
        _check_wal(source, report)
        checks.of_sqlite(connection, report.say, quick=quick)
        if form.applied:
            _check(source, report, progress)
    except sqlite3.DatabaseError as error:
        # Damaged so much that it cannot be read on.
        report.say(explained(source.path, error).detail)
    return report


def _check_wal(source: Source, report: Report) -> None:
    directory = source.path if source.path.is_dir() else source.path.parent
    wal = directory / f"{DATABASE}-wal"
    if source.kind is Kind.STOPPED and walcheck.is_gone(wal, read_holder(directory)):
        report.say(f"{wal} is gone: the last server was killed, and wrote its newest commits there")


def _check(source: Source, report: Report, progress: Progress) -> None:
    connection = source.connection
    _count(connection, report)
    checks.of_channels(connection, report.say, _part(progress, "channels", report.channels))
    checks.of_orphans(connection, report.say)
    checks.of_marks(connection, report.say)
    if GROUPS not in source.form.pending:
        checks.of_members(connection, report.say)
        _count_members(connection, report)
    mark = marker.read(connection)
    if mark is not None:
        report.made_at, report.made_on = mark.at, mark.host
    if report.quick:
        return
    found = content.read(connection, _part(progress, "messages", report.messages))
    report.seal, report.newest_at = found.seal, found.newest_at
    checks.of_content(connection, found, report.say)
    checks.of_ids(connection, report.say, _part(progress, "ids", report.ids))
    if mark is not None and source.kind is Kind.FILE and mark.seal not in ("", found.seal):
        report.say("the messages are not those that were backed up: the file has changed since")


def _count(connection: sqlite3.Connection, report: Report) -> None:
    count = partial(number, connection)
    report.channels = count("SELECT count(*) FROM channels WHERE epoch IS NOT NULL")
    report.deleted_channels = count("SELECT count(*) FROM channels WHERE epoch IS NULL")
    report.messages = count("SELECT coalesce(sum(head - first + 1), 0) FROM channels")
    report.waiting_to_be_swept = count("SELECT count(*) FROM garbage")
    report.ids = count("SELECT count(*) FROM idempotency")
    report.delivered_marks = count("SELECT count(*) FROM cursors")
    report.read_marks = count("SELECT count(*) FROM reads")
    report.revocations = count("SELECT count(*) FROM revocations")
    report.newest_at = count("SELECT max(last_at) FROM channels")


def _count_members(connection: sqlite3.Connection, report: Report) -> None:
    report.groups = number(connection, "SELECT count(*) FROM groups WHERE name IS NOT NULL")
    report.members = number(
        connection,
        "SELECT count(*) FROM members"
        " WHERE group_id IN (SELECT id FROM groups WHERE name IS NOT NULL)",
    )


def _part(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    return lambda done: progress(f"{what} checked", min(done, total), total)
