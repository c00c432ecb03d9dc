"""The framing of a chunked body, looked at before the parser sees it.

llhttp passes over chunk extensions without telling. Nothing here needs one, and proxies differ in
how they read them (that is how requests are smuggled): so a chunk's size is hex digits alone.
"""

from __future__ import annotations

import re

from pushd.errors import BadRequest

MAX_LINE = 16 * 1024  # of a trailer; a size has 16 digits at most

_SIZE_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}\r\n").fullmatch
_SIZE_LINE_BYTES = 18


class Chunks:
    """Where one chunked body ends. ``done`` once its last line was seen."""

    __slots__ = ("_in_trailer", "_left", "_line", "done")

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # bytes of the chunk under way, with the line end behind it
        self._line = b""  # the start of a line whose end has not come
        self._in_trailer = False

    def take(self, data: bytes, at: int) -> int:
        """Where the bytes from ``at`` on cease to be this body's. Raises BadRequest."""
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1
            stop = end or len(data)
            self._line += data[at:stop]
            at = stop
            most = MAX_LINE if self._in_trailer else _SIZE_LINE_BYTES
            if len(self._line) > most:
                raise BadRequest(
                    "A line between the chunks of the body is too long: a chunk size stands alone, "
                    "without extensions."
                )
            if end:
                self._end_line()
        return at

    def _end_line(self) -> None:
        line, self._line = self._line, b""
        if self._in_trailer:
            self.done = line == b"\r\n"
            return
        if not _SIZE_LINE(line):
            raise BadRequest("A chunk size must be hex digits alone, without extensions.")
        size = int(line, 16)
        if size:
            self._left = size + 2
        else:
            self._in_trailer = True
