"""How many frames of a ``-wal`` file SQLite will accept, without asking it (asking may change it).

Only for logs that nobody has open. Source of the layout: "WAL-mode File Format" in SQLite's
documentation.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

_HEADER: Final = 32
_FRAME_HEADER: Final = 24


def count_valid(wal: Path) -> int:
    """Frames up to the first that is not of this generation, or whose checksum is wrong.

    Some 25 MiB a second; the file is bounded by what a server leaves behind when it is killed.
    """
    with wal.open("rb") as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return 0
        magic, _, page_size, _, salt1, salt2, first, second = struct.unpack(">8I", header)
        words = struct.Struct(">2I" if magic & 1 else "<2I")
        salts = struct.pack(">2I", salt1, salt2)
        count = 0
        while True:
            frame = file.read(_FRAME_HEADER + page_size)
            if len(frame) < _FRAME_HEADER + page_size or frame[8:16] != salts:
                return count
            # The sums go on from frame to frame; they cover the page and half of the frame's head.
            for part in (frame[:8], frame[_FRAME_HEADER:]):
                for even, odd in words.iter_unpack(part):
                    first = (first + even + second) & 0xFFFFFFFF
                    second = (second + odd + first) & 0xFFFFFFFF
            if (first, second) != struct.unpack(">2I", frame[16:24]):
                return count
            count += 1
