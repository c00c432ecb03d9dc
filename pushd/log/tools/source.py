"""Opens a log to read it, without changing anything: a backup, or a directory, served or not.

Everything is read in one snapshot. While it is open the ``-wal`` of a running server cannot start
over, so it grows by what is written meanwhile: be quick.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from pushd.errors import NotALog
from pushd.log import swap, walcheck
from pushd.log.lock import LOCK, in_use, read_holder
from pushd.log.store import DATABASE
from pushd.log.tools.files import is_full, why_not
from pushd.log.tools.form import Form, look, number
from pushd.log.tools.walframes import count_valid

_BUSY_S: Final = 10.0


class Kind(Enum):
    """What was found, in words."""

    FILE = "backup file"
    STOPPED = "data directory, not in use"
    RUNNING = "data directory, in use"


@dataclass(frozen=True, slots=True)
class Source:
    """``connection`` cannot write, and is within one read transaction."""

    path: Path
    kind: Kind
    connection: sqlite3.Connection
    form: Form

    @property
    def size(self) -> int:
        """Bytes of a copy."""
        pages = number(self.connection, "PRAGMA page_count")
        return pages * number(self.connection, "PRAGMA page_size")


@contextmanager
def opened(path: Path, *, locked: bool = False) -> Iterator[Source]:
    """Raises NotALog. ``locked``: this process holds the lock of the directory already."""
    with ExitStack() as undo:
        try:
            file, kind = _look_at(path, locked, undo)
        except OSError as error:
            raise NotALog(f"{path} cannot be read: {why_not(error, path)}.") from error
        try:
            connection = sqlite3.connect(
                _uri(file, kind), uri=True, timeout=_BUSY_S, isolation_level=None
            )
            undo.callback(connection.close)
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            form = look(connection, str(file))
        except sqlite3.Error as error:
            raise explained(file, error) from error
        yield Source(path, kind, connection, form)


def check_stopped(directory: Path) -> None:
    """Raises CannotStart that says who uses the log; NotALog."""
    with opened(directory) as source:
        if source.kind is Kind.RUNNING:
            raise in_use(directory)


def explained(file: Path, error: sqlite3.Error) -> NotALog:
    """What an error of reading means, for people."""
    return NotALog(_why(file, error))


def _look_at(path: Path, locked: bool, undo: ExitStack) -> tuple[Path, Kind]:
    """The database file and how to open it; what must be held meanwhile goes to ``undo``."""
    if _is_of_directory(path):
        path = path.parent
    if not path.is_dir():
        _check_readable(path)
        return path, Kind.FILE
    file = path / DATABASE
    running = not locked and _is_locked(path, undo)
    if running and (holder := read_holder(path)) and holder.doing:
        raise NotALog(f"{path} is in use by {holder}. Wait until it is done.")
    if not locked and swap.is_unfinished(path):
        raise NotALog(
            f"A restore into {path} was interrupted. The next start of the server, or the next"
            " 'pushctl restore', completes it."
        )
    _check_readable(file)
    if running:
        return file, Kind.RUNNING
    _check_wal(file)
    return file, Kind.STOPPED


def _is_of_directory(path: Path) -> bool:
    """The database of a data directory is meant together with its -wal."""
    return path.is_file() and (
        (path.name == DATABASE and (path.parent / LOCK).exists()) or _has_wal(path)
    )


def _has_wal(file: Path) -> bool:
    wal = file.with_name(f"{file.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _check_readable(file: Path) -> None:
    # Not by opening it: closing would end the locks of a connection that this process may have.
    try:
        empty = file.stat().st_size == 0
        if not os.access(file, os.R_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise NotALog(f"{file} cannot be read: {why_not(error, file)}.") from error
    if empty:
        raise NotALog(f"{file} is empty.")


def _is_locked(directory: Path, undo: ExitStack) -> bool:
    """Whether somebody has the log. If not, nobody can take it while this is open."""
    try:
        fd = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        reason = why_not(error, directory / LOCK)
        raise NotALog(f"{directory / LOCK} cannot be read: {reason}.") from error
    undo.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _check_wal(file: Path) -> None:
    """What a start would refuse must not be copied as if it were whole."""
    wal = file.with_name(f"{file.name}-wal")
    shape = walcheck.look(wal)
    if shape.is_damaged(count_valid(wal) if len(shape.commits) > 1 else 0):
        raise NotALog(
            f"{wal} is damaged: commits that were acked cannot be read. Keep a copy of the"
            " directory, then restore a backup; or, to go on without them, move the -wal away and"
            " run 'pushctl restore --adopt'."
        )


def _uri(file: Path, kind: Kind) -> str:
    """Immutable (no lock, no file is made) where nobody can change it and there is no -wal."""
    still = kind is not Kind.RUNNING and not _has_wal(file)
    return f"{file.absolute().as_uri()}?mode=ro{'&immutable=1' if still else ''}"


def _why(file: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return f"{file} is not a database of pushd ({error})."
    if code == sqlite3.SQLITE_CORRUPT:
        return f"{file} is damaged or cut short ({error})."
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return (
            f"{file} cannot be opened ({error}). The -wal and -shm files beside it are needed as"
            " well: run this as the user whose directory it is."
        )
    if code == sqlite3.SQLITE_IOERR and is_full(file.parent):
        return (
            f"{file} cannot be read: its disk is full, and a log that was not closed takes some KiB"
            " for its -shm file. Free some space."
        )
    return f"{file} cannot be read ({error})."
