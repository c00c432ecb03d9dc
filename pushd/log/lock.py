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

LOCK: Final = "pushd.lock"
_MAX_RECORD: Final = 4096


class Holder(msgspec.Struct):
    """Who holds it, written for the one who is refused. Never trusted, only shown."""

    pid: int
    host: str
    since: str
    listen: str = ""


class LockFile:
    """Held from construction to ``release()`` or to the end of the process, however it ends."""

    def __init__(self, directory: Path, listen: str) -> None:
        path = directory / LOCK
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(
                f"The lock file {path} cannot be opened: {error.strerror}."
            ) from error
        try:
            self._lock(path)
            self._write(listen)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self, path: Path) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"The log in {path.parent} is in use by {self._holder()}. Stop that one first,"
                " or give this one a directory of its own (--data)."
            ) from None
        except OSError as error:
            raise CannotStart(
                f"{path} cannot be locked: {error.strerror}. Put the data on a local disk."
            ) from error

    def _holder(self) -> str:
        try:
            record = os.pread(self._fd, _MAX_RECORD, 0)
            holder = msgspec.json.decode(record, type=Holder)
        except (OSError, msgspec.DecodeError):
            return "another process, which has not written yet who it is"
        listen = f", listening on {holder.listen}" if holder.listen else ""
        return f"process {holder.pid} on {holder.host} since {holder.since}{listen}"

    def _write(self, listen: str) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        record = Holder(os.getpid(), socket.gethostname(), since, listen)
        # A full disk must not stop a start that frees space; the record is only a courtesy.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, msgspec.json.encode(record), 0)

    def release(self) -> None:
        """The file stays: removing it would let two processes hold two locks of one name."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        os.close(self._fd)
