"""Brings a log to the schema of this version, after a backup. A start does the same without one."""

from __future__ import annotations

from pathlib import Path

from pushd.log.requests import LogOptions
from pushd.log.startup import open_log
from pushd.log.tools.backup import Backup, backup
from pushd.log.tools.copying import Progress
from pushd.log.tools.source import check_stopped, opened


def pending(path: Path) -> tuple[str, ...]:
    """Names of the migrations that this version would apply. Raises NotALog."""
    with opened(path) as source:
        return source.form.pending


def migrate(directory: Path, target: Path | None, progress: Progress) -> Backup | None:
    """``target``: where the backup goes; None: none is made.

    Raises NotALog, BackupFailed, CannotStart; the log is as it was then, or some migrations
    further, each complete.
    """
    check_stopped(directory)
    made = None if target is None else backup(directory, target, progress)
    log = open_log(directory, LogOptions(), doing="migration")
    log.reader.close()
    log.store.checkpoint("TRUNCATE")
    log.store.close()
    log.lock.release()
    return made
