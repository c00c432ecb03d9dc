"""Small things that all tools need of a file system: syncing, owners, room, sizes for people."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_LEAST: Final = 256 << 10
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def sync_directory(directory: Path) -> None:
    """Makes names durable: a rename, a new file."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Only for files that no SQLite connection of this process has open: closing ends its locks."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def give_to_owner_of(model: Path, *paths: Path) -> None:
    """What root makes in somebody's directory is theirs, else their server is locked out."""
    if os.geteuid() != 0:
        return
    owner = model.stat()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def free_bytes(directory: Path) -> int:
    """What this user may still write there."""
    state = os.statvfs(directory)
    return state.f_bavail * state.f_frsize


def is_full(directory: Path) -> bool:
    """Without room for even the small files that reading a log takes (``-shm``), of which SQLite
    says no more than "disk I/O error"."""
    try:
        return free_bytes(directory) < _LEAST
    except OSError:
        return False


def shown_size(count: int) -> str:
    """ "2.4 GiB"."""
    size = float(count)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def why_not(error: OSError, path: Path) -> str:
    """The reason, and for missing rights whose they are."""
    reason = error.strerror or str(error)
    if not isinstance(error, PermissionError):
        return reason
    for seen in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            owner = seen.stat().st_uid
            return f"{reason}; {seen} belongs to user id {owner}, this runs as {os.geteuid()}"
    return reason
