"""Tells a damaged write-ahead log from one that a crash has cut short.

SQLite reads the ``-wal`` file up to the first frame whose checksum is wrong and drops the rest
without a word. After a crash that is right: the rest was never acked. But under FULL a commit is
on disk before the next one begins; so where two commits lie behind the bad frame, the first of
them was acked, and dropping it would be a loss in silence. (Of the last commit alone it cannot
be told.) Source of the layout: "WAL-mode File Format" in SQLite's documentation.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pushd.errors import CannotStart
from pushd.log.lock import Holder

_HEADER: Final = 32
_FRAME_HEADER: Final = 24
# With the lowest bit set the checksums are over big-endian words.
_MAGIC: Final = 0x377F0682


def is_gone(wal: Path, last: Holder | None) -> bool:
    """The ``last`` one that served this log was killed, which leaves a ``-wal``: not there."""
    database = wal.with_name(wal.name.removesuffix("-wal"))
    return last is not None and last.open and database.exists() and not wal.exists()


def gone(wal: Path, last: Holder | None) -> CannotStart:
    """The refusal; copies of a running server's files without it look the same."""
    return CannotStart(
        f"{wal} is gone: {last} was killed, and its newest commits may have been in it only. Put"
        " it back. To go on without them: 'pushctl restore --adopt', as their numbers would be"
        " given a second time. If a SQLite shell has emptied it since, nothing is lost: remove"
        " pushd.lock, and start."
    )


@dataclass(frozen=True, slots=True)
class WalShape:
    """What a ``-wal`` file claims to hold, before SQLite has looked at it.

    ``commits``: numbers (from 1) of the frames of this generation that end a commit.
    """

    readable: bool
    commits: tuple[int, ...] = ()

    def is_damaged(self, valid: int) -> bool:
        """``valid``: frames that SQLite accepts. True when acked commits lie beyond them."""
        return not self.readable or sum(number > valid for number in self.commits) > 1


def look(path: Path) -> WalShape:
    """Reads only headers: 64 MiB take some 20 ms. Call it before SQLite opens the database."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return WalShape(readable=True)
    with file:
        header = file.read(_HEADER)
        # Zeros: made, but never synced.
        if len(header) < _HEADER or not any(header):
            return WalShape(readable=True)
        magic, _, page_size, _, salt1, salt2, sum1, sum2 = struct.unpack(">8I", header)
        if magic & ~1 != _MAGIC or _checksum(header[:24], magic) != (sum1, sum2):
            return WalShape(readable=False)
        commits: list[int] = []
        number = 0
        step = _FRAME_HEADER + page_size
        while True:
            file.seek(_HEADER + number * step)
            frame = file.read(_FRAME_HEADER)
            if len(frame) < _FRAME_HEADER:
                return WalShape(True, tuple(commits))
            number += 1
            _, size_after_commit, *salts = struct.unpack(">4I", frame[:16])
            if size_after_commit and salts == [salt1, salt2]:
                commits.append(number)


def _checksum(data: bytes, magic: int) -> tuple[int, int]:
    order = ">" if magic & 1 else "<"
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
