"""Where a follower keeps its cursors between runs. Any object with these two methods will do."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from pushd.core.positions import parse_cursor
from pushd.errors import BadRequest, BadSetting


class CursorStore(Protocol):
    """``load`` before following, ``save`` when something was processed (never two at once).

    An exception of either ends the following and comes out of its iterator.
    """

    async def load(self, channels: Collection[str]) -> Mapping[str, str]:
        """The cursors of those channels that are known."""

    async def save(self, cursors: Mapping[str, str]) -> None:
        """Keep these; others stay. On return they must be as safe as they are meant to be."""


class MemoryCursors:
    """For as long as the process lives: a later ``follow`` with the same store goes on there."""

    def __init__(self, cursors: Mapping[str, str] | None = None) -> None:
        self.cursors: dict[str, str] = dict(cursors or {})

    async def load(self, channels: Collection[str]) -> Mapping[str, str]:
        return {name: self.cursors[name] for name in channels if name in self.cursors}

    async def save(self, cursors: Mapping[str, str]) -> None:
        self.cursors.update(cursors)


class _Content(msgspec.Struct):
    cursors: dict[str, str]
    version: int = 1


class FileCursors:
    """In a JSON file of its own, replaced at once and synced: a crash leaves the old or the new.

    One process and one follower at a time; the file is readable by its owner only. It knows
    nothing of servers and users: name it after them if there are several.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._known: dict[str, str] | None = None
        self._lock = trio.Lock()

    async def load(self, channels: Collection[str]) -> Mapping[str, str]:
        """Raises BadSetting for a file that cannot be read or holds something else."""
        async with self._lock:
            known = await self._read()
            return {name: known[name] for name in channels if name in known}

    async def save(self, cursors: Mapping[str, str]) -> None:
        """Raises BadSetting when it cannot be written."""
        async with self._lock:
            known = {**await self._read(), **cursors}
            if known != self._known:
                await trio.to_thread.run_sync(_replace, self.path, known)
                self._known = known

    async def _read(self) -> dict[str, str]:
        if self._known is None:
            self._known = await trio.to_thread.run_sync(_read, self.path)
        return self._known


def _read(path: Path) -> dict[str, str]:
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_Content)
        for cursor in content.cursors.values():
            parse_cursor(cursor)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadSetting(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadRequest):
        raise BadSetting(f"{path} holds no cursors: delete it, or name another") from None
    if content.version != 1:
        raise BadSetting(f"{path} is of a newer version: name another")
    return content.cursors


def _replace(path: Path, cursors: dict[str, str]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    raw = msgspec.json.format(msgspec.json.encode(_Content(cursors)))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(raw + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
        # The rename itself is in the directory.
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise BadSetting(f"cannot write {path}: {error.strerror}") from None
