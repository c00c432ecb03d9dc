"""A backup: one file with everything of one moment, checked, complete or not there at all."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from pushd.errors import BackupFailed, NotALog
from pushd.log.requests import MIB
from pushd.log.store import DATABASE
from pushd.log.tools import marker
from pushd.log.tools.copying import Progress, copy
from pushd.log.tools.files import free_bytes, shown_size, sync_directory, sync_file, why_not
from pushd.log.tools.source import Kind, Source, explained, opened
from pushd.log.tools.verify import Report, verify

PARTIAL: Final = ".partial"
# On the disk of the log so much must stay free: below it, by default, the server stops publishes.
_SPARE: Final = 256 * MIB


@dataclass(frozen=True, slots=True)
class Backup:
    """``report``: of the finished file."""

    path: Path
    bytes: int
    sha256: str
    seconds: float
    report: Report


def backup(path: Path, target: Path, progress: Progress, *, overwrite: bool = False) -> Backup:
    """``path``: a data directory (or a backup). Raises NotALog, BackupFailed.

    ``target`` gets its name when all is done; before, and after a failure, what had the name is
    as it was.
    """
    began = time.monotonic()
    try:
        _check_target(path, target, overwrite)
    except OSError as error:
        raise BackupFailed(f"{target} cannot be made: {why_not(error, target)}.") from error
    with opened(path) as source, _partial(target) as partial:
        _check_room(source, target)
        _copy(source, partial, target, progress)
        # Done with the log: the rest is about the copy.
        source.connection.rollback()
        report = verify(partial, progress)
        if not report.is_sound:
            raise BackupFailed(_unsound(path, target, partial, report))
        _finish(partial, target, report)
    digest = _sha256(target, progress)
    report.path = str(target)
    return Backup(target, target.stat().st_size, digest, time.monotonic() - began, report)


def _check_target(path: Path, target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise BackupFailed(f"{target} is a directory: name a file in it.")
    if not target.parent.is_dir():
        raise BackupFailed(f"{target.parent} is not a directory.")
    directory = path if path.is_dir() else path.parent
    if target.parent.resolve() == directory.resolve() and target.name.startswith(DATABASE):
        raise BackupFailed(f"{target} is part of the log itself: choose another name.")
    if target.exists() and not overwrite:
        raise BackupFailed(f"{target} exists: choose another name, or replace it with --force.")


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """An empty file beside the target, ours alone; gone at the end unless it was renamed."""
    partial = target.with_name(target.name + PARTIAL)
    try:
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BackupFailed(f"{partial} cannot be made: {why_not(error, target.parent)}.") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed(f"Another backup is writing {partial}.") from None
        _check_ours(partial, fd)
        # What a backup left that was killed.
        os.ftruncate(fd, 0)
        os.fchmod(fd, 0o600)
        try:
            yield partial
        finally:
            for name in (partial.name, f"{partial.name}-journal"):
                partial.with_name(name).unlink(missing_ok=True)
    finally:
        os.close(fd)


def _check_ours(partial: Path, fd: int) -> None:
    """In a directory of many, somebody else may have put it there, and would read what we write."""
    found = os.fstat(fd)
    owners = (os.geteuid(), partial.parent.stat().st_uid)
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in owners or found.st_nlink != 1:
        raise BackupFailed(f"{partial} is no file of ours: remove it, or choose another name.")


def _check_room(source: Source, target: Path) -> None:
    """Before it starts: a disk that fills up on the way might be that of the log."""
    needed, free = source.size, free_bytes(target.parent)
    beside = source.path.is_dir() and source.path.stat().st_dev == target.parent.stat().st_dev
    if free < needed + (_SPARE if beside else 0):
        and_spare = f" and {shown_size(_SPARE)} for the log, which is on the same disk"
        raise BackupFailed(
            f"{target.parent} has {shown_size(free)} free; the backup needs {shown_size(needed)}"
            f"{and_spare if beside else ''}."
        )


def _copy(source: Source, partial: Path, target: Path, progress: Progress) -> None:
    try:
        copy(source, partial, progress)
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise BackupFailed(f"The disk of {target} is full.") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise explained(source.path, error) from error
        raise BackupFailed(f"The backup could not be written or read ({error}).") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror
        raise BackupFailed(f"{partial} cannot be written: {reason}.") from error


def _finish(partial: Path, target: Path, report: Report) -> None:
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
            marker.write(connection, report.seal or "")
        sync_file(partial)
        partial.replace(target)
        sync_directory(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"{target} could not be completed ({error}).") from error


def _unsound(path: Path, target: Path, partial: Path, report: Report) -> str:
    """Better than nothing where there is nothing better: kept, under a name that says it."""
    kept = target.with_name(f"{target.name}.damaged")
    partial.replace(kept)
    shown = "".join(f"\n  {problem}" for problem in report.problems[:5])
    return (
        f"The copy is not sound, so {path} is likely not either:{shown}\nIt is kept as {kept}. See"
        f" 'pushctl verify {path}', and the messages of the disk."
    )


def _sha256(path: Path, progress: Progress) -> str:
    """For comparing copies elsewhere, with sha256sum."""
    total, done, digest = path.stat().st_size, 0, sha256()
    with path.open("rb") as file:
        while data := file.read(MIB):
            digest.update(data)
            done += len(data)
            progress("hashed", done, total)
    return digest.hexdigest()


__all__ = ["Backup", "Kind", "NotALog", "backup"]
