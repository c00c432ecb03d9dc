"""Another database in the place of the log's; a crash at any moment leaves the old or the new one.

The new one is written beside the old one, synced, and then named ``pushd.db.next-STAMP``: from
there on it counts. The rest (the old files to ``replaced-STAMP/``, the new one to its place) may be
done by whoever holds the lock next. A ``-wal`` must never meet another database than its own,
hence no shorter way.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from pushd.errors import CannotStart
from pushd.log.store import DATABASE
from pushd.log.tools.files import give_to_owner_of, sync_directory, sync_file

_logger = structlog.get_logger("pushd.log")

_NEXT: Final = f"{DATABASE}.next-"
_PREPARED: Final = f"{DATABASE}.restoring"
_ASIDE: Final = "replaced-"
# The -wal first: were it left behind with its database gone, the next one would be given it.
_SUFFIXES: Final = ("-wal", "-shm", "-journal", "")


def prepared_path(directory: Path) -> Path:
    """Where to write the new database. What an earlier try left there is removed."""
    _discard_prepared(directory)
    return directory / _PREPARED


def decide(directory: Path) -> Path:
    """The prepared database (closed, one file) counts from now on. Answers where the old one goes.

    Under the lock only. ``finish`` has to follow, now or at the next start.
    """
    stamp = _free_stamp(directory)
    sync_file(directory / _PREPARED)
    (directory / _PREPARED).rename(directory / f"{_NEXT}{stamp}")
    sync_directory(directory)
    return directory / f"{_ASIDE}{stamp}"


def is_unfinished(directory: Path) -> bool:
    """A restore was interrupted after its decision."""
    return bool(_decided(directory))


def finish(directory: Path) -> Path | None:
    """Under the lock only, before the database is opened: completes what was decided.

    Answers where the replaced database is, if there was anything to complete.
    """
    _discard_prepared(directory)
    aside = None
    for new in _decided(directory):
        aside = directory / f"{_ASIDE}{new.name.removeprefix(_NEXT)}"
        _set_aside(directory, aside)
        new.rename(directory / DATABASE)
        sync_directory(directory)
    return aside


def complete(directory: Path) -> None:
    """``finish`` for a start. Raises CannotStart."""
    try:
        aside = finish(directory)
    except OSError as error:
        raise CannotStart(
            f"A restore into {directory} was interrupted and cannot be completed: {error}."
        ) from error
    if aside is not None:
        _logger.warning("interrupted restore completed", replaced=str(aside))


def _decided(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.name.startswith(_NEXT))
    except FileNotFoundError:
        return []


def _set_aside(directory: Path, aside: Path) -> None:
    old = [directory / f"{DATABASE}{suffix}" for suffix in _SUFFIXES]
    old = [path for path in old if path.exists()]
    if not old:
        return
    if not aside.exists():
        aside.mkdir(mode=0o700)
        give_to_owner_of(directory, aside)
        sync_directory(directory)
    for path in old:
        if (aside / path.name).exists():
            raise CannotStart(
                f"A restore was interrupted, and then {path} was made anew. It is not known which"
                f" one counts: move {path} elsewhere, or {_NEXT}… if the restore shall not be."
            )
        path.rename(aside / path.name)
    sync_directory(aside)
    sync_directory(directory)


def _discard_prepared(directory: Path) -> None:
    for suffix in _SUFFIXES:
        (directory / f"{_PREPARED}{suffix}").unlink(missing_ok=True)


def _free_stamp(directory: Path) -> str:
    """By the second; two within one second get different ones."""
    base = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    stamp, number = base, 1
    while (directory / f"{_ASIDE}{stamp}").exists():
        number += 1
        stamp = f"{base}-{number}"
    return stamp
