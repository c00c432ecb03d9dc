"""Puts a backup in the place of a log, with a new epoch for every channel; the server is stopped.

Until the last moment only files beside the log are written; from then on ``swap`` sees to it that
a crash leaves the old log or the new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pushd.core.positions import Epoch
from pushd.errors import CannotStart, NotALog, RestoreRefused
from pushd.log import swap
from pushd.log.lock import LOCK, LockFile
from pushd.log.requests import MIB, LogOptions
from pushd.log.startup import ADOPTION, open_log
from pushd.log.store import DATABASE
from pushd.log.tools import form
from pushd.log.tools.copying import Progress, copy
from pushd.log.tools.epochs import Renewed, latest, renew
from pushd.log.tools.files import free_bytes, give_to_owner_of, shown_size, why_not
from pushd.log.tools.source import Source, opened
from pushd.log.tools.verify import Report, verify, verify_source

DOING: Final = "restore"
_SPARE: Final = 16 * MIB
_SHOWN: Final = 5
_ADD_REVOCATION: Final = (
    "INSERT INTO revocations (kind, value, at, until) VALUES (?, ?, ?, ?) ON CONFLICT (kind, value)"
    " DO UPDATE SET at = max(at, excluded.at), until = max(until, excluded.until)"
)

Revocation = tuple[str, str, int, int]


@dataclass(slots=True)
class Replaced:
    """What is known of the log that goes aside. ``trouble``: why it could not be read."""

    channels: int = 0
    newest_at: int = 0
    epoch: Epoch | None = None
    revocations: list[Revocation] = field(default_factory=list)
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Shown before anything is changed. ``finished``: where an interrupted restore, completed
    just now, has put the log that it replaced."""

    directory: Path
    backup: Report
    replaced: Replaced | None
    finished: Path | None


@dataclass(frozen=True, slots=True)
class Restored:
    """``aside``: where the replaced log is; None when there was none."""

    renewed: Renewed
    aside: Path | None


def restore(
    path: Path, directory: Path, agree: Callable[[Plan], bool], progress: Progress
) -> Restored:
    """Raises RestoreRefused, NotALog, CannotStart (the log is in use); then nothing has changed."""
    try:
        _check_paths(path, directory)
    except OSError as error:
        raise RestoreRefused(f"{path}: {why_not(error, path)}.") from error
    lock = LockFile(directory, doing=DOING)
    try:
        give_to_owner_of(directory, directory / LOCK)
        finished = swap.finish(directory)
        with opened(path) as source:
            # First what is known at once: checking takes minutes.
            _check_room(source, directory)
            plan = Plan(directory, _checked(source, progress), look_at(directory), finished)
            if not agree(plan):
                raise RestoreRefused("The answer was no.")
            renewed = _prepare(source, directory, plan.replaced, progress)
        return Restored(renewed, _replace(directory))
    except OSError as error:
        raise RestoreRefused(f"{directory}: {why_not(error, directory)}.") from error
    finally:
        lock.release()


def _replace(directory: Path) -> Path | None:
    """Where the replaced log is."""
    aside = swap.decide(directory)
    try:
        swap.finish(directory)
    except OSError as error:
        raise CannotStart(
            f"The restore is made, but its last step failed ({error}). The next start of the"
            " server, or the next restore, completes it."
        ) from error
    return aside if aside.exists() else None


def adopt(directory: Path) -> Renewed:
    """New epochs for a log that is in its place already: a copy, or one that was rolled back.

    One transaction: all of them or none. Raises CannotStart.
    """
    if not (directory / DATABASE).exists() and not swap.is_unfinished(directory):
        raise CannotStart(f"There is no log in {directory}.")
    log = open_log(directory, LogOptions(), doing=ADOPTION)
    try:
        give_to_owner_of(directory, directory / LOCK)
        log.reader.close()
        renewed = renew(log.store.connection, None)
        log.store.checkpoint("TRUNCATE")
    except sqlite3.Error as error:
        raise CannotStart(f"The log could not be written ({error}); it is as it was.") from error
    finally:
        log.store.close()
        log.lock.release()
    return renewed


def look_at(directory: Path) -> Replaced | None:
    """The log of a directory whose lock is held; None when there is none."""
    file = directory / DATABASE
    if not file.exists() or file.stat().st_size == 0:
        return None
    try:
        with opened(directory, locked=True) as source:
            return _known(source.connection)
    except (NotALog, sqlite3.Error) as error:
        found = Replaced(trouble=error.detail if isinstance(error, NotALog) else str(error))
    # Something of it may be readable: later epochs are what matters.
    try:
        uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            found.epoch = latest(connection)
            found.revocations = _revocations(connection)
    except sqlite3.Error:
        pass
    return found


def _known(connection: sqlite3.Connection) -> Replaced:
    return Replaced(
        channels=form.number(connection, "SELECT count(*) FROM channels WHERE epoch IS NOT NULL"),
        newest_at=form.number(connection, "SELECT max(last_at) FROM channels"),
        epoch=latest(connection),
        revocations=_revocations(connection),
    )


def _revocations(connection: sqlite3.Connection) -> list[Revocation]:
    return connection.execute("SELECT kind, value, at, until FROM revocations").fetchall()


def _check_paths(path: Path, directory: Path) -> None:
    if not path.exists():
        raise NotALog(f"{path} is not there.")
    inside = path if path.is_dir() else path.parent
    in_its_place = path.is_dir() or path.name == DATABASE
    if in_its_place and directory.exists() and inside.resolve() == directory.resolve():
        raise RestoreRefused(
            f"{path} is the log that is to be replaced. New epochs for it, where it is:"
            " 'pushctl restore --adopt'."
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RestoreRefused(f"{directory} cannot be made: {error.strerror}.") from error


def _checked(source: Source, progress: Progress) -> Report:
    report = verify_source(source, progress)
    if not report.is_sound:
        shown = "".join(f"\n  {problem}" for problem in report.problems[:_SHOWN])
        raise RestoreRefused(f"{source.path} is not sound:{shown}")
    return report


def _check_room(source: Source, directory: Path) -> None:
    needed, free = source.size + _SPARE, free_bytes(directory)
    if free < needed:
        raise RestoreRefused(
            f"{directory} has {shown_size(free)} free; {shown_size(needed)} are needed, as the"
            " replaced log is kept. Free some, or restore into another directory (--data)."
        )


def _prepare(
    source: Source, directory: Path, replaced: Replaced | None, progress: Progress
) -> Renewed:
    """The new database, complete, beside the old one."""
    target = swap.prepared_path(directory)
    target.touch(mode=0o600)
    old = directory / DATABASE
    give_to_owner_of(old if old.exists() else directory, target)
    try:
        copy(source, target, progress)
        with closing(sqlite3.connect(target, isolation_level=None)) as connection:
            # Nothing to go back to here: a journal of all ids in memory would be large.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            form.apply_pending(connection)
            if replaced is not None:
                connection.executemany(_ADD_REVOCATION, replaced.revocations)
            renewed = renew(connection, replaced.epoch if replaced else None)
        report = verify(target, progress, quick=True)
    except sqlite3.Error as error:
        swap.prepared_path(directory)
        raise RestoreRefused(f"The backup could not be copied to {directory} ({error}).") from error
    except BaseException:
        swap.prepared_path(directory)
        raise
    if not report.is_sound:
        swap.prepared_path(directory)
        raise RestoreRefused(f"The copy in {directory} is not sound: {report.problems[0]}")
    return renewed
