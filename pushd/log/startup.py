"""From a directory to an open log, or a refusal that says what is wrong and what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from migrations import MIGRATIONS
from pushd.errors import CannotStart
from pushd.groups import Groups
from pushd.log import activity, believed, members, swap, walcheck
from pushd.log.lock import LockFile
from pushd.log.requests import MIB, Head, LogOptions
from pushd.log.store import CACHE_KIB, DATABASE, Store, connect_reader, connect_writer
from pushd.log.tools import marker
from pushd.log.tools.files import is_full, sync_directory, why_not

# 'PUSH': says to file(1) and to us what this database is.
APPLICATION_ID: Final = 0x50555348
FORMAT: Final = "2"
_PREVIEW: Final = "1"
# What ``restore --adopt`` does.
ADOPTION: Final = "adoption"
WAL_LIMIT: Final = 64 * MIB
_FULL: Final = 2


@dataclass(slots=True)
class Opened:
    """A log that may be served: locked, checked, migrated, synced."""

    store: Store
    reader: sqlite3.Connection
    lock: LockFile
    heads: dict[str, Head]
    last_epoch: str | None
    revocations: dict[tuple[str, str], tuple[float, float]]
    groups: Groups
    believed: believed.Believed | None

    def give_up(self) -> None:
        """Close and unlock, as it cannot be served after all; the reader goes last here, too."""
        self.store.close()
        self.reader.close()
        self.lock.release()


def open_log(directory: Path, options: LogOptions, *, doing: str = "") -> Opened:
    """Blocking. Raises CannotStart; then nothing is left locked or open.

    ``doing``: not to serve it, but what; then it may be a backup.
    """
    _make_directory(directory)
    lock = LockFile(directory, options.listen, doing)
    # In a refusal the reader goes last: as it cannot write, a damaged WAL stays as it was found.
    with ExitStack() as undo:
        wal_path = directory / f"{DATABASE}-wal"
        # Whoever was killed still counts as long as it left a -wal, or should have.
        gone = doing != ADOPTION and walcheck.is_gone(wal_path, lock.previous)
        undo.callback(lambda: lock.release(as_it_was=gone or wal_path.exists()))
        if gone:
            raise walcheck.gone(wal_path, lock.previous)
        readers = undo.enter_context(ExitStack())
        with explained(directory / DATABASE):
            swap.complete(directory)
            _create_private(directory / DATABASE)
            wal = walcheck.look(wal_path)
            connection = connect_writer(directory)
            undo.callback(connection.close)
            coarse_ms = activity.coarse_ms(options.active_s)
            store = Store(connection, options.devices_per_user, coarse_ms)
            _check_ours(connection)
            if not doing:
                marker.refuse(connection)
            _configure(connection)
            reader = connect_reader(directory)
            readers.callback(reader.close)
            _sync(store, wal)
            _migrate(connection)
            heads, last_epoch = _load_heads(connection), _meta(connection, "last_epoch")
            revocations = _load_revocations(connection)
            groups = members.load(connection)
            newest = max((head.at for head in heads.values()), default=None)
            known = believed.load(connection, newest)
        readers.pop_all()
        undo.pop_all()
    if not doing:
        lock.note_open()
    return Opened(store, reader, lock, heads, last_epoch, revocations, groups, known)


def _make_directory(directory: Path) -> None:
    """Makes what is missing, and makes that durable: SQLite syncs its files and their directory,
    but not the directories above."""
    try:
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:
            sync_directory(path.parent)
    except FileExistsError as error:
        raise CannotStart(f"{directory} is a file: name a directory (--data).") from error
    except OSError as error:
        reason = why_not(error, directory)
        raise CannotStart(f"The data directory {directory} cannot be made: {reason}.") from error


def _create_private(path: Path) -> None:
    """SQLite would make it readable for all; -wal and -shm take over the mode of the database."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise CannotStart(f"The database {path} cannot be made: {error.strerror}.") from error


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of SQLite become CannotStart, with what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_IOERR and is_full(path.parent):
            code = sqlite3.SQLITE_FULL
        raise CannotStart(_WHY.get(code, _WHY_NOT).format(path=path, error=error)) from error


_RESTORE: Final = "Restore a backup with 'pushctl restore FILE', which keeps what is there aside."
_WHY_NOT: Final = "The database {path} cannot be opened: {error}."
_WHY: Final = {
    sqlite3.SQLITE_NOTADB: "{path} is not a database of pushd ({error}). " + _RESTORE,
    sqlite3.SQLITE_CORRUPT: "The database {path} is damaged ({error}). " + _RESTORE,
    sqlite3.SQLITE_READONLY: (
        "The database {path} or its directory is read-only ({error}). pushd must be able to write"
        " to both: check owner, mode and mount."
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "The database {path} cannot be opened ({error}). Check that it is a file, and the owner"
        " and mode of file and directory."
    ),
    sqlite3.SQLITE_BUSY: (
        "Another program holds the database {path} ({error}). Close it (a shell, a backup) first."
    ),
    sqlite3.SQLITE_FULL: "The disk of {path} is full. Free some space.",
    sqlite3.SQLITE_IOERR: "The disk of {path} refuses ({error}). Check the disk and its messages.",
}


def _pragma(connection: sqlite3.Connection, text: str) -> object:
    row = connection.execute(f"PRAGMA {text}").fetchone()
    return None if row is None else row[0]


def _check_ours(connection: sqlite3.Connection) -> None:
    """Refuses what pushd has not made, and what a newer one has made, before changing anything."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise CannotStart(
            f"{DATABASE} is a database of another program. Choose another directory (--data)."
        )
    done = {applied.name for applied in MIGRATIONS.applied(_database(connection))}
    known = known_migrations()
    form = _meta(connection, "format") if "meta" in tables else FORMAT
    if form == _PREVIEW:
        raise CannotStart(
            f"{DATABASE} was made by a preview of pushd (format {form}); start with an empty"
            " directory (--data)."
        )
    if done - known or form != FORMAT:
        raise CannotStart(
            f"{DATABASE} was written by a newer pushd (format {form},"
            f" unknown: {', '.join(sorted(done - known)) or 'nothing'}). Install that version or a"
            " newer one; an older one would lose what it does not know."
        )


def _configure(connection: sqlite3.Connection) -> None:
    """Sets what durability rests on, and believes only what SQLite answers."""
    mode = _pragma(connection, "journal_mode = WAL")
    if mode != "wal":
        raise CannotStart(
            f"The database works in journal mode {mode}, not WAL. Put the data on a local disk that"
            " supports shared memory; network file systems do not."
        )
    connection.execute("PRAGMA synchronous = FULL")
    if _pragma(connection, "synchronous") != _FULL:
        raise CannotStart(
            "SQLite does not accept synchronous = FULL; a commit would be no promise."
        )
    # A file that may only be read is opened without complaint; it shows when one wants to write.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("ROLLBACK")
    # Checkpoints are the writer's own: an automatic one hides its errors.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    # Zeros over what is deleted, also in pages that become free.
    connection.execute("PRAGMA secure_delete = ON")


def _sync(store: Store, wal: walcheck.WalShape) -> None:
    """Makes durable what an earlier process may have left unsynced, before anybody sees it."""
    _, frames, _ = store.checkpoint("PASSIVE")
    if wal.is_damaged(frames):
        raise CannotStart(_damaged(frames))
    busy, frames, _ = store.checkpoint("TRUNCATE")
    if busy:
        raise CannotStart(
            f"Another program reads {DATABASE}, so that its log ({frames} pages) cannot be"
            " completed. Close it (a shell, a backup) first."
        )


def _damaged(frames: int) -> str:
    return (
        f"{DATABASE}-wal is damaged behind page {frames}: commits that were acked cannot be read."
        f" {_RESTORE} To go on without them, move {DATABASE}-wal away, then run 'pushctl restore"
        " --adopt', as their numbers would be given a second time."
    )


def _migrate(connection: sqlite3.Connection) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    MIGRATIONS.apply(_database(connection))


def known_migrations() -> set[str]:
    """The names of all that this version has: applied to an empty database, each would be due."""
    with closing(sqlite3.connect(":memory:")) as nothing_applied:
        return {migration.name for migration in MIGRATIONS.pending(_database(nothing_applied))}


def _database(connection: sqlite3.Connection) -> Database:
    return Database(connection, execute_plugins=False)


def _meta(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _load_heads(connection: sqlite3.Connection) -> dict[str, Head]:
    rows = connection.execute(
        "SELECT name, id, epoch, head, first, last_at, log_id, bytes, first_at FROM channels"
        " WHERE epoch IS NOT NULL"
    )
    return {row[0]: Head(*row) for row in rows}


def _load_revocations(
    connection: sqlite3.Connection,
) -> dict[tuple[str, str], tuple[float, float]]:
    rows = connection.execute("SELECT kind, value, at, until FROM revocations")
    return {(kind, value): (at / 1000, until / 1000) for kind, value, at, until in rows}
