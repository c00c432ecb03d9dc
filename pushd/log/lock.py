"""The lock file: one process per log. Holding it is what makes a node the owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from pushd.errors import CannotStart
from pushd.log.tools.files import sync_directory, why_not

LOCK: Final = "pushd.lock"
_MAX_RECORD: Final = 4096


class Holder(msgspec.Struct):
    """Who holds it, written for the one who is refused: only shown, but for ``open``.

    ``open``: it serves the log, whose newest commits may be in the ``-wal`` only.
    """

    pid: int
    host: str
    since: str
    listen: str = ""
    doing: str = ""
    open: bool = False

    def __str__(self) -> str:
        what = f", listening on {self.listen}" if self.listen else ""
        what += f", doing a {self.doing}" if self.doing else ""
        return f"process {self.pid} on {self.host} since {self.since}{what}"


def read_holder(directory: Path) -> Holder | None:
    """Who says that it has the lock. None: nobody says so; yet somebody may hold it."""
    try:
        return msgspec.json.decode((directory / LOCK).read_bytes()[:_MAX_RECORD], type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def in_use(directory: Path) -> CannotStart:
    """The refusal for whoever needs the log to be free."""
    return CannotStart(
        f"The log in {directory} is in use by {_shown(read_holder(directory))}. Stop that one"
        " first, or give this one a directory of its own (--data)."
    )


def _shown(holder: Holder | None) -> str:
    if holder is None or _is_gone(holder):
        # Who only reads a log that is not served locks it without a word.
        return "another process, which has not written yet who it is (or a backup of it is made)"
    return str(holder)


def _is_gone(holder: Holder) -> bool:
    if holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class LockFile:
    """Held from construction to ``release()`` or to the end of the process, however it ends.

    ``listen`` and ``doing`` are only told to those who are refused. ``previous``: the last one who
    had it, if that one did not release it.
    """

    def __init__(self, directory: Path, listen: str = "", doing: str = "") -> None:
        path = directory / LOCK
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(
                f"The lock file {path} cannot be opened: {why_not(error, path)}."
            ) from error
        try:
            self._lock(path)
            self._directory = directory
            self.previous = read_holder(directory)
            since = datetime.now(UTC).isoformat(timespec="seconds")
            self._holder = Holder(os.getpid(), socket.gethostname(), since, listen, doing)
            self._write(self._holder)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self, path: Path) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use(path.parent) from None
        except OSError as error:
            raise CannotStart(
                f"{path} cannot be locked: {error.strerror}. Put the data on a local disk."
            ) from error

    def _write(self, record: Holder) -> None:
        # A full disk must not stop a start that frees space; the record is only a courtesy.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, msgspec.json.encode(record), 0)

    def note_open(self) -> None:
        """The log is served from now on. Not said before the name of its ``-wal`` is on disk."""
        with contextlib.suppress(OSError):
            sync_directory(self._directory)
            self._holder.open = True
            self._write(self._holder)

    def note_end(self) -> None:
        """Before the log is closed, which removes the ``-wal``: on disk sooner than that."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.fsync(self._fd)

    def release(self, *, as_it_was: bool = False) -> None:
        """The file stays: removing it would let two processes hold two locks of one name.

        ``as_it_was``: what ``previous`` says still counts.
        """
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        if as_it_was and self.previous is not None:
            self._write(self.previous)
        os.close(self._fd)
