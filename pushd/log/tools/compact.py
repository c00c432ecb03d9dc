"""Writes the log anew, without the room that was freed in it; the server is stopped.

Until the last moment only a file beside the log is written, so a crash leaves the old one; the last
step is one rename.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pushd.errors import CompactFailed, NotALog
from pushd.log import swap
from pushd.log.checkpoint import Checkpointer
from pushd.log.idclock import IdClock
from pushd.log.lock import LOCK
from pushd.log.requests import MIB, LogOptions
from pushd.log.startup import Opened, open_log
from pushd.log.store import DATABASE
from pushd.log.sweeper import Sweeper
from pushd.log.tools.copying import Progress
from pushd.log.tools.files import (
    free_bytes,
    give_to_owner_of,
    shown_size,
    sync_directory,
    sync_file,
    why_not,
)
from pushd.log.tools.form import number
from pushd.log.tools.source import explained, opened
from pushd.log.tools.verify import Report, verify, verify_source

_SPARE: Final = 16 * MIB
# Steps of SQLite's machine between two looks at how far it is: some milliseconds.
_STEPS: Final = 20_000
_RESTORE: Final = "The log is as it was. 'pushctl verify' says more; 'pushctl restore' mends it."
_HEADS: Final = "SELECT * FROM channels ORDER BY id"


@dataclass(frozen=True, slots=True)
class Compacted:
    """Bytes of the file. ``report``: of the new one."""

    before: int
    after: int
    seconds: float
    report: Report


def compact(directory: Path, progress: Progress) -> Compacted:
    """Raises CannotStart (the log is in use, there is none), CompactFailed, NotALog."""
    began = time.monotonic()
    _check_there(directory)
    log = open_log(directory, LogOptions(), doing="compaction")
    try:
        give_to_owner_of(directory, directory / LOCK)
        with _explained(directory):
            _settle(log, directory, progress)
            old, heads = _look_at(directory, progress)
            target = _write(directory, progress)
            new = _checked(target, old, heads, progress)
            sizes = (directory / DATABASE).stat().st_size, target.stat().st_size
            _put_in_place(directory, target)
    finally:
        swap.prepared_path(directory)
        log.lock.release()
    new.path, new.kind = old.path, old.kind
    return Compacted(*sizes, time.monotonic() - began, new)


def _check_there(directory: Path) -> None:
    try:
        there = (directory / DATABASE).exists() or swap.is_unfinished(directory)
    except OSError as error:
        raise NotALog(f"{directory} cannot be read: {why_not(error, directory)}.") from error
    if not there:
        raise NotALog(f"There is no log in {directory}.")


def _settle(log: Opened, directory: Path, progress: Progress) -> None:
    """What waits to be swept goes first; afterwards the database is one file, which nobody has."""
    try:
        checkpointer = Checkpointer(log.store)
        sweeper = Sweeper(log.store, IdClock(None, 0.0), 0.0)
        total = len(sweeper.garbage)
        while sweeper.garbage:
            sweeper.slice()
            checkpointer.grow(sweeper.pages())
            checkpointer.run_if_due()
            progress("swept", total - len(sweeper.garbage), total)
        checkpointer.run_last()
    finally:
        log.reader.close()
        log.store.close()
    wal = directory / f"{DATABASE}-wal"
    if wal.exists() and wal.stat().st_size:
        raise CompactFailed(f"{wal} could not be emptied: the disk is full, or somebody reads it.")


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise CompactFailed(f"The disk of {directory} is full.") from error
        detail = explained(directory / DATABASE, error).detail
        cure = _RESTORE if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else None
        raise CompactFailed(detail, cure=cure) from error
    except OSError as error:
        raise CompactFailed(f"{directory}: {why_not(error, directory)}.") from error


def _look_at(directory: Path, progress: Progress) -> tuple[Report, list[Any]]:
    with opened(directory, locked=True) as source:
        report = verify_source(source, progress)
        if not report.is_sound:
            shown = "".join(f"\n  {problem}" for problem in report.problems[:5])
            raise CompactFailed(f"The log in {directory} is not sound:{shown}", cure=_RESTORE)
        connection = source.connection
        free = number(connection, "PRAGMA freelist_count")
        needed = source.size - free * number(connection, "PRAGMA page_size") + _SPARE
        if (there := free_bytes(directory)) < needed:
            raise CompactFailed(
                f"{directory} has {shown_size(there)} free; {shown_size(needed)} are needed, as the"
                " old file stays until the new one is complete."
            )
        return report, connection.execute(_HEADS).fetchall()


def _write(directory: Path, progress: Progress) -> Path:
    """The new file, complete and synced, beside the old one."""
    old, target = directory / DATABASE, swap.prepared_path(directory)
    target.touch(mode=0o600)
    give_to_owner_of(old, target)
    size = old.stat().st_size
    uri = f"{old.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.set_progress_handler(
            lambda: progress("copied", target.stat().st_size, size), _STEPS
        )
        connection.execute("VACUUM INTO ?", (str(target),))
    sync_file(target)
    return target


def _checked(target: Path, old: Report, heads: list[Any], progress: Progress) -> Report:
    """Every message, head and count as before."""
    new = verify(target, progress)
    if not new.is_sound or _facts(new) != _facts(old):
        why = new.problems[0] if new.problems else f"{_facts(new)} instead of {_facts(old)}"
        raise CompactFailed(f"The new file is not what the old one was: {why}.")
    with opened(target) as source:
        if source.connection.execute(_HEADS).fetchall() != heads:
            raise CompactFailed("The new file has other heads than the old one.")
    return new


def _facts(report: Report) -> tuple[object, ...]:
    marks = report.delivered_marks, report.read_marks
    counts = report.channels, report.deleted_channels, report.messages, report.ids, *marks
    groups = report.groups, report.members
    return (*counts, *groups, report.revocations, report.newest_at, report.seal)


def _put_in_place(directory: Path, target: Path) -> None:
    """What SQLite has removed may come back after a power cut, and a ``-wal`` must not meet it."""
    for suffix in ("-wal", "-shm"):
        (directory / f"{DATABASE}{suffix}").unlink(missing_ok=True)
    sync_directory(directory)
    target.replace(directory / DATABASE)
    sync_directory(directory)
